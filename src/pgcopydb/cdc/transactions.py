"""From stored chunks to whole transactions, or to pieces of one that is too large for memory."""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from pgcopydb.batching.plan import Planner, TableRows
from pgcopydb.cdc.selected import FollowedChanges
from pgcopydb.decoding import Decoder, PgoutputDecoder, make_decoder
from pgcopydb.errors import ProtocolError, StateError
from pgcopydb.lsn import format_lsn
from pgcopydb.model.capture import Capture
from pgcopydb.model.changes import Begin, Change, Commit, Message, Relation, Row, Truncate
from pgcopydb.model.options import Plugin
from pgcopydb.workdir.changelog import ChangelogReader, Chunk

MARKER_PREFIX = "pgcopydb"
"""The prefix of the logical messages by which this program marks a position of the source."""


def _leave_out(_row: Row) -> None:
    pass


_NOT_FOLLOWED: Final = TableRows(_leave_out, _leave_out, _leave_out)


class Piece(Struct, frozen=True):
    """Changes of one source transaction; ``end_lsn`` is 0 while more of it is to come.

    ``continued`` says that earlier pieces of the same transaction were given before.
    """

    xid: int
    changes: list[Change]
    end_lsn: int
    commit_time: int
    continued: bool


class Void(Struct, frozen=True):
    """The pieces given since the last complete transaction are void.

    Its session broke off, and the source sends the whole transaction again in its next session
    (ruling 2); or it is one that ends at or before the position, stored a second time.
    """


class TransactionReader:
    """Decodes a changelog from ``position`` on; transactions that end there or before are left out.

    :meth:`read` may be called again and again: each call gives what has been stored since.
    ``bytes`` counts the frames read, for the caller to reset.

    A position that is not ``proved`` to be the source's is proved by the transaction that ends
    there, which must come before any that ends later.
    """

    def __init__(
        self,
        reader: ChangelogReader,
        plugin: Plugin,
        capture: Capture,
        position: int,
        *,
        proved: bool = True,
    ) -> None:
        self._reader = reader
        self._plugin = plugin
        self._capture = capture
        self._followed = FollowedChanges(capture, published=plugin is Plugin.PGOUTPUT)
        self._position = position
        self.proved = proved
        self.bytes = 0
        self._session = 0
        reader.seek(position)
        self._decoder = self._new_decoder()
        self._xid = 0
        self._changes: list[Change] = []
        self._continued = False
        self._stands_after_chunk = False

    def read(self) -> Iterator[Piece | Void]:
        """Give what is stored and has not been given yet."""
        while (chunk := self.next_chunk()) is not None:
            yield from self.pieces(chunk)

    def next_chunk(self) -> Chunk | None:
        """Return what is stored next, None at the end: for :meth:`pieces` or :meth:`plan`."""
        chunk = self._reader.read()
        if chunk is not None:
            self.bytes += len(chunk.frames)
        return chunk

    def pieces(self, chunk: Chunk) -> Iterator[Piece | Void]:
        """Give what is in the chunk just read, a transaction at a time."""
        if chunk.session != self._session:
            yield from self._change_session(chunk)
        yield from self._decode(chunk)
        self._stands_after_chunk = chunk.final and chunk.end_lsn == self._position

    def may_plan(self, chunk: Chunk) -> bool:
        """Tell whether the chunk just read may be taken as a whole, without looking for its ends.

        It is nothing but whole transactions after the position, or a slice from the middle of a
        large one, whose begin and end are read one by one. Not so the first chunk that is read,
        and the first one of a session.
        """
        if not isinstance(self._decoder, PgoutputDecoder) or chunk.session != self._session:
            return False
        if chunk.slice is None:
            return self._stands_after_chunk
        return chunk.slice > 0 and not chunk.final and not self._changes

    def plan(self, chunk: Chunk, planner: Planner) -> None:
        """Let ``planner`` collect all of the chunk just read, for which :meth:`may_plan` holds."""

        def add(change: Change) -> None:
            kept = self._kept(change)
            if kept is not None and self._followed.takes(kept):
                planner.add([kept])

        def rows(relation: Relation) -> TableRows:
            return planner.rows(relation) if self._followed.follows(relation) else _NOT_FOLLOWED

        assert isinstance(self._decoder, PgoutputDecoder)
        messages = chunk.packed()
        completed = self._decoder.decode_into(
            messages.data, messages.start, messages.lengths, rows, add
        )
        planner.complete(completed)
        if chunk.final:
            self._position = completed.end_lsn
        else:
            self._continued = True

    def _decode(self, chunk: Chunk) -> Iterator[Piece | Void]:
        decode = self._decoder.decode
        for wal_start, payload in chunk.unpack():
            change = decode(payload, wal_start)
            if change is None:
                continue
            kind = type(change)
            if kind is Commit:
                yield from self._complete(change)  # type: ignore[arg-type]
            elif kind is Begin:
                self._begin_transaction(change.xid)  # type: ignore[union-attr]
            elif (kept := self._kept(change)) is not None:
                self._changes.append(kept)
        if not chunk.final:
            yield from self._give_piece()

    def _give_piece(self) -> Iterator[Piece]:
        """Give what has come of a large transaction, but for a TRUNCATE at its end.

        wal2json tells one TRUNCATE of several tables as several changes, which belong together.
        """
        end = len(self._changes)
        while end and type(self._changes[end - 1]) is Truncate:
            end -= 1
        if end:
            changes = self._followed.of(self._changes[:end])
            piece = Piece(self._xid, changes, 0, 0, self._continued)
            self._changes = self._changes[end:]
            self._continued = True
            yield piece

    def _kept(self, change: Change) -> Change | None:
        """Return what is to be made of a change; None for a message that is not ours."""
        kind = type(change)
        if kind is Truncate:
            return self._followed.truncated(change)  # type: ignore[arg-type]
        if kind is Message and change.prefix != MARKER_PREFIX:  # type: ignore[union-attr]
            return None
        return change

    def refuse_unproved(self) -> None:
        """Raise StateError unless a transaction of the source ends where reading began."""
        if not self.proved:
            raise StateError(
                f"target: the replication origin stands at {format_lsn(self._position)}, where no"
                " transaction of the source ends",
                hint="something else moved it, or the target was restored: clone again",
            )

    def _complete(self, commit: Commit) -> Iterator[Piece | Void]:
        if commit.end_lsn == self._position:
            self.proved = True
        if commit.end_lsn > self._position:
            self.refuse_unproved()
            self._position = commit.end_lsn
            changes = self._followed.of(self._changes)
            yield Piece(self._xid, changes, commit.end_lsn, commit.commit_time, self._continued)
        elif self._continued:
            yield Void()  # sent, and stored, once more: only its end tells
        self._begin_transaction(0)

    def _begin_transaction(self, xid: int) -> None:
        self._xid = xid
        self._changes = []
        self._continued = False

    def _change_session(self, chunk: Chunk) -> Iterator[Void]:
        """Start with a fresh decoder: the source describes its relations anew in each session.

        Reading may begin in the middle of one, which may still go on.
        """
        if self._continued:
            yield Void()
        self._begin_transaction(0)
        self._session = chunk.session
        self._decoder = self._new_decoder()
        for wal_start, payload in self._reader.relations_before(chunk):
            if self._decoder.decode(payload, wal_start) is not None:
                raise ProtocolError("a stored relation frame is something else")

    def _new_decoder(self) -> Decoder:
        return make_decoder(self._plugin, self._capture.identities(), self._capture.encoding)
