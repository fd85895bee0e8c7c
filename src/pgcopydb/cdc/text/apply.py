"""``stream apply``: stored changes, or SQL text, become rows on the target.

SQL text is run as ``stream transform`` wrote it, a line a statement, and nothing else is: every
line is known by its beginning and sent as a single statement. Whole transactions are committed, as
many as are there, together with the position that they end at; one that the target has already, by
that position, is passed over. A small transaction is held back until its COMMIT has come, a large
one is run in a target transaction of its own, so that an input that breaks off loses nothing that
was complete and leaves nothing that was not.
"""

import logging
import os
import re
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self

import msgspec
import psycopg

from pgcopydb.cdc.apply import ApplyTask, apply
from pgcopydb.cdc.capture import read_capture
from pgcopydb.cdc.conflicts import refuse_conflicts
from pgcopydb.cdc.follow import refuse_unfinished_copy, set_endpos_from, settle
from pgcopydb.cdc.setup import enable_apply
from pgcopydb.cdc.target_setup import prepare_target
from pgcopydb.cdc.text.lines import read_lines
from pgcopydb.cdc.text.notes import CompleteNote, SourceNote, from_comment
from pgcopydb.cdc.text.progress import claim_source, open_progress
from pgcopydb.cdc.text.transform import reading, transform_command
from pgcopydb.decoding.timestamps import TimestampReader
from pgcopydb.errors import (
    ConflictError,
    PgcopydbError,
    ProtocolError,
    StateError,
    TargetError,
    UsageError,
)
from pgcopydb.lsn import format_lsn, parse_lsn
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import ApplyMode, FollowOptions, OnConflict
from pgcopydb.postgres.connect import connect, reporting, translate
from pgcopydb.postgres.pipeline import Pipeline, StatementFailure
from pgcopydb.runtime import signals
from pgcopydb.sql.render import PREAMBLE, header_of
from pgcopydb.workdir.directory import WorkDirectory

log = logging.getLogger(__name__)

_STANDARD: Final = "-"

_MOST_CHANGES: Final = 20_000
"""Statements in one target transaction, unless one source transaction has more."""

_HELD_BACK: Final = 4 << 20
"""Bytes of a transaction that wait for its COMMIT before anything of it is sent."""

_ROWS_BETWEEN_SYNCS: Final = 2000
_BYTES_BETWEEN_SYNCS: Final = 4 << 20
"""What is in flight before results are read, which bounds memory on both sides."""

_TAKE_OVER_WITHIN: Final = 5.0
"""Seconds to wait for the session of an apply that has just ended."""

_FAREWELL: Final = 3.0
"""Seconds of silence after which nothing more is expected of an input that is at endpos."""

_ON_A_ROW: Final = (b"INSERT INTO ", b"UPDATE ONLY ", b"DELETE FROM ONLY ")
_TRUNCATE: Final = b"TRUNCATE ONLY "
_SUBJECT = re.compile(
    rb"(INSERT INTO|UPDATE ONLY|DELETE FROM ONLY|TRUNCATE ONLY)"
    rb' ((?:U&)?"(?:[^"]|"")*"\.(?:U&)?"(?:[^"]|"")*")'
)
_SHOWN_KEY: Final = 200

_NOT_OURS: Final = "is not SQL as pgcopydb stream transform writes it"


def apply_command(
    work: WorkDirectory | None,
    target: Endpoint | Literal["-"],
    source: Path | Literal["-"] | None,
    follow: FollowOptions,
) -> None:
    """Apply ``source``, a file of SQL text or "-" for stdin; None: what ``work`` has stored.

    With "-" as ``target`` the SQL of what is stored is printed. Returns when everything up to
    endpos, or to the end of the input, is durable on the target. Raises ConflictError for a row
    that is not what the source says, ProtocolError for input that is something else or breaks off,
    StateError for an origin or an endpos that does not fit.
    """
    if isinstance(target, str):
        transform_command(work, None, None, follow)
    elif source is None:
        assert work is not None
        _apply_stored(work, target, follow)
    elif source == _STANDARD:
        _apply_text(sys.stdin.fileno(), "stdin", target, follow)
    else:
        with reading(Path(source)) as descriptor:
            _apply_text(descriptor, str(source), target, follow)


def _apply_stored(work: WorkDirectory, target: Endpoint, follow: FollowOptions) -> None:
    options = settle(work, follow)
    read_capture(work)
    refuse_unfinished_copy(work)
    enable_apply(work)
    prepare_target(work, target)
    set_endpos_from(work, options)
    task = ApplyTask(
        work=work,
        target=target,
        plugin=options.plugin,
        mode=options.apply_mode,
        on_conflict=options.on_conflict,
        stop_at_end=True,
    )
    with signals.stop_on_signals():
        apply(task)
    refuse_conflicts(work)


def _apply_text(descriptor: int, place: str, target: Endpoint, follow: FollowOptions) -> None:
    if follow.on_conflict is not OnConflict.ERROR:
        raise UsageError(
            f"--on-conflict {follow.on_conflict} is for stored changes, not for SQL text",
            hint="apply what is stored: leave FILE out, or use follow",
        )
    with signals.stop_on_signals(), _TextApplier(target, place, follow) as applier:
        for line in read_lines(descriptor):
            applier.take(line)
            if applier.is_past_endpos or applier.has_waited_enough():
                break
        applier.finish()


class _Header(msgspec.Struct, frozen=True):
    """What a BEGIN and a COMMIT line say of their transaction."""

    xid: int
    lsn: str
    timestamp: str | None = None


class _Transaction(NamedTuple):
    """A source transaction under way."""

    header: bytes
    xid: int
    end_lsn: int
    commit_time: int
    skipped: bool


class _Where(NamedTuple):
    """Which statement this is, should it fail."""

    line: bytes
    number: int
    transaction: _Transaction


class _TextPipeline(Pipeline):
    """A pipeline that also takes statements with all their values in them, each used once."""

    def add_text(self, statement: bytes, *, rows: int, subject: object) -> None:
        """Queue a single statement, which must affect ``rows`` rows unless that is negative."""
        try:
            self._pgconn.send_query_params(statement, ())
        except psycopg.Error as error:
            raise translate(self._endpoint, error, doing="sending changes") from error
        self._expected.append((rows, subject))


class _TextApplier:
    """One target session that applies lines; a context manager that owns its connection."""

    def __init__(self, target: Endpoint, place: str, follow: FollowOptions) -> None:
        self._target = target
        self._place = place
        self._origin = follow.origin
        self._endpos = follow.endpos or 0
        self._most_changes = 1 if follow.apply_mode is ApplyMode.TRANSACTION else _MOST_CHANGES
        self._times = TimestampReader()
        self._number = 0
        self._transaction: _Transaction | None = None
        self._held: list[_Where] = []
        self._held_bytes = 0
        self._in_flight = 0
        self._streams = False
        self._batch: _Transaction | None = None
        self._batch_changes = 0
        self._is_open = False
        self._complete = 0
        self._went_back = False
        self._applied = self._skipped = 0
        self._heard = 0.0
        self.is_past_endpos = False

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # a name of its own, so that no other apply takes this for a session left behind
            purpose = f"apply sql {os.getpid()}"
            # closed as it is: psycopg's own end of a session would send a COMMIT
            self._connection = stack.enter_context(closing(connect(self._target, purpose=purpose)))
            self._keep_silent()
            self._progress = open_progress(self._connection, self._target, self._origin)
            self._position = self._attach()
            self._pipeline = _TextPipeline(self._connection, self._target)
            self._close = stack.pop_all()
        log.info('applying after %s, by origin "%s"', format_lsn(self._position), self._origin)
        self._start = self._position
        if self._endpos and self._endpos < self._position:
            self._close.close()
            raise StateError(
                f"endpos {format_lsn(self._endpos)} is in the past: the target has already applied"
                f" up to {format_lsn(self._position)}",
                hint="give a later --endpos",
            )
        return self

    def __exit__(self, *exc: object) -> None:
        self._close.close()

    def _keep_silent(self) -> None:
        """Make triggers and foreign keys stay silent: what they would do is in the changes."""
        try:
            with reporting(self._target, "setting up the apply session"):
                self._connection.execute("set session_replication_role to replica")
        except TargetError:
            log.warning(
                "target: the role may not set session_replication_role: triggers and foreign keys"
                " fire while changes are applied"
            )

    def _attach(self) -> int:
        deadline = time.monotonic() + _TAKE_OVER_WITHIN
        while True:
            try:
                return self._progress.attach()
            except StateError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    # -- lines -------------------------------------------------------------------------------------

    def take(self, line: bytes | None) -> None:
        """Take the next line; None says that no more is there yet, so that it is time to commit.

        Raises ProtocolError for a line that is not in its place.
        """
        if line is None:
            if not self._streams:
                self._commit_batch()
            signals.raise_if_stopped()
            return
        self._number += 1
        self._heard = 0.0
        transaction = self._transaction
        if line.startswith(_ON_A_ROW):
            self._statement(line, transaction, 1)
        elif line.startswith(_TRUNCATE):
            self._statement(line, transaction, -1)
        elif (header := header_of(line)) is not None:
            begins, text = header
            if begins:
                self._begin(text)
            else:
                self._commit(text)
        elif transaction is None and line.startswith(b"--"):
            self._comment(line)
        elif transaction is not None or (line.strip() and line not in PREAMBLE):
            raise self._wrong(_NOT_OURS)

    def _statement(self, line: bytes, transaction: _Transaction | None, rows: int) -> None:
        if transaction is None:
            raise self._wrong("is a statement outside of a transaction")
        if transaction.skipped:
            return
        where = _Where(line, self._number, transaction)
        if self._streams:
            self._send(where, rows)
            return
        self._held.append(where)
        self._held_bytes += len(line)
        if self._held_bytes > _HELD_BACK:
            self._commit_batch()
            self._streams = True
            self._send_held()

    def _begin(self, text: bytes) -> None:
        if self._transaction is not None:
            raise self._wrong("begins a transaction within another")
        transaction = self._read_header(text)
        if self._endpos and transaction.end_lsn > self._endpos:
            self.is_past_endpos = True
            return
        self._transaction = transaction

    def _read_header(self, text: bytes) -> _Transaction:
        try:
            header = msgspec.json.decode(text, type=_Header)
            end_lsn = parse_lsn(header.lsn)
            commit_time = self._times.microseconds(header.timestamp) if header.timestamp else 0
        except (msgspec.MsgspecError, ValueError) as error:
            raise self._wrong(f"begins a transaction without saying which: {error}") from error
        reached = self._batch.end_lsn if self._batch else self._position
        if self._start < end_lsn <= reached and not self._went_back:
            self._went_back = True
            log.warning(
                "%s, line %d: the input goes back to %s, which counts as applied",
                self._place,
                self._number,
                format_lsn(end_lsn),
            )
        return _Transaction(text, header.xid, end_lsn, commit_time, end_lsn <= reached)

    def _commit(self, text: bytes) -> None:
        transaction = self._transaction
        if transaction is None or transaction.header != text:
            raise self._wrong("ends another transaction than the one that was begun")
        self._transaction = None
        if transaction.skipped:
            self._skipped += 1
        else:
            self._send_held()
            self._streams = False
            self._batch = transaction
            self._applied += 1
            if self._batch_changes >= self._most_changes:
                self._commit_batch()
                signals.raise_if_stopped()

    def _comment(self, line: bytes) -> None:
        note = from_comment(line)
        if isinstance(note, SourceNote):
            self._claim(note)
        elif isinstance(note, CompleteNote):
            self._complete = max(self._complete, note.lsn)

    def _claim(self, note: SourceNote) -> None:
        """Compare the changes' source with the one that the origin is about."""
        self._commit_batch()
        self._pipeline.leave()
        try:
            claim_source(self._connection, self._target, self._origin, note.source)
        finally:
            self._pipeline.enter()

    def _wrong(self, what: str) -> ProtocolError:
        return ProtocolError(
            f"{self._place}, line {self._number} {what}",
            hint="give the output of pgcopydb stream transform, whole and in its order",
        )

    # -- the target --------------------------------------------------------------------------------

    def _send_held(self) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        for where in held:
            self._send(where, -1 if where.line.startswith(_TRUNCATE) else 1)

    def _send(self, where: _Where, rows: int) -> None:
        if not self._is_open:
            self._pipeline.add("BEGIN")
            self._pipeline.add("SET CONSTRAINTS ALL DEFERRED")
            self._is_open = True
        self._pipeline.add_text(where.line, rows=rows, subject=where)
        self._batch_changes += 1
        self._in_flight += len(where.line)
        if self._pipeline.queued >= _ROWS_BETWEEN_SYNCS or self._in_flight >= _BYTES_BETWEEN_SYNCS:
            self._sync()

    def _commit_batch(self) -> None:
        """Commit the complete transactions, with the last one's end as what is applied."""
        batch, self._batch, self._batch_changes = self._batch, None, 0
        if batch is None:
            return
        self._sync()  # every count is checked before the commit is sent
        self._progress.mark(self._pipeline, batch.end_lsn, batch.commit_time)
        self._pipeline.add("COMMIT")
        self._sync()
        self._is_open = False
        self._position = batch.end_lsn

    def _sync(self) -> None:
        self._in_flight = 0
        try:
            self._pipeline.sync()
        except StatementFailure as failure:
            raise self._explain(failure) from failure

    def finish(self) -> None:
        """Commit what is complete, and make sure that all that was asked for is there, durably.

        Raises ProtocolError when the input broke off within a transaction, StateError when it ended
        before endpos.
        """
        if not self._streams:
            self._commit_batch()
        if self._transaction is not None:
            raise ProtocolError(
                f"{self._place} ends in the middle of transaction {self._transaction.xid},"
                f" which is not applied; the target stands at {format_lsn(self._position)}",
                hint="its writer was stopped: run it again, transactions that are applied already"
                " are skipped",
            )
        self._pipeline.leave()
        durable = self._progress.durable()
        log.info(
            "applied %d transactions, up to %s; %d had been applied before",
            self._applied,
            format_lsn(durable),
            self._skipped,
        )
        if self._endpos and not self._has_reached_endpos():
            raise StateError(
                f"{self._place} ends before endpos {format_lsn(self._endpos)}: the target stands at"
                f" {format_lsn(durable)}",
                hint="its writer was stopped, or was given an earlier --endpos: run it again",
            )

    def _has_reached_endpos(self) -> bool:
        return (
            self.is_past_endpos or self._position == self._endpos or self._complete >= self._endpos
        )

    def has_waited_enough(self) -> bool:
        """Tell whether endpos is reached and the input has been silent for a while since.

        Its writer may be coming to the same endpos, and would take an early end for a failure.
        """
        if not self._endpos or not self._has_reached_endpos():
            return False
        now = time.monotonic()
        self._heard = self._heard or now
        return now - self._heard > _FAREWELL

    def _explain(self, failure: StatementFailure) -> PgcopydbError:
        """Return the error for a statement that failed: which line of which transaction it was."""
        where = failure.subject
        if not isinstance(where, _Where):
            return failure.cause or failure
        transaction = where.transaction
        what = (
            f"{_described(where.line)} of source transaction {transaction.xid}, committed at"
            f" {format_lsn(transaction.end_lsn)} ({self._place}, line {where.number})"
        )
        if failure.cause is None:
            return ConflictError(
                f"target: {what} affected {failure.rows} rows instead of 1",
                hint="the row was changed on the target; put it right there and run this again",
            )
        error = ConflictError(f"{failure.cause.message}: {what}", hint=failure.cause.hint)
        error.retryable = failure.cause.retryable
        return error


def _described(line: bytes) -> str:
    """Return what a statement does to which table, and for which row, for a person."""
    found = _SUBJECT.match(line)
    if found is None:
        return "a statement"
    kind, table = found[1].split()[0].decode(), found[2].decode("utf-8", "replace")
    _, where, key = line.rpartition(b" WHERE ")
    if kind in ("UPDATE", "DELETE") and where:
        shown = key.decode("utf-8", "replace").removesuffix(";")
        if len(shown) > _SHOWN_KEY:
            shown = shown[:_SHOWN_KEY] + "..."
        return f"{kind} on {table} where {shown}"
    return f"{kind} on {table}"
