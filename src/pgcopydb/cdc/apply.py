"""Applying: stored changes become rows on the target, each source transaction exactly once.

There is one path: read the changelog from the target's own position to its end, and go on as more
is stored. What is there now is written as one target transaction that ends at a source commit: one
transaction at a time behind an idle source, thousands when far behind.
"""

import logging
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing import connection as pipes
from multiprocessing.connection import Connection as Pipe
from typing import Final, Self

from msgspec import Struct

from pgcopydb.batching.plan import Batch, Planner
from pgcopydb.cdc import machine_crash
from pgcopydb.cdc.altered import note_shapes
from pgcopydb.cdc.capture import read_capture
from pgcopydb.cdc.conflicts import ConflictResolver
from pgcopydb.cdc.patience import Patience
from pgcopydb.cdc.session import ApplySession
from pgcopydb.cdc.sets import SetWriter
from pgcopydb.cdc.special_numbers import NullWatch
from pgcopydb.cdc.strict import StrictWriter
from pgcopydb.cdc.transactions import Piece, TransactionReader, Void
from pgcopydb.errors import Interrupted, PgcopydbError, StateError
from pgcopydb.lsn import format_lsn
from pgcopydb.model.capture import Capture
from pgcopydb.model.changes import Completed
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import ApplyMode, OnConflict, Plugin
from pgcopydb.runtime import signals
from pgcopydb.workdir.changelog import ChangelogReader, Chunk, is_end_of_chunk, prune, stored_end
from pgcopydb.workdir.conflicts import ConflictLog
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.sentinel import require_sentinel, update_sentinel
from pgcopydb.workdir.store import refuse_full_disk, write_fact
from pgcopydb.workdir.transaction import transaction

log = logging.getLogger(__name__)

_MOST_CHANGES: Final = 20_000
"""Changes written as one target transaction at most, unless one source transaction has more."""

_MOST_BYTES: Final = 16 << 20
"""Bytes of stored frames in one batch, which bounds memory whatever the rows are."""

LAST_LSN: Final = (1 << 64) - 1

DRAINED_FACT: Final = "drained"
"""The endpos up to which every transaction is durable on the target, as apply wrote it down."""

_LOOK_AROUND: Final = 0.1
"""Seconds between looks at the sentinel."""

_DURABLE_EVERY: Final = 1.0
"""Seconds between questions to the target how far it has flushed, and reports of it."""

_PRUNE_EVERY: Final = 2.0

_RATES_OVER: Final = 1.0
"""Seconds over which the rates of transactions and changes are measured."""

_POLL: Final = 0.02
"""Seconds between looks into the changelog where no pipe tells that more is stored."""

_SWITCH_WITHIN: Final = 0.0005
"""Seconds for which the thread that writes waits at most for the one that decodes.

It has some ten answers of the server to read in each batch. With Python's own 5 ms the server
would stand still that long after each of them.
"""


class ApplyTask(Struct, frozen=True):
    """What an apply process is to do; ``wake`` is a pipe that receive writes to."""

    work: WorkDirectory
    target: Endpoint
    plugin: Plugin
    mode: ApplyMode = ApplyMode.BATCH
    on_conflict: OnConflict = OnConflict.ERROR
    wake: Pipe | None = None
    stop_at_end: bool = False
    """Whether to stop at the end of what is stored when no endpos is set."""


def apply(task: ApplyTask) -> None:
    """Apply stored changes until endpos, over as many connections as it takes.

    It begins when the sentinel lets it, and pauses whenever that is taken back.
    Returns when every transaction up to endpos is durable on the target. Raises Interrupted on a
    signal, ConflictError for a row that is not what the source says, StateError when the stored
    changes do not reach back to the target's position, the target's error when it stays away.
    """
    sys.setswitchinterval(_SWITCH_WITHIN)
    _wait_for_order(task)
    patience = Patience()
    strict_until = 0
    while True:
        applier: _Applier | None = None
        try:
            with _Applier(task, strict_until) as applier:
                applier.run()
            return
        except sqlite3.Error as error:
            refuse_full_disk(task.work.catalogue, error)
            raise
        except PgcopydbError as error:
            if applier is not None and applier.committed_anything:
                patience.renew()
            if isinstance(error, Interrupted):
                raise
            if not error.retryable and applier is not None and applier.failed_batch_end:
                strict_until = applier.failed_batch_end
                log.info("a batch is done again row by row: %s", error.message)
                continue
            patience.bear(error)
        signals.raise_if_stopped()
        patience.pause()


def _wait_for_order(task: ApplyTask) -> None:
    """Wait until the base copy is there and the sentinel says that changes may be applied."""
    told = False
    while True:
        with task.work.store() as store:
            if require_sentinel(store).apply:
                return
        if not told:
            log.info("waiting for the base copy, or for: pgcopydb stream sentinel set apply")
            told = True
        signals.raise_if_stopped()
        time.sleep(_LOOK_AROUND)


class _Applier:
    """One target session: from its position on, until endpos or an error.

    While one batch is written, by a thread that waits for the server, the next is decoded and
    planned. Up to ``strict_until`` every source transaction is written by itself, row by row.
    """

    def __init__(self, task: ApplyTask, strict_until: int) -> None:
        self._task = task
        self._strict_until = strict_until
        self.committed_anything = False
        self.failed_batch_end = 0

    def __enter__(self) -> Self:
        work = self._task.work
        header = work.header()
        if header is None:
            raise StateError("the work directory holds no migration")
        capture = read_capture(work)
        with ExitStack() as stack:
            self._store = stack.enter_context(work.store())
            self._reader = ChangelogReader(work.cdc)
            stack.callback(self._reader.close)
            self._session = stack.enter_context(ApplySession(self._task.target, header, capture))
            note_shapes(self._store, self._session.tables, capture)
            self._sentinel = require_sentinel(self._store)
            proved = self._start(capture)
            self._transactions = TransactionReader(
                self._reader, self._task.plugin, capture, self._session.position, proved=proved
            )
            self._noted_start = False
            self._flushing = stack.enter_context(_Flushing(self._session))
            self._close = stack.pop_all()
        self._strict = StrictWriter(self._session)
        self._resolver = self._make_resolver()
        self._sets = SetWriter(self._session, self._strict)
        self._planner = Planner(self._session.route)
        self._always_strict = (
            self._task.mode is ApplyMode.TRANSACTION or not self._session.independent
        )
        self._nulls = NullWatch(work) if self._task.plugin is Plugin.WAL2JSON else None
        self._in_pieces = False
        self._transactions_applied = self._sentinel.transactions
        self._changes_applied = self._sentinel.changes
        self._commit_time = self._sentinel.replay_commit_time
        self._rates = _Rates(self._transactions_applied, self._changes_applied)
        self._durable = 0
        self._reported: tuple[int, ...] = ()
        self._next_look = self._next_durable = self._next_prune = 0.0
        return self

    def __exit__(self, *exc: object) -> None:
        self._close.close()

    def _start(self, capture: Capture) -> bool:
        """Refuse an origin that somebody moved; return whether it is proved to be where it was.

        Where it is not proved now, inside of a chunk or after a crash of this machine (see
        ``machine_crash``), reading on proves it or does not.
        """
        position = self._session.position
        stored = stored_end(self._task.work.cdc)
        if position < self._sentinel.flush_lsn and stored < self._sentinel.flush_lsn:
            raise StateError(
                f"changes were stored up to {format_lsn(self._sentinel.flush_lsn)}, but those"
                f" after {format_lsn(stored)} are gone from {self._task.work.cdc}",
                hint="let receive get them again, if the slot still has them: run follow --resume",
            )
        reachable = max(self._sentinel.received_lsn, stored, capture.start)
        crashed = position > reachable and machine_crash.may_have_happened(self._store)
        if position < capture.start or (position > reachable and not crashed):
            raise StateError(
                f"target: the replication origin stands at {format_lsn(position)}, outside of the"
                f" changes from {format_lsn(capture.start)} to {format_lsn(reachable)} stored here",
                hint="something else moved it, or the target was restored: clone again",
            )
        if crashed:
            log.warning(
                "the target has changes up to %s, but only those up to %s are stored since this"
                " machine was started anew: the source has to send the others again",
                format_lsn(position),
                format_lsn(stored),
            )
        log.info("applying from %s", format_lsn(position))
        return position == capture.start or is_end_of_chunk(self._task.work.cdc, position)

    def _make_resolver(self) -> ConflictResolver | None:
        """Return what gets over conflicts, None where they are errors."""
        conflicts = ConflictLog(self._store)
        conflicts.forget_after(self._session.position)
        if self._task.on_conflict is OnConflict.ERROR:
            return None
        return ConflictResolver(self._session, self._strict, conflicts, self._task.on_conflict)

    def run(self) -> None:
        """Apply until the end; what is complete when a signal asks to stop is committed."""
        while True:
            self._look_around()
            endpos = self._stored_endpos()
            passed = self._apply_stored()
            if passed or self._is_end(endpos):
                break
            signals.raise_if_stopped()
            self._wait()
        self._roll_back()  # what has come of a transaction that ends beyond endpos
        self._refuse_endpos_in_the_past()
        self._transactions.refuse_unproved()
        self._report(durable=True)
        if passed or endpos:
            write_fact(self._store, DRAINED_FACT, passed or endpos)

    def _apply_stored(self) -> int:
        """Write everything that is stored; return the endpos that was passed, or 0."""
        while (chunk := self._transactions.next_chunk()) is not None:
            if self._may_plan(chunk):
                self._plan(chunk)
            elif passed := self._apply_pieces(chunk):
                return passed
        self._flush()
        self._settle()
        return 0

    def _may_plan(self, chunk: Chunk) -> bool:
        """Tell whether a chunk may go into the batch as a whole, with every transaction in it."""
        return (
            not self._always_strict
            and self._session.position >= self._strict_until
            and not self._is_beyond_endpos(chunk.end_lsn)
            and self._transactions.may_plan(chunk)
        )

    def _plan(self, chunk: Chunk) -> None:
        """Add a chunk to the batch; send the batch off when it is large enough."""
        if not chunk.final:
            self._begin_pieces()
        try:
            self._transactions.plan(chunk, self._planner)
        except StateError:
            self._refuse_after(chunk.end_lsn)
            raise
        self._send_when_large()

    def _apply_pieces(self, chunk: Chunk) -> int:
        """Write a chunk's transactions one after the other; return endpos if it was passed."""
        for piece in self._transactions.pieces(chunk):
            if isinstance(piece, Void):
                self._roll_back()
                continue
            if self._nulls is not None:
                for change in piece.changes:
                    self._nulls.see(change)
            if piece.end_lsn and self._is_beyond_endpos(piece.end_lsn):
                self._abandon(piece)
                return self._sentinel.endpos
            if self._always_strict or self._session.position < self._strict_until:
                self._write_strictly(piece)
            else:
                self._collect(piece)
        return 0

    def _collect(self, piece: Piece) -> None:
        """Add a piece to the batch; send the batch off when it is large enough."""
        if not piece.end_lsn:
            self._begin_pieces()
        try:
            self._planner.add(piece.changes)
        except StateError:
            self._refuse_after(piece.end_lsn)
            raise
        if piece.end_lsn:
            self._in_pieces = False
            self._planner.complete(Completed(piece.end_lsn, piece.commit_time, 1, 0))
        self._send_when_large()

    def _begin_pieces(self) -> None:
        """Let what is complete be committed before a transaction that is too large for memory."""
        if not self._in_pieces:
            self._flush()
            self._in_pieces = True

    def _refuse_after(self, end_lsn: int) -> None:
        """Let what the target cannot take, of those up to ``end_lsn``, be found one by one.

        Those before it are committed before it is refused.
        """
        self.failed_batch_end = end_lsn or LAST_LSN

    def _send_when_large(self) -> None:
        """Send the batch off when it is large enough; look around when that is due."""
        if self._planner.changes >= _MOST_CHANGES or self._transactions.bytes >= _MOST_BYTES:
            self._flush()
        if self._look_is_due():
            signals.raise_if_stopped()
            if not self._in_pieces:
                self._flush()
            self._look_around()

    def _flush(self) -> None:
        """Let what was collected be written, after the batch before it is."""
        self._transactions.bytes = 0
        batch = self._planner.take()
        if batch.steps or batch.end_lsn:
            self._settle()
            if batch.transactions and time.monotonic() >= self._next_durable:
                self._report(durable=True)
            self._flushing.start(self._sets.write, batch)

    def _settle(self) -> None:
        """Wait until the batch under way is written, and count it."""
        batch = self._flushing.batch
        if batch is None:
            return
        try:
            self._flushing.wait()
        except PgcopydbError:
            self.failed_batch_end = batch.end_lsn or LAST_LSN
            raise
        self._count(batch.transactions, batch.changes, batch.commit_time)

    def _write_strictly(self, piece: Piece) -> None:
        """Write one source transaction as one transaction of the target, change by change."""
        self._flush()
        self._settle()
        if piece.changes:
            self._session.begin()
            writer = self._resolver or self._strict
            writer.write(piece.xid, piece.changes, end_lsn=piece.end_lsn)
        if piece.end_lsn:
            if self._resolver is not None:
                self._resolver.complete(piece.end_lsn)
            self._strict.commit(piece.end_lsn, piece.commit_time)
            if piece.continued and self._strict_until == LAST_LSN:
                self._strict_until = 0  # it was for this transaction, whose end was not known
        self._count(int(bool(piece.end_lsn)), len(piece.changes), piece.commit_time)
        signals.raise_if_stopped()
        if self._look_is_due() and piece.end_lsn:
            self._look_around()

    def _count(self, transactions: int, changes: int, commit_time: int) -> None:
        self._transactions_applied += transactions
        self._changes_applied += changes
        self._commit_time = commit_time or self._commit_time
        self.committed_anything = self.committed_anything or transactions > 0

    def _abandon(self, piece: Piece) -> None:
        """Leave out a transaction that ends beyond endpos, written in part or not at all."""
        if piece.continued:
            self._roll_back()
        else:
            self._flush()
            self._settle()

    def _roll_back(self) -> None:
        """Undo the pieces of a transaction that will not be completed."""
        self._planner.take()
        self._in_pieces = False
        self._settle()
        if self._resolver is not None:
            self._resolver.forget()
        if self._session.in_transaction:
            self._session.rollback()
            self._sets.forget()

    def _is_beyond_endpos(self, end_lsn: int) -> bool:
        return bool(self._sentinel.endpos) and end_lsn > self._sentinel.endpos

    def _stored_endpos(self) -> int:
        """Return endpos if everything up to it is in the changelog by now, else 0.

        That may be known from a commit there alone: a receive that was killed does not tell.
        """
        endpos = self._sentinel.endpos
        known = max(self._sentinel.received_lsn, self._session.position)
        return endpos if known >= endpos else 0

    def _is_end(self, stored_endpos: int) -> bool:
        """Tell whether what is applied now, with all up to ``stored_endpos``, is the end."""
        endpos = self._sentinel.endpos  # it may have been moved meanwhile
        return endpos == stored_endpos if endpos else self._task.stop_at_end

    def _look_is_due(self) -> bool:
        return time.monotonic() >= self._next_look

    def _look_around(self) -> None:
        """Read the sentinel; now and then report what is durable and prune what is applied."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_AROUND
        self._sentinel = require_sentinel(self._store)
        if not self._sentinel.apply:
            self._pause()
        self._refuse_endpos_in_the_past()
        if self._transactions.proved and not self._noted_start:
            machine_crash.note_start(self._store)
            self._noted_start = True
        if self._flushing.batch is None:
            self._report(durable=now >= self._next_durable)
        if now >= self._next_prune:
            self._next_prune = now + _PRUNE_EVERY
            for path in prune(self._task.work.cdc, self._durable):
                log.debug("removed %s, which is applied", path.name)

    def _pause(self) -> None:
        """Let what is under way be written, then wait until changes may be applied again.

        What was read meanwhile is kept. A transaction too large for one batch stays open.
        """
        self._settle()
        self._report(durable=True)
        log.info(
            "paused at %s; to go on: pgcopydb stream sentinel set apply",
            format_lsn(self._session.position),
        )
        while not self._sentinel.apply:
            signals.raise_if_stopped()
            time.sleep(_LOOK_AROUND)
            self._sentinel = require_sentinel(self._store)
        log.info("applying again")

    def _refuse_endpos_in_the_past(self) -> None:
        endpos = self._sentinel.endpos
        if endpos and endpos < self._session.position:
            # Whoever set it did not know; the next run is not to come to the same end.
            with transaction(self._store):
                if require_sentinel(self._store).endpos == endpos:
                    update_sentinel(self._store, endpos=0)
            raise StateError(
                f"endpos {format_lsn(endpos)} is in the past: the target has already applied up to"
                f" {format_lsn(self._session.position)}",
                hint="set a later one: pgcopydb stream sentinel set endpos --current",
            )

    def _report(self, *, durable: bool) -> None:
        """Write into the sentinel how far the target is; ask it what is on disk if need be.

        It is not asked in the middle of a transaction too large for one batch.
        """
        durable = durable and not self._session.in_transaction
        if durable and self._durable != self._session.position:
            self._durable = self._session.durable_position()
        if durable:
            self._next_durable = time.monotonic() + _DURABLE_EVERY
        rates = self._rates.measure(self._transactions_applied, self._changes_applied)
        report = (self._durable, self._session.position, self._transactions_applied, *rates)
        if report == self._reported:
            return
        self._reported = report
        update_sentinel(
            self._store,
            replay_lsn=self._durable,
            transform_lsn=self._session.position,
            replay_commit_time=self._commit_time,
            transactions=self._transactions_applied,
            changes=self._changes_applied,
            transaction_rate=rates[0],
            change_rate=rates[1],
            reported_time=time.time_ns() // 1000,
        )

    def _wait(self) -> None:
        """Wait until receive has stored more, but not longer than until the next look."""
        pipe = self._task.wake
        if pipe is None:
            time.sleep(_POLL)
        elif pipes.wait([pipe], _LOOK_AROUND):
            os.read(pipe.fileno(), 4096)


class _Rates:
    """How many transactions and changes were applied a second, lately."""

    def __init__(self, transactions: int, changes: int) -> None:
        self._since = time.monotonic()
        self._counts = (transactions, changes)
        self._rates = (0, 0)

    def measure(self, transactions: int, changes: int) -> tuple[int, int]:
        """Return both rates; they are measured anew when a second has passed."""
        seconds = time.monotonic() - self._since
        if seconds >= _RATES_OVER:
            before = self._counts
            self._rates = (
                round((transactions - before[0]) / seconds),
                round((changes - before[1]) / seconds),
            )
            self._since += seconds
            self._counts = (transactions, changes)
        return self._rates


class _Flushing:
    """A thread that writes one batch at a time; a context manager that ends it.

    Python runs on here while the server works: the driver waits without holding the interpreter.
    """

    def __init__(self, session: ApplySession) -> None:
        self._session = session
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="flush")
        self._future: Future[None] | None = None
        self.batch: Batch | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._future is not None and not self._future.done():
            self._session.cancel()
        self._thread.shutdown(wait=True)

    def start(self, write: Callable[[Batch], None], batch: Batch) -> None:
        """Begin to write ``batch``; the one before it must have been waited for."""
        self.batch = batch
        self._future = self._thread.submit(write, batch)

    def wait(self) -> None:
        """Wait for the batch under way; raise what it failed with."""
        try:
            if self._future is not None:
                self._future.result()  # what interrupts this leaves the batch to be cancelled
        finally:
            self.batch = None
