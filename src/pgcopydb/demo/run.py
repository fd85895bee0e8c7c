"""The demonstration: a whole online migration on servers of its own, from nothing to the proof.

The steps are those of a real one: a database in use, ``clone --follow``, waiting until the target
is close behind, stopping the application, ``stream sentinel set endpos --current``, the end of the
follow, and the application goes on at the target.
"""

import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import psycopg
from msgspec import Struct

from pgcopydb.demo.cluster import Cluster
from pgcopydb.demo.embedded import Installation, embedded_installation
from pgcopydb.demo.lag import LagProbe
from pgcopydb.demo.ledger import read_ledger
from pgcopydb.demo.migration import Migration, Progress
from pgcopydb.demo.report import Report
from pgcopydb.demo.screen import Screen, seconds, size
from pgcopydb.demo.verify import Check, check_cleaned, check_ledger, check_sequences, check_tables
from pgcopydb.demo.workload import Application, Workload
from pgcopydb.errors import DifferencesFound, PgcopydbError, WorkerError
from pgcopydb.lsn import parse_lsn
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.workdir.sentinel import Sentinel

SOURCE_MAJOR: Final = 16
TARGET_MAJOR: Final = 18

_DATABASE: Final = "shop"
_WARM_UP: Final = 1.0
"""Seconds of writing before the migration begins."""
_LOOK_EVERY: Final = 0.2
_COPY_SECONDS: Final = 600.0
_CATCH_UP_SECONDS: Final = 60.0
_DRAIN_SECONDS: Final = 120.0
_CLOSE: Final = 0.5
"""Seconds behind at which the target counts as caught up."""
_FIRST_ORDERS: Final = 50
"""Transactions that the application makes on the target at the end."""


class DemoOptions(Struct, frozen=True, kw_only=True):
    """How large the demonstration is; ``scale`` is pgbench's, about 17 MB each."""

    scale: int = 20
    follow_seconds: float = 12.0
    rate: int = 200
    """Transactions a second that the application makes."""
    keep: bool = False
    """Whether the servers stay, at the end, until Enter is pressed."""


def demo(options: DemoOptions) -> Report:
    """Show a whole online migration, and return what was found.

    Raises DifferencesFound when a check fails, ConfigurationError without the demo extra, and
    whatever a step fails with. Servers, processes and files are gone when this returns or raises.
    """
    with _ending_in_order(), Screen() as screen:
        return _Demonstration(options, screen).run()


class _Demonstration:
    """One run: its servers, its figures and its screen."""

    def __init__(self, options: DemoOptions, screen: Screen) -> None:
        self._options = options
        self._screen = screen
        self._report = Report()
        self._applied = _Rate()

    def run(self) -> Report:
        """Go through all steps."""
        installation = embedded_installation(SOURCE_MAJOR)
        with ExitStack() as stack:
            self._screen.step("starting two PostgreSQL servers")
            directory = Path(stack.enter_context(_private_directory()))
            source = _server(stack, installation)
            target = _server(stack, embedded_installation(TARGET_MAJOR))
            self._application = Application(installation.bindir, self._options.scale, directory)
            self._directory = directory
            self._source = Endpoint(Side.SOURCE, source.create_database(_DATABASE))
            self._target = Endpoint(Side.TARGET, target.create_database(_DATABASE))
            self._introduce()
            self._migrate()
            self._prove()
            self._keep()
        return self._report

    def _introduce(self) -> None:
        """Fill the source, and note what there is."""
        report = self._report
        report.source_version = _text(self._source, "show server_version")
        report.target_version = _text(self._target, "show server_version")
        self._screen.done(
            f"PostgreSQL {report.source_version} as source, {report.target_version} as target"
        )
        self._screen.step("filling the source")
        self._application.fill(self._source.conninfo)
        report.database_bytes = int(
            _text(self._source, "select pg_database_size(current_database())")
        )
        self._screen.done(f"the source has {size(report.database_bytes)}")

    def _migrate(self) -> None:
        """Migrate while clients write, up to the moment when the target is ready."""
        workload = Workload(
            self._application, self._source.conninfo, self._directory, self._options.rate
        )
        migration = Migration(self._source.conninfo, self._target.conninfo, self._directory)
        self._workload, self._migration = workload, migration
        with workload:
            self._screen.step("clients are writing")
            time.sleep(_WARM_UP)
            workload.check()
            self._screen.done(
                f"clients write {self._options.rate} transactions a second, and a ledger beside"
            )
            with self._last_words_on_failure(), migration:
                self._copy()
                self._follow()

    def _copy(self) -> None:
        """Watch the base copy to its end."""
        started = time.monotonic()
        self._screen.step("pgcopydb clone --follow: the base copy")
        for progress in self._watch(_COPY_SECONDS):
            if progress.copied:
                break
            self._show_copy(progress)
        else:
            raise WorkerError(f"the base copy was not complete within {_COPY_SECONDS:.0f} s")
        self._report.copy_seconds = time.monotonic() - started
        self._report.copied_rows = progress.copy.rows if progress.copy else 0
        self._screen.done(
            f"base copy in {seconds(self._report.copy_seconds)}, {self._report.copied_rows:,} rows"
        )

    def _show_copy(self, progress: Progress) -> None:
        if progress.copy is None or not progress.copy.weight:
            self._screen.now("preparing")
            return
        copy = progress.copy
        facts = [f"{copy.rows:,} rows", f"{size(copy.weight_done)} of {size(copy.weight)} copied"]
        if copy.finished:
            facts.append("building indexes and constraints")
        if progress.sentinel is not None:
            stored = progress.sentinel.received_lsn - progress.sentinel.startpos
            facts.append(f"changes of {size(stored)} WAL stored meanwhile")
        self._screen.now(*facts, share=copy.weight_done / copy.weight)

    def _follow(self) -> None:
        """Watch the target catch up and stay close, then cut over."""
        writer = self._workload.writers[0]
        with LagProbe(self._target.conninfo, writer.writer, writer.acknowledgements) as probe:
            started = time.monotonic()
            self._applied = _Rate()
            self._screen.step("catching up with what was written meanwhile")
            caught_up = self._catch_up(probe)
            if caught_up is not None:
                self._report.catch_up_seconds = caught_up - started
                self._screen.done(f"caught up in {seconds(caught_up - started)}")
            close_since = caught_up or time.monotonic()
            self._screen.step("following closely")
            for _ in self._watch(self._options.follow_seconds, probe):
                pass
            self._workload.check()
            self._screen.done(f"followed for {seconds(time.monotonic() - close_since)}")
            self._cut_over()
            self._report.delays = probe.delays(close_since)

    def _catch_up(self, probe: LagProbe) -> float | None:
        """Return when the target had caught up, None when it did not in time."""
        first = True
        for progress in self._watch(_CATCH_UP_SECONDS, probe):
            behind = probe.behind()
            if behind is None:
                continue
            if first:
                self._report.behind_at_copy_seconds = behind
                self._report.behind_at_copy_bytes = self._bytes_behind(progress)
                first = False
            if behind < _CLOSE:
                return time.monotonic()
        return None

    def _watch(self, limit: float, probe: LagProbe | None = None) -> Iterator[Progress]:
        """Yield the migration's progress every moment, for ``limit`` seconds at most.

        With a ``probe`` shows how it follows. Raises when the migration or a client has ended.
        """
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if not self._migration.is_running():
                raise WorkerError("pgcopydb clone --follow ended before it was told to")
            self._workload.check()
            progress = self._migration.progress()
            if probe is not None and progress.sentinel is not None:
                self._show_follow(progress, progress.sentinel, probe.behind())
            yield progress
            time.sleep(_LOOK_EVERY)

    def _show_follow(self, progress: Progress, sentinel: Sentinel, behind: float | None) -> None:
        self._applied.note(sentinel.transactions)
        self._screen.now(
            f"{size(self._bytes_behind(progress))} and {seconds(behind or 0.0)} behind",
            f"{sentinel.transactions:,} transactions applied, {self._applied.rate:.0f}/s",
        )

    def _bytes_behind(self, progress: Progress) -> int:
        """Return how much WAL the source has written past what the target has applied."""
        assert progress.sentinel is not None
        applied = max(progress.sentinel.transform_lsn, progress.sentinel.startpos)
        return max(0, parse_lsn(_text(self._source, "select pg_current_wal_lsn()")) - applied)

    def _cut_over(self) -> None:
        """Stop the clients, let the migration end, and note how long they had to stand still."""
        self._screen.step("cut-over: stopping the clients")
        started = time.monotonic()
        self._workload.stop()
        end = self._migration.set_end()
        self._screen.step(f"cut-over: applying everything up to {end}")
        self._migration.wait(_DRAIN_SECONDS)
        self._report.stopped_seconds = time.monotonic() - started
        sentinel = self._migration.progress().sentinel
        assert sentinel is not None
        self._report.applied_transactions = sentinel.transactions
        self._report.applied_changes = sentinel.changes
        self._screen.done(
            f"cut over: clients stood still for {seconds(self._report.stopped_seconds)}"
        )

    def _prove(self) -> None:
        """Look whether everything is right, and report."""
        source, target = self._source, self._target
        expected = read_ledger((writer.writer, writer.path) for writer in self._workload.writers)
        self._check("reading the ledger", lambda: check_ledger(target, expected))
        self._check("comparing all tables", lambda: check_tables(source, target))
        self._check("comparing sequences", lambda: check_sequences(source, target))
        self._migration.clean_up()
        self._check("looking for leftovers", lambda: check_cleaned(source, target))
        self._check("going on at the target", self._go_on)
        self._report.total_seconds = self._screen.elapsed
        self._screen.report(["", *self._report.lines()])
        if self._report.failed:
            check = self._report.failed[0]
            raise DifferencesFound(f"it is not so that {check.claim}: {check.detail}")

    def _check(self, doing: str, look: Callable[[], Check]) -> None:
        self._screen.step(doing)
        check = look()
        self._report.checks.append(check)
        tell = self._screen.done if check.passed else self._screen.problem
        tell(f"{check.claim} ({check.detail})")

    def _go_on(self) -> Check:
        """Let the application write to the target, which shows that its sequences are right."""
        claim = "the application goes on at the target"
        try:
            self._application.transact(self._target.conninfo, _FIRST_ORDERS)
        except PgcopydbError as error:
            return Check(claim, error.message, passed=False)
        return Check(claim, f"{_FIRST_ORDERS} transactions", passed=True)

    def _keep(self) -> None:
        """Let a person look around on both servers."""
        if not self._options.keep:
            return
        self._screen.report(
            ["", *(f"{side.side}: {side.conninfo}" for side in (self._source, self._target))]
        )
        self._screen.wait_for_enter("press Enter to stop and remove both servers")

    @contextmanager
    def _last_words_on_failure(self) -> Iterator[None]:
        """Show the end of the migration's log when something goes wrong."""
        try:
            yield
        except PgcopydbError:
            self._screen.report(f"  | {line}" for line in self._migration.last_words())
            raise


class _Rate:
    """How fast a counter grows, over the last second or so."""

    def __init__(self) -> None:
        self.rate = 0.0
        self._time = time.monotonic()
        self._count = 0

    def note(self, count: int) -> None:
        """Take a new reading into account."""
        passed = time.monotonic() - self._time
        if passed >= 1.0:
            self.rate = (count - self._count) / passed
            self._time, self._count = time.monotonic(), count


def _server(stack: ExitStack, installation: Installation) -> Cluster:
    return stack.enter_context(Cluster(installation.bindir, durable=True))


def _private_directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="pgcopydb-demo-")


def _text(endpoint: Endpoint, query: str) -> str:
    """Return the one value that a query gives, as text."""
    with closing(psycopg.connect(endpoint.conninfo, autocommit=True)) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the demonstration as Ctrl-C does, with everything removed."""
    previous = {number: signal.signal(number, _exit) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _exit(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not end the tidying up
    raise SystemExit(128 + number)
