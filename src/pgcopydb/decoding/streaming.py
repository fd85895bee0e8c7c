"""pgoutput's protocol version 2: taking apart what it sends of transactions in progress.

Source of the format: the PostgreSQL manual, "Logical Replication Message Formats". A transaction
that grows large on the source comes in blocks, each between a Stream Start (S) and a Stream Stop
(E), with whole transactions and blocks of others between them, until a Stream Commit (c) or a
Stream Abort (A) ends it. Inside a block each message but Origin has the id of its transaction or
subtransaction after its type byte, and is as in version 1 without it: that is how it is given here.

A Stream Abort of a subtransaction takes back what came under its id; one names each
subtransaction that was rolled back, those within it too.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final, NoReturn, TypeAlias

from msgspec import Struct

from pgcopydb.decoding.boundaries import MESSAGE_HEADER
from pgcopydb.errors import ProtocolError

_FIELDS: Final = MESSAGE_HEADER + 1
_AFTER_XID: Final = _FIELDS + 4

_KIND: Final = itemgetter(MESSAGE_HEADER)
_XID: Final = itemgetter(slice(_FIELDS, _AFTER_XID))
_find_control: Final = re.compile(rb"[SEcA]").search

_CHANGES: Final = b"IUDTM"
_DESCRIBING: Final = b"RY"
_ORIGIN: Final = b"O"

_START: Final = struct.Struct(">cIB")  # type, xid, whether it is the first block
_ABORT: Final = struct.Struct(">cII")  # type, xid, the subtransaction's
_COMMIT: Final = struct.Struct(">cIBQQq")  # type, xid, flags, commit position, end, commit time
_BEGIN: Final = struct.Struct(">cQqI")  # of version 1: type, commit position, commit time, xid


class Range(Struct, frozen=True):
    """Messages that came one after the other under one id, in the form of version 1.

    They all describe relations and types, or none does.
    """

    xid: int
    describes: bool
    messages: list[bytes]


class StreamStart(Struct, frozen=True):
    """A block of transaction ``xid`` begins, the first one or a further one."""

    xid: int
    is_first: bool


class StreamedChanges(Struct, frozen=True):
    """Messages from within the block."""

    ranges: list[Range]


class StreamStop(Struct, frozen=True):
    """The block ends."""


class StreamAbort(Struct, frozen=True):
    """Transaction ``xid`` is void; or only its ``subtransaction``, where that is another id."""

    xid: int
    subtransaction: int


class StreamCommit(Struct, frozen=True):
    """Transaction ``xid`` is complete: ``begin`` and ``commit`` are its messages in version 1."""

    xid: int
    end_lsn: int
    begin: bytes
    commit: bytes


Part: TypeAlias = (
    Sequence[bytes] | StreamStart | StreamedChanges | StreamStop | StreamAbort | StreamCommit
)
"""A part of a stream; a sequence of messages is of transactions that came whole."""


class StreamSplitter:
    """Takes XLogData messages of version 2 as they come, and gives the parts they are."""

    def __init__(self) -> None:
        self.in_block = False

    def split(self, messages: Sequence[bytes]) -> Iterator[Part]:
        """Give the parts; raise ProtocolError for what cannot be where it is."""
        kinds = bytes(map(_KIND, messages))
        at = 0
        while at < len(messages):
            found = _find_control(kinds, at)
            until = found.start() if found else len(messages)
            if until > at:
                part = messages[at:until]
                yield self._changes(part, kinds[at:until]) if self.in_block else part
            if found:
                yield self._control(messages[until])
            at = until + 1

    def _changes(self, messages: Sequence[bytes], kinds: bytes) -> StreamedChanges:
        if kinds.translate(None, _CHANGES + _DESCRIBING + _ORIGIN):
            _reject(f"{kinds!r} inside a stream block")
        if _ORIGIN in kinds:  # it describes nothing that counts here, and has no id
            messages = [one for one in messages if one[MESSAGE_HEADER] != _ORIGIN[0]]
            kinds = kinds.translate(None, _ORIGIN)
        if messages and min(map(len, messages)) < _AFTER_XID:
            _reject("a message without its transaction's id inside a stream block")
        return StreamedChanges(list(_ranges(messages, kinds)))

    def _control(self, message: bytes) -> StreamStart | StreamStop | StreamAbort | StreamCommit:
        payload = message[MESSAGE_HEADER:]
        kind = payload[:1]
        if (kind == b"E") != self.in_block:
            _reject(f"{kind!r} {'inside' if self.in_block else 'outside'} of a stream block")
        try:
            match kind:
                case b"S":
                    _, xid, first = _START.unpack(payload)
                    self.in_block = True
                    return StreamStart(xid, bool(first))
                case b"E":
                    if len(payload) != 1:
                        _reject("a Stream Stop with a wrong length")
                    self.in_block = False
                    return StreamStop()
                case b"A":
                    _, xid, subtransaction = _ABORT.unpack(payload)
                    return StreamAbort(xid, subtransaction)
                case _:
                    return _commit(message[:MESSAGE_HEADER], payload)
        except struct.error as error:
            raise ProtocolError(
                f"pgoutput sent a message that cannot be read: {kind!r}, {error}"
            ) from error


def _commit(header: bytes, payload: bytes) -> StreamCommit:
    _, xid, _, lsn, end_lsn, time = _COMMIT.unpack(payload)
    begin = header + _BEGIN.pack(b"B", lsn, time, xid)
    return StreamCommit(xid, end_lsn, begin, header + b"C" + payload[_AFTER_XID - MESSAGE_HEADER :])


def _ranges(messages: Sequence[bytes], kinds: bytes) -> Iterator[Range]:
    """Give the messages by the ids under which they came, without these."""
    ids = set(map(_XID, messages))
    if len(ids) == 1 and not kinds.translate(None, _CHANGES):  # nearly always
        yield _range(*ids, describes=False, messages=messages)
        return
    for (xid, describes), group in groupby(messages, _id_and_purpose):
        yield _range(xid, describes=describes, messages=list(group))


def _id_and_purpose(message: bytes) -> tuple[bytes, bool]:
    return _XID(message), message[MESSAGE_HEADER] in _DESCRIBING


def _range(xid: bytes, *, describes: bool, messages: Sequence[bytes]) -> Range:
    plain = [message[:_FIELDS] + message[_AFTER_XID:] for message in messages]
    return Range(int.from_bytes(xid), describes, plain)


def _reject(what: str) -> NoReturn:
    raise ProtocolError(f"pgoutput sent {what}")
