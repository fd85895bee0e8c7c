"""Cutting the stream of frames into chunks to store. Nothing here waits, reads or writes.

A chunk ends at a commit, so that what is stored is always whole transactions; only a transaction
larger than a chunk is cut into slices, the last of which is final. What has come of a transaction
that is not complete stays in memory until either happens.
"""

import struct
from collections.abc import Sequence
from operator import itemgetter
from typing import Final

from msgspec import Struct

from pgcopydb.decoding import MESSAGE_HEADER, begins, commit_end, is_relation_frame
from pgcopydb.model.options import Plugin
from pgcopydb.workdir.changelog import Frame, pack_messages

CHUNK_BYTES = 1 << 20
"""Size at which a chunk is stored without waiting for more (measured: 1 MiB commits in 1-2 ms)."""

_PGOUTPUT_RELATION_KEY = slice(0, 5)
"""The type byte and the oid: a later description of the same relation replaces an earlier one."""

_KIND: Final = itemgetter(MESSAGE_HEADER)
_INSIDE: Final = b"BCIUDTO"
"""pgoutput's types of messages that are always part of a transaction, and describe nothing."""

_WAL_START: Final = struct.Struct(">Q").unpack_from

Relations = list[tuple[bytes, Frame]]


def relation_entry(message: bytes) -> tuple[bytes, Frame]:
    """Return a message that describes a relation or a type as ``ChangelogWriter`` takes it."""
    payload = message[MESSAGE_HEADER:]
    return payload[_PGOUTPUT_RELATION_KEY], (_WAL_START(message, 1)[0], payload)


class Cut(Struct, frozen=True):
    """What to store as one chunk; see ``workdir.changelog.Chunk`` for the fields."""

    frames: bytes
    slice_number: int | None
    final: bool
    end_lsn: int
    transactions: int
    relations: Relations
    last_commit: bytes


class ChunkAssembler:
    """Takes XLogData messages as they come, gives chunks.

    With an ``endpos``, transactions that end beyond it are left out and ``past_endpos`` is set:
    a transaction counts by the end of its commit record, whole or not at all (ruling 8).
    """

    def __init__(self, plugin: Plugin, *, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._commit_end = commit_end(plugin)
        self._begins = begins(plugin)
        self._is_pgoutput = plugin is Plugin.PGOUTPUT
        self._chunk_bytes = chunk_bytes
        self.endpos = 0
        self.past_endpos = False
        self._ready: list[Cut] = []
        self._messages: list[bytes] = []
        self._relations: Relations = []
        self._bytes = 0
        self._complete = 0  # how many of the messages belong to complete transactions
        self._complete_relations = 0
        self._end_lsn = 0
        self._last_commit = b""
        self._transactions = 0
        self._slices = 0  # of the transaction under way that are stored already
        self._open = False

    @property
    def in_transaction(self) -> bool:
        """Whether part of a transaction has come and its commit has not."""
        return self._open

    @property
    def size(self) -> int:
        """How much has come that was not cut."""
        return self._bytes

    @property
    def is_full(self) -> bool:
        """Whether :meth:`cut` should be called before more is added."""
        return self._bytes >= self._chunk_bytes or bool(self._ready)

    def add(self, messages: Sequence[bytes]) -> None:
        """Take messages; those that come after one that goes beyond endpos are left out too."""
        if not (self._is_pgoutput and self._add_at_once(messages)):
            for message in messages:
                self._add(message)
                if self.past_endpos:
                    return

    def _add_at_once(self, messages: Sequence[bytes]) -> bool:
        """Take messages of pgoutput by what the type bytes of all of them tell together.

        Returns False, and takes none, where one at a time has to be looked at.
        """
        kinds = bytes(map(_KIND, messages))
        last = kinds.rfind(b"C")
        if (
            kinds.translate(None, _INSIDE)
            or not (self._open or kinds.startswith(b"B"))
            or (last >= 0 and self._slices)
        ):
            return False
        if last >= 0:
            end = self._commit_end(messages[last][MESSAGE_HEADER:], 0)
            if self.endpos and end > self.endpos:
                return False
            self._end_lsn = end
            self._last_commit = messages[last][MESSAGE_HEADER:]
            self._transactions += kinds.count(b"C")
            self._complete = len(self._messages) + last + 1
            self._complete_relations = len(self._relations)
        self._open = kinds.rfind(b"B") > last or (last < 0 and self._open)
        self._messages += messages
        self._bytes += sum(map(len, messages))
        return True

    def _add(self, message: bytes) -> None:
        """Take one message.

        One outside of a transaction is a message that belongs to none (an application's
        heartbeat, say): nothing of it is to be applied, and it must not look like a transaction
        that never ends.
        """
        payload = message[MESSAGE_HEADER:]
        if not self._open:
            if not self._begins(payload):
                return
            self._open = True
        self._messages.append(message)
        self._bytes += len(message)
        wal_start = _WAL_START(message, 1)[0]
        end = self._commit_end(payload, wal_start)
        if end:
            self._commit(end, payload)
        elif self._is_pgoutput and is_relation_frame(payload):
            self._relations.append(relation_entry(message))

    def _commit(self, end: int, payload: bytes) -> None:
        self._open = False
        if self.endpos and end > self.endpos:
            self.past_endpos = True
            del self._messages[self._complete :]
            del self._relations[self._complete_relations :]
            return
        self._complete = len(self._messages)
        self._complete_relations = len(self._relations)
        self._end_lsn = end
        self._last_commit = payload
        self._transactions += 1
        if self._slices:
            self._ready.append(self._cut_complete())

    def cut(self) -> Cut | None:
        """Return what can be stored now: whole transactions, else a slice that is large enough."""
        if self._ready:
            return self._ready.pop(0)
        if self._complete:
            return self._cut_complete()
        if self._bytes >= self._chunk_bytes and self._messages:
            return self._cut_slice()
        return None

    def _cut_complete(self) -> Cut:
        messages = self._messages[: self._complete]
        del self._messages[: self._complete]
        count = self._complete_relations
        relations, self._relations = self._relations[:count], self._relations[count:]
        cut = Cut(
            frames=pack_messages(messages),
            slice_number=self._slices if self._slices else None,
            final=True,
            end_lsn=self._end_lsn,
            transactions=self._transactions,
            relations=relations,
            last_commit=self._last_commit,
        )
        self._slices = self._complete = self._complete_relations = self._transactions = 0
        self._bytes = sum(map(len, self._messages))
        return cut

    def _cut_slice(self) -> Cut:
        cut = Cut(
            frames=pack_messages(self._messages),
            slice_number=self._slices,
            final=False,
            end_lsn=0,
            transactions=0,
            relations=self._relations,
            last_commit=b"",
        )
        self._messages, self._relations, self._bytes = [], [], 0
        self._slices += 1
        return cut
