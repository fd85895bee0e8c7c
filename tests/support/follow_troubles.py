"""A migration whose disks, locks, time limits and connections give trouble, at random moments.

::

    with on_small_disks(migration) as disks:
        FollowTroubleRun(migration, disks, seed=7, faults=5).run()

Each trouble lasts for a while and is taken away again. A command that ended by it has said so; it
is resumed, sometimes once more while the disk is still full.
"""

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psycopg

from tests.scenarios.migration import Migration
from tests.support.background import InBackground
from tests.support.clock import wait_for
from tests.support.disturbed import STOP_SECONDS
from tests.support.disturbed_follow import DisturbedFollow
from tests.support.failing_syncs import failing_to_sync
from tests.support.follow_kills import LOAD_SCHEMA, LOADS_IN_PART, LargeTransactions
from tests.support.servers import Connection, Database
from tests.support.small_disks import database_on_disk, empty, fill, mounted
from tests.support.steps import apply_waits_for_a_lock

MB = 1 << 20

WORK_DISK_FULL = "the work directory's disk is full"
WORK_DISK_NEARLY_FULL = "the work directory's disk is nearly full"
SYNC_FAILS = "a sync of the work directory fails"
TARGET_DISK_FULL = "the target's disk is full"
NO_CONNECTION = "the target has no connection left"
TABLE_LOCKED = "a table of the target is locked"
ROWS_LOCKED = "rows of the target are locked"
SOURCE_LIMITS = "limits of 300 ms on the source"
TARGET_LIMITS = "limits of 300 ms on the target"
DEADLOCK = "a deadlock on the target"
OLD_TRANSACTION = "an old transaction while the slot is made"

_WAL_SENDER_TIMEOUT = 3
"""Seconds after which the source ends a receiver of which it hears nothing."""

_LOCKS: Mapping[str, tuple[str, ...]] = {
    TABLE_LOCKED: (
        "lock table app.ledger",
        "lock table app.ledger in share mode",
        "lock table app.documents in share mode",
    ),
    ROWS_LOCKED: (
        "select from app.accounts for update",
        "select from app.ranking for update",
        "select from app.everything for update",
    ),
}

_TABLES = ("ledger", "echo", "transfers", "accounts", "documents", "bulk", "everything")
"""Tables of the application that are written to all the time."""

_IMPATIENT = {
    "statement_timeout": "300ms",
    "lock_timeout": "300ms",
    "idle_in_transaction_session_timeout": "300ms",
    "idle_session_timeout": "300ms",
    "transaction_timeout": "300ms",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "default_transaction_read_only": "on",
}

_WRITTEN = """
select format('%I.%I', n.nspname, c.relname)
  from pg_locks as held
  join pg_stat_activity as apply on apply.pid = held.pid
  join pg_class as c on c.oid = held.relation
  join pg_namespace as n on n.oid = c.relnamespace
 where held.mode = 'RowExclusiveLock' and held.granted and c.relkind = 'r' and n.nspname = 'app'
   and apply.datname = current_database() and apply.application_name like 'pgcopydb apply%'
 order by 1
"""
"""Tables to which the transaction of apply has written."""

_PASSED_OVER = re.compile(r" fdatasync\(\d+<[^>]*(/work|/cdc|\.db|\.new|\.new-journal)>\)")
"""Attempts of SQLite's own after which it goes on, and may.

A directory's is made once more here, by fsync; a file's own is one of many checkpoints, before
which its log is on disk; a file without a name yet is written and brought to disk after them.
"""

_WALSENDER = """
select active_pid from pg_replication_slots
 where database = current_database() and active_pid is not null
"""


@dataclass(frozen=True)
class _Reason:
    """Why a command may end by itself: with one of these statuses, and an error that says it."""

    statuses: frozenset[int]
    says: str


_REASONS: Mapping[str, _Reason] = {
    WORK_DISK_FULL: _Reason(frozenset({3}), "has no room for"),
    SYNC_FAILS: _Reason(frozenset({3}), "cannot be read or written|cannot be brought to disk"),
    TARGET_DISK_FULL: _Reason(frozenset({7}), "target: .*No space left on device"),
}

_REASONS_OF_A_START: Mapping[str, _Reason] = {
    NO_CONNECTION: _Reason(frozenset({7}), "target .*(too many clients|connection slots)"),
    SOURCE_LIMITS: _Reason(frozenset({6}), "source.*terminating connection"),
    TARGET_LIMITS: _Reason(frozenset({7}), "target.*terminating connection"),
}
"""Of a command that begins or is at its end; while it follows, it goes on by itself."""


@dataclass(frozen=True)
class Disks:
    """The small disks of a migration."""

    work: Path
    target: Path


@contextmanager
def on_small_disks(migration: Migration) -> Iterator[Disks]:
    """Put the work directory and the target's database on disks of their own."""
    with (
        mounted(migration.directory.with_name("disk"), megabytes=96) as work,
        database_on_disk(migration.pair.target, megabytes=400) as target,
    ):
        migration.directory = work / "work"
        yield Disks(work, target)


class OldTransaction(InBackground):
    """A transaction of the source that lasts for some seconds, prepared or not."""

    def __init__(self, source: Database, *, prepared: bool, seconds: float) -> None:
        super().__init__("old transaction")
        self._source = source
        self._prepared = prepared
        self._seconds = seconds

    def __enter__(self) -> Self:
        self._connection = self._source.connect()
        # It takes a number as a writer does, and leaves nothing.
        self._connection.execute("begin; select pg_logical_emit_message(true, 'app', 'old')")
        if self._prepared:
            self._connection.execute("prepare transaction 'old'")
        return super().__enter__()

    def work(self) -> None:
        """Wait, then end it."""
        with closing(self._connection):
            self.stopping.wait(self._seconds)
            self._connection.execute("commit prepared 'old'" if self._prepared else "commit")


class FollowTroubleRun(DisturbedFollow):
    """One migration with ``faults`` troubles in it, of the kinds in ``only``, if not of all."""

    in_part = LOADS_IN_PART

    def __init__(
        self,
        migration: Migration,
        disks: Disks,
        seed: int,
        *,
        faults: int,
        rows: int = 15_000,
        pause: float = 1.5,
        only: Collection[str] = (),
    ) -> None:
        resumed_by = [["clone", "--follow"], ["follow"]]
        super().__init__(migration, seed, faults=faults, pause=pause, resumed_by=resumed_by)
        # Whole segments are removed once they are applied: small ones leave room on a small disk.
        self.options += ["--max-replaydb-size", self.random.choice(["1MB", "4MB"])]
        if self.random.random() < 0.25:
            self.options += ["--apply-mode", "transaction"]
        source = migration.pair.source
        source.execute(LOAD_SCHEMA)
        source.execute(
            f"alter database {source.name} set wal_sender_timeout to '{_WAL_SENDER_TIMEOUT}s'"
        )
        self._disks = disks
        self._only = only
        self._draining = False
        self._suffered: list[_Reason] = []
        """What the command has suffered from since it was seen to be well."""
        self._large = LargeTransactions(source, self.random, rows=rows)

    def further_writers(self) -> AbstractContextManager[object]:
        """Return the writer of large transactions, and sometimes one that the slot waits for."""
        writers = ExitStack()
        if self.random.random() < 0.5:
            prepared, seconds = self.random.random() < 0.5, self.random.uniform(1, 6)
            source = self.migration.pair.source
            writers.enter_context(OldTransaction(source, prepared=prepared, seconds=seconds))
            self.tally.faults[OLD_TRANSACTION] += 1
            self.tally.survived += 1
        writers.enter_context(self._large)
        return writers

    def disturb(self) -> None:
        """Make trouble for a while, and see what came of it."""
        if self.recovery.is_over and self._works():
            self._suffered.clear()
        self.recovery.after(self._trouble())
        if self.goes_on(1.5):
            self.tally.survived += 1
            return
        self.gave_up()

    def gave_up(self) -> None:
        """See that a command which has ended by itself has told the truth, and resume it."""
        self._see_why()
        self._suffered.clear()
        self.resume(draining=self._draining)

    def drain(self) -> None:
        """Sometimes make more trouble on the way to the end."""
        self._large.stop()
        self.set_end()
        self._draining = True
        if self.random.random() < 0.5 and self.running.is_running:
            self._trouble()
        self.wait_for_end()

    def not_at_end(self) -> None:
        """See that a command which could not come to its end had reason to, and resume it."""
        self.gave_up()

    def _works(self) -> bool:
        """Tell whether both processes of the command are at work, which has begun."""
        return all(map(self.worker, ("receiving from", "applying from")))

    def _see_why(self) -> None:
        statuses = frozenset[int]().union(*(reason.statuses for reason in self._suffered))
        finished = self.ended(statuses)
        errors = [line for line in finished.stderr.splitlines() if "ERROR" in line]
        known = "|".join(reason.says for reason in self._suffered)
        assert any(re.search(known, line) for line in errors), finished.stderr

    # -- trouble -----------------------------------------------------------------------------------

    def _trouble(self) -> str:
        """Make one of many kinds of trouble, as soon as one can be made; return which."""
        made: list[str] = []

        def make() -> bool:
            kind = self._try_trouble()
            made.extend([kind] if kind else [])
            return kind is not None

        assert wait_for(make, seconds=60), "there is no trouble to be made"
        self.tally.faults[made[0]] += 1
        return made[0]

    def _try_trouble(self) -> str | None:
        """Make one kind of trouble and take it away; return which, None if none could be made."""
        pair, disks = self.migration.pair, self._disks
        ways: dict[str, Callable[[], bool]] = {
            WORK_DISK_FULL: lambda: self._fill(disks.work, free=0),
            WORK_DISK_NEARLY_FULL: lambda: self._fill(disks.work, free=6 * MB),
            SYNC_FAILS: self._let_a_sync_fail,
            TARGET_DISK_FULL: lambda: self._fill(disks.target, free=0),
            NO_CONNECTION: self._take_connections,
            TABLE_LOCKED: lambda: self._hold(TABLE_LOCKED),
            ROWS_LOCKED: lambda: self._hold(ROWS_LOCKED),
            SOURCE_LIMITS: lambda: self._limit(pair.source),
            TARGET_LIMITS: lambda: self._limit(pair.target),
            DEADLOCK: self._cross,
        }
        allowed = [kind for kind in ways if not self._only or kind in self._only]
        for kind in self.random.sample(allowed, len(allowed)):
            before = list(self._suffered)
            self._suffered += self._reasons(kind)
            if ways[kind]():
                return kind
            self._suffered = before
        return None

    def _reasons(self, kind: str) -> list[_Reason]:
        """Return why the command may end by this trouble."""
        reasons = dict(_REASONS)
        if self._draining or not self._works():
            reasons |= _REASONS_OF_A_START
        return [reasons[kind]] if kind in reasons else []

    def _fill(self, disk: Path, *, free: int) -> bool:
        """Keep a disk full, whatever is removed from it."""
        until = time.monotonic() + self.random.uniform(1, 6)
        insists = self.random.random() < 0.5
        while time.monotonic() < until:
            fill(disk, free=free)
            if insists and not self.running.is_running:
                insists = False
                until = time.monotonic() + 4
                self._insist()
            time.sleep(0.05)
        empty(disk)
        return True

    def _insist(self) -> None:
        """Repeat a command that has ended, while its trouble lasts."""
        if self.running.wait(1).status != 0:
            self._see_why()
            self.resume(draining=True)

    def _let_a_sync_fail(self) -> bool:
        """Let one process of the command fail to make something durable, once."""
        pid = self.worker(self.random.choice(["receiving from", "applying from"]))
        if pid is None:
            return False
        trace = self._disks.work.with_name(f"trace-{time.monotonic_ns()}")
        with failing_to_sync(pid, trace) as failed:
            wait_for(lambda: bool(failed()) or not self.running.is_running, seconds=5)
            calls = failed()
        trace.unlink(missing_ok=True)
        if not calls:
            return False
        if self.goes_on(STOP_SECONDS):
            passed_over = all(_PASSED_OVER.search(call) for call in calls)
            assert passed_over, f"it goes on after {calls}:\n{self.running.stderr}"
        return True

    def _take_connections(self) -> bool:
        """Take every connection that the target has, mostly that of apply too."""
        cluster = self.migration.pair.target.cluster
        until = time.monotonic() + self.random.uniform(1, 5)
        ends_sessions = self.random.random() < 0.7
        with ExitStack() as taken:
            first = taken.enter_context(closing(cluster.connect()))
            while time.monotonic() < until:
                try:
                    taken.enter_context(closing(cluster.connect()))
                except psycopg.OperationalError:
                    if ends_sessions:
                        _end_sessions(first, self.migration.pair.target)
                        ends_sessions = False
                    time.sleep(0.02)
        return True

    def _hold(self, kind: str) -> bool:
        """Hold locks for longer than the source waits for a sign of its receiver."""
        statement = self.random.choice(_LOCKS[kind])
        seconds = _WAL_SENDER_TIMEOUT + self.random.uniform(0.5, 4)
        with self.migration.pair.target.connect() as other:
            _lock(other, statement)
            before = self._walsender()
            self.goes_on(seconds)
            after = self._walsender()
            other.execute("commit")
        if before and self.running.is_running and not self._suffered and not self._draining:
            assert after == before, f"the source ended its walsender:\n{self.running.stderr}"
        return True

    def _walsender(self) -> int | None:
        rows = self.migration.pair.source.rows(_WALSENDER)
        return int(rows[0][0]) if rows else None

    def _limit(self, database: Database) -> bool:
        """Set limits and other defaults, and end the command's sessions, which get them then.

        On the target apply also has to wait for longer than they last.
        """
        whom = self.random.choice(["", "role current_user in "]) + f"database {database.name}"
        seconds = self.random.uniform(1, 4)
        target = self.migration.pair.target
        with database.cluster.connect() as administrator, target.connect() as other:
            known = [name for (name,) in administrator.execute("select name from pg_settings")]
            names = [name for name in _IMPATIENT if name in known]
            for name in names:
                value = _IMPATIENT[name]
                administrator.execute(f"alter {whom} set {name} to '{value}'".encode())
            try:
                _end_sessions(administrator, database)
                self.goes_on(seconds)
                _lock(other, "lock table app.ledger in share mode")
                self.goes_on(1)
                other.execute("commit")
            finally:
                for name in names:
                    administrator.execute(f"alter {whom} reset {name}".encode())
        return True

    def _cross(self) -> bool:
        """Lock what apply is about to write, then what it has written."""
        target = self.migration.pair.target
        told = self.running.stderr.count("deadlock detected")
        for table in self.random.sample(_TABLES, len(_TABLES)):
            with target.connect() as other:
                _lock(other, f"lock table app.{table} in share mode")
                if not wait_for(lambda: apply_waits_for_a_lock(target), seconds=2):
                    continue
                written = target.rows(_WRITTEN)
                if not written:
                    continue
                try:
                    other.execute(f"lock table {written[-1][0]} in share mode".encode())
                except psycopg.errors.DeadlockDetected:
                    return True
                other.execute("commit")
            if wait_for(lambda: self.running.stderr.count("deadlock detected") > told, seconds=2):
                return True
        return False


def _lock(other: Connection, statement: str) -> None:
    """Begin a transaction with a lock, again and again until no deadlock keeps it from that."""
    while True:
        try:
            other.execute("begin")
            other.execute(statement.encode())
        except psycopg.errors.DeadlockDetected:
            other.execute("rollback")
        else:
            return


def _end_sessions(administrator: Connection, database: Database) -> None:
    """End every session that the command has in a database."""
    administrator.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        f" where datname = '{database.name}' and application_name like 'pgcopydb%'"
    )
