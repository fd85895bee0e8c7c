"""Decode pgoutput, PostgreSQL's own output plugin: protocol version 1, text values.

Source of the format: the PostgreSQL manual, "Logical Replication Message Formats". Each payload is
one message: a type byte, then big-endian integers, zero-terminated names and tuples.

A Relation message (R) describes a table before the first change to it in a session and again after
its definition changed; a Type message (Y) names a column's type that is not built in. Both come in
frames with position 0/0, are remembered here, and give no change. A decoder that goes on from
stored changes is primed by decoding the stored R and Y messages first.

Text comes in the client encoding of the walsender's session, which is the database's unless it is
set to UTF8.

Version 2 puts a transaction id after the type byte of each message inside a stream block; every
reader below takes the offset at which its fields begin, which is all that such a block changes.
"""

import struct
from collections.abc import Callable, Iterable
from typing import Final, NoReturn, TypeAlias

from pgcopydb.decoding.boundaries import MESSAGE_HEADER
from pgcopydb.decoding.builtin_types import SQL_NAME_BY_INTERNAL_NAME, SQL_NAME_BY_OID
from pgcopydb.decoding.identifiers import quote_identifier
from pgcopydb.decoding.timestamps import MICROSECONDS_FROM_1970_TO_2000
from pgcopydb.errors import ProtocolError
from pgcopydb.model.changes import (
    UNCHANGED,
    Begin,
    Change,
    Commit,
    Completed,
    Delete,
    Insert,
    Message,
    Relation,
    Row,
    RowSink,
    Truncate,
    Update,
    Value,
)

_U16: Final = struct.Struct(">H").unpack_from
_U32: Final = struct.Struct(">I").unpack_from
_BEGIN: Final = struct.Struct(">QqI").unpack_from  # commit record's position, commit time, xid
_COMMIT: Final = struct.Struct(">BQQq").unpack_from  # flags, commit position, end, commit time
_MESSAGE: Final = struct.Struct(">BQ").unpack_from  # flags, position
_COLUMN: Final = struct.Struct(">Ii").unpack_from  # type OID, type modifier

_TEXT, _NULL, _SAME = b"tnu"
_NEW = b"N"[0]
_OLD_ROWS = b"KO"  # K: the identity's columns, O: the whole row
_ROW_KINDS = b"IUD"
_INSERT, _UPDATE, _DELETE = _ROW_KINDS
_ROWS = b"IU"
_BEGIN_KIND, _COMMIT_KIND = b"BC"
_BEGIN_SIZE, _COMMIT_SIZE = 21, 26
_KEY_COLUMN = 1
_CASCADE, _RESTART_IDENTITY = 1, 2
_FULL = b"f"[0]

_SHORT = MESSAGE_HEADER + 13 + 256
"""A message with a row that is shorter than this has no value of 256 bytes or more."""

_Take: TypeAlias = Callable[[Row], None]
_Sink: TypeAlias = tuple[range, _Take, _Take, _Take]
"""A relation's columns, and what takes its new rows, those updated, and those updated in part."""


class PgoutputDecoder:
    """Turn the payloads of one pgoutput stream into changes, in order.

    It remembers the relations, types and the transaction that the stream described so far.
    """

    __slots__ = ("_readers", "_relations", "_types", "_xid")

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}
        self._types: dict[int, str] = {}
        self._xid = 0
        self._readers: dict[int, Callable[[bytes, int], Change | None]] = {
            b"B"[0]: self._begin,
            b"C"[0]: self._commit,
            b"R"[0]: self._relation,
            b"Y"[0]: self._type,
            b"O"[0]: self._origin,
            b"T"[0]: self._truncate,
            b"M"[0]: _message,
        }

    def decode(self, payload: bytes, wal_start: int) -> Change | None:  # noqa: ARG002 - the protocol of all decoders
        """Return the change in ``payload``; None for a message that only describes (R, Y, O).

        Raise ProtocolError for anything that is not a whole, known message.
        """
        try:
            kind = payload[0]
            if kind == _INSERT:
                return self._insert(payload, 1)
            if kind == _UPDATE:
                return self._update(payload, 1)
            if kind == _DELETE:
                return self._delete(payload, 1)
            return self._readers[kind](payload, 1)
        except (IndexError, KeyError, ValueError, struct.error) as error:
            raise _malformed(payload, error) from error

    def decode_into(  # noqa: PLR0912, PLR0915 - one loop, for a call for each row costs a fifth of it
        self,
        data: bytes,
        at: int,
        lengths: Iterable[int],
        rows: Callable[[Relation], RowSink],
        other: Callable[[Change], None],
    ) -> Completed:
        """Decode many messages at one go: XLogData messages of ``lengths`` from ``at`` on.

        They are whole transactions, or changes from the middle of one. Rows that are new, and
        rows that are updated under the same identity, nearly everything there is, go to what
        ``rows`` gives for their relation; that takes half the time of a change for each. All else
        goes to ``other``. Both are in the order of the stream. Raise ProtocolError as
        :meth:`decode` does.
        """
        sinks: dict[bytes, _Sink] = {}
        start = end_lsn = commit_time = transactions = count = 0
        inside = False
        try:
            for length in lengths:
                start = at + MESSAGE_HEADER
                at += length
                kind = data[start]
                if kind in _ROWS and data[start + 5] == _NEW:
                    oid = data[start + 1 : start + 5]
                    sink = sinks.get(oid)
                    if sink is None:
                        sink = sinks[oid] = _make_sink(self._relations[_U32(oid)[0]], rows)
                    columns, insert, update, update_partly = sink
                    take = insert if kind == _INSERT else update
                    if length < _SHORT:
                        position = start + 8
                        values: list[Value] = []
                        append = values.append
                        for _ in columns:
                            if data[position] == _TEXT:
                                first = position + 5
                                position = first + data[first - 1]  # no value is 256 bytes long
                                append(data[first:position])
                            elif data[position] == _NULL:
                                position += 1
                                append(None)
                            elif data[position] == _SAME and take is not insert:
                                position += 1
                                append(UNCHANGED)
                                take = update_partly
                            else:
                                break
                        else:
                            if position == at:
                                take(tuple(values))
                                count += 1
                                continue
                    else:
                        row, position = _row(data, start + 6, len(columns))
                        if UNCHANGED in row:
                            take = update_partly
                        if position == at and (kind == _UPDATE or take is insert):
                            take(row)
                            count += 1
                            continue
                elif kind == _BEGIN_KIND:
                    inside = True
                    continue
                elif kind == _COMMIT_KIND and inside:
                    _, _, end_lsn, commit_time = _COMMIT(data, start + 1)
                    transactions += 1
                    inside = False
                    continue
                change = self.decode(data[start:at], 0)
                if change is not None:
                    other(change)
                if kind not in _ROW_KINDS:
                    sinks.clear()  # a relation, or a TRUNCATE: what comes goes elsewhere
        except (IndexError, KeyError, ValueError, struct.error) as error:
            raise _malformed(data[start:at], error) from error
        time = commit_time + MICROSECONDS_FROM_1970_TO_2000
        return Completed(end_lsn, time, transactions, count)

    def _insert(self, data: bytes, at: int) -> Insert:
        relation = self._relations[_U32(data, at)[0]]
        if data[at + 4] != _NEW:
            _reject("an INSERT without its new row")
        new, end = _row(data, at + 5, len(relation.columns))
        if end != len(data):
            _reject("an INSERT with a wrong length")
        return Insert(relation, new)

    def _update(self, data: bytes, at: int) -> Update:
        relation = self._relations[_U32(data, at)[0]]
        width = len(relation.columns)
        at += 4
        old: Row | None = None
        if data[at] != _NEW:
            if data[at] not in _OLD_ROWS:
                _reject("an UPDATE with an unknown kind of row")
            old, at = _row(data, at + 1, width)
            if data[at] != _NEW:
                _reject("an UPDATE without its new row")
        new, end = _row(data, at + 1, width)
        if end != len(data):
            _reject("an UPDATE with a wrong length")
        if old is None and relation.full:
            _reject_without_old_row(new)
        return Update(relation, old, new)

    def _delete(self, data: bytes, at: int) -> Delete:
        relation = self._relations[_U32(data, at)[0]]
        kind = data[at + 4]
        if kind not in _OLD_ROWS:
            _reject("a DELETE without its old row")
        old, end = _row(data, at + 5, len(relation.columns))
        if end != len(data):
            _reject("a DELETE with a wrong length")
        return Delete(relation, old)

    def _begin(self, data: bytes, at: int) -> Begin:
        if len(data) != at + _BEGIN_SIZE - 1:
            _reject("a BEGIN with a wrong length")
        lsn, time, self._xid = _BEGIN(data, at)
        return Begin(self._xid, lsn, time + MICROSECONDS_FROM_1970_TO_2000)

    def _commit(self, data: bytes, at: int) -> Commit:
        if len(data) != at + _COMMIT_SIZE - 1:
            _reject("a COMMIT with a wrong length")
        xid, self._xid = self._xid, 0
        if not xid:
            _reject("a COMMIT without its BEGIN")
        _, _, end_lsn, time = _COMMIT(data, at)
        return Commit(xid, end_lsn, time + MICROSECONDS_FROM_1970_TO_2000)

    def _relation(self, data: bytes, at: int) -> None:
        oid = _U32(data, at)[0]
        schema, at = _text(data, at + 4)
        name, at = _text(data, at)
        identity = data[at]
        count = _U16(data, at + 1)[0]
        at += 3
        columns: list[str] = []
        types: list[str] = []
        modifiers: list[int | None] = []
        key: list[int] = []
        for position in range(count):
            if data[at] & _KEY_COLUMN:
                key.append(position)
            column, at = _text(data, at + 1)
            type_oid, modifier = _COLUMN(data, at)
            at += 8
            columns.append(column)
            built_in = SQL_NAME_BY_OID.get(type_oid)
            types.append(built_in or self._types.get(type_oid, ""))
            modifiers.append(modifier if built_in else None)
        if at != len(data):
            _reject("a Relation with a wrong length")
        full = identity == _FULL
        relation = Relation(
            schema=schema or "pg_catalog",
            name=name,
            columns=tuple(columns),
            types=tuple(types),
            key=() if full else tuple(key),  # FULL flags every column, which `full` says already
            full=full,
            modifiers=tuple(modifiers),
        )
        # A new session describes everything again: the same description stays the same object.
        if self._relations.get(oid) != relation:
            self._relations[oid] = relation

    def _type(self, data: bytes, at: int) -> None:
        oid = _U32(data, at)[0]
        schema, at = _text(data, at + 4)
        name, at = _text(data, at)
        if at != len(data):
            _reject("a Type with a wrong length")
        # A domain is described by its base type, so that the name can be a built-in one.
        self._types[oid] = (
            SQL_NAME_BY_INTERNAL_NAME.get(name, quote_identifier(name))
            if schema in ("", "pg_catalog")
            else f"{quote_identifier(schema)}.{quote_identifier(name)}"
        )

    def _origin(self, data: bytes, at: int) -> None:
        _, end = _text(data, at + 8)
        if end != len(data):
            _reject("an Origin with a wrong length")

    def _truncate(self, data: bytes, at: int) -> Truncate:
        count = _U32(data, at)[0]
        flags = data[at + 4]
        at += 5
        if len(data) != at + 4 * count:
            _reject("a TRUNCATE with a wrong length")
        oids = struct.unpack_from(f">{count}I", data, at)
        relations = tuple([self._relations[oid] for oid in oids])
        return Truncate(relations, bool(flags & _CASCADE), bool(flags & _RESTART_IDENTITY))


def _make_sink(relation: Relation, rows: Callable[[Relation], RowSink]) -> _Sink:
    sink = rows(relation)
    columns = range(len(relation.columns))
    if relation.full:
        return columns, sink.insert, _reject_without_old_row, _reject_without_old_row
    return columns, sink.insert, sink.update, sink.update_partly


def _reject_without_old_row(_row: Row) -> NoReturn:
    _reject("an UPDATE without the old row that identity FULL promises")


def _row(data: bytes, at: int, width: int) -> tuple[Row, int]:
    """Read the tuple at ``at``; return its values and the position after it.

    A length that points past the end gives a short value here; it is found by the caller, who
    compares the end with the message's length, so that it costs nothing a column.
    """
    if _U16(data, at)[0] != width:
        _reject("a row that has not as many columns as its relation")
    at += 2
    values: list[Value] = []
    append = values.append
    length = _U32
    for _ in range(width):
        kind = data[at]
        if kind == _TEXT:
            start = at + 5
            at = start + length(data, at + 1)[0]
            append(data[start:at])
        elif kind == _NULL:
            at += 1
            append(None)
        elif kind == _SAME:
            at += 1
            append(UNCHANGED)
        else:
            _reject("a value of an unknown kind")
    return tuple(values), at


def _message(data: bytes, at: int) -> Message:
    flags, _ = _MESSAGE(data, at)
    prefix, at = _text(data, at + 9)
    start = at + 4
    if len(data) != start + _U32(data, at)[0]:
        _reject("a Message with a wrong length")
    return Message(bool(flags & 1), prefix, data[start:])


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return data[at:end].decode(), end + 1


def _reject(what: str) -> NoReturn:
    raise ProtocolError(f"pgoutput sent {what}")


def _malformed(payload: bytes, error: Exception) -> ProtocolError:
    kind = payload[:1]
    if isinstance(error, KeyError) and kind in b"IUDT":
        return ProtocolError(
            f"pgoutput sent a change of a relation that it did not describe ({error.args[0]})"
        )
    return ProtocolError(f"pgoutput sent a message that cannot be read: {kind!r}, {error}")
