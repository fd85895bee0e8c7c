"""Transactions received in progress become whole ones, in the order in which they were committed.

pgoutput's protocol version 2 sends parts of large transactions before it is known whether they will
commit, and what it sends of several is mixed. Each is kept apart until its Stream Commit, and then
is as if version 1 had sent it there: BEGIN, what was not rolled back, COMMIT. So whatever stores,
reads, applies or prints transactions knows of version 1 alone, and an unfinished transaction is
nowhere but here.

That includes the descriptions of relations: those that came in a stream hold from its commit on, as
they do for PostgreSQL's own subscriptions. The source describes a relation again in each stream,
and again after a subtransaction was rolled back.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from msgspec import Struct

from pgcopydb.cdc.chunks import CHUNK_BYTES, Cut, Relations, relation_entry
from pgcopydb.decoding import MESSAGE_HEADER
from pgcopydb.decoding.streaming import (
    StreamAbort,
    StreamCommit,
    StreamedChanges,
    StreamSplitter,
    StreamStart,
    StreamStop,
)
from pgcopydb.errors import PgcopydbError, ProtocolError, SourceError
from pgcopydb.model.options import Streaming
from pgcopydb.workdir.changelog import MessageRun, pack_runs
from pgcopydb.workdir.streams import KeptRange, StreamStore


class StreamedTransaction(Struct, frozen=True):
    """A transaction that was received in progress and has committed; to be taken once."""

    end_lsn: int
    _commit: StreamCommit
    _ranges: Iterator[KeptRange]
    _chunk_bytes: int

    def messages(self) -> Iterator[bytes]:
        """Give its messages one by one."""
        yield self._commit.begin
        for one in self._ranges:
            yield from one.run.messages()
        yield self._commit.commit

    def cuts(self) -> Iterator[Cut]:
        """Give it as a chunk, or as slices of which the first holds its BEGIN alone."""
        slices = 0
        begin, commit = MessageRun.of([self._commit.begin]), MessageRun.of([self._commit.commit])
        runs: list[MessageRun] = [begin]
        relations: Relations = []
        size = 0
        for one in self._ranges:
            runs.append(one.run)
            size += len(one.run.data)
            if one.describes:
                relations += map(relation_entry, one.run.messages())
            if size < self._chunk_bytes:
                continue
            if not slices:
                yield _slice(runs[:1], 0, [])
                runs, slices = runs[1:], 1
            yield _slice(runs, slices, relations)
            runs, relations, size, slices = [], [], 0, slices + 1
        if slices and runs:
            yield _slice(runs, slices, relations)
            runs, relations, slices = [], [], slices + 1
        yield Cut(
            frames=pack_runs([*runs, commit]),
            slice_number=slices or None,
            final=True,
            end_lsn=self.end_lsn,
            transactions=1,
            relations=relations,
            last_commit=self._commit.commit[MESSAGE_HEADER:],
        )


def _slice(runs: Sequence[MessageRun], number: int, relations: Relations) -> Cut:
    return Cut(
        frames=pack_runs(runs),
        slice_number=number,
        final=False,
        end_lsn=0,
        transactions=0,
        relations=relations,
        last_commit=b"",
    )


def name_way_out(error: PgcopydbError, streaming: Streaming) -> None:
    """Say in the hint of a source's error how to do without streaming, where it may be due to it.

    While a transaction is in progress a server reads its own catalogue as that transaction has left
    it. In that 16 and 18 fail ("could not map filenumber ... to relation OID") where a table was
    altered in a subtransaction that was rolled back, and then again.
    """
    if streaming is Streaming.OFF or error.retryable or error.hint is not None:
        return
    if isinstance(error, SourceError):
        error.hint = "go on with --resume --streaming off: the slot still has these changes"


class StreamedTransactions:
    """Takes the messages of one session in protocol version 2; a context manager.

    What is kept of unfinished transactions lies in ``directory``, which is removed at the end.
    """

    def __init__(self, directory: Path, *, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._splitter = StreamSplitter()
        self._store = StreamStore(directory)
        self._chunk_bytes = chunk_bytes
        self._rolled_back: dict[int, set[int]] = {}
        """The subtransactions of each unfinished transaction that are void."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._store.__exit__(*exc)

    @property
    def in_block(self) -> bool:
        """Whether a part of a transaction is just coming."""
        return self._splitter.in_block

    def take(self, messages: Sequence[bytes]) -> Iterator[Sequence[bytes] | StreamedTransaction]:
        """Give what is whole: messages of transactions that came whole, or a transaction.

        A transaction must be used before the next part is asked for. Raises ProtocolError, and
        StateError where there is no room for what is not whole.
        """
        for part in self._splitter.split(messages):
            match part:
                case StreamStart(xid, is_first):
                    self._start(xid, is_first=is_first)
                case StreamedChanges(ranges):
                    for one in ranges:
                        self._store.append(one)
                case StreamStop():
                    self._store.end()
                case StreamAbort(xid, subtransaction):
                    self._abort(xid, subtransaction)
                case StreamCommit():
                    yield self._commit(part)
                case _:
                    yield part

    def _start(self, xid: int, *, is_first: bool) -> None:
        if is_first:
            self._store.discard(xid)  # the id of one that a crash of the source has ended
            self._rolled_back[xid] = set()
        elif xid not in self._rolled_back:
            raise ProtocolError(f"pgoutput went on with transaction {xid}, which it did not begin")
        self._store.begin(xid)

    def _abort(self, xid: int, subtransaction: int) -> None:
        if xid not in self._rolled_back:
            return  # nothing of it had come
        if xid == subtransaction:
            self._store.discard(xid)
            del self._rolled_back[xid]
        else:
            self._rolled_back[xid].add(subtransaction)

    def _commit(self, commit: StreamCommit) -> StreamedTransaction:
        void = self._rolled_back.pop(commit.xid, None)
        if void is None:
            raise ProtocolError(f"pgoutput ended transaction {commit.xid}, which it did not begin")
        kept = (one for one in self._store.take(commit.xid) if one.xid not in void)
        return StreamedTransaction(commit.end_lsn, commit, kept, self._chunk_bytes)
