"""A migration as a person runs it: the installed command, its work directory, both servers."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.clock import wait_for
from tests.support.commands import Finished, Pgcopydb, PgcopydbBackground, Running
from tests.support.ledger import Ledger
from tests.support.litter import assert_no_litter, assert_quiet, processes
from tests.support.oracles import PrefixReader, assert_migrated, assert_prefixes
from tests.support.servers import SourceTarget
from tests.support.workload import Workload

DRAIN_SECONDS = 60.0


@dataclass
class Migration:
    """One migration: its two databases, what the application was told, and the command."""

    pair: SourceTarget
    directory: Path
    command: Pgcopydb
    background: PgcopydbBackground
    plugin: str = "pgoutput"
    streaming: str = "off"
    specials: bool = True
    """Whether the writers may write numbers that are none, where the plugin tells of them."""
    ledger: Ledger = field(default_factory=Ledger)

    def receiving(self) -> list[str]:
        """Return the options by which changes are received.

        A source that streams transactions in progress does so as early as it can, from 64 kB on.
        """
        if self.streaming == "on":
            source = self.pair.source
            setting = "set logical_decoding_work_mem to '64kB'"
            source.execute(f"alter database {source.name} {setting}")
        return ["--plugin", self.plugin, "--streaming", self.streaming]

    def workload(self, *, enduring: bool = False) -> Workload:
        """Return the application's writers, to be put to work with ``with``."""
        # Of a number that is none, wal2json tells nothing (see values.SPECIALS).
        specials = self.specials and self.plugin != "wal2json"
        return Workload(self.pair.source, self.ledger, specials=specials, enduring=enduring)

    def arguments(self, *words: str) -> list[str]:
        """Return a command's words followed by the options that every command here has."""
        return [*words, "--dir", str(self.directory), *self.pair.options]

    def start(self, *words: str) -> AbstractContextManager[Running]:
        """Run a command beside the test."""
        return self.background(*self.arguments(*words))

    @contextmanager
    def hold_snapshot(self, *options: str) -> Iterator[Running]:
        """Run ``snapshot --follow`` beside the test, which goes on when the snapshot is there."""
        source = ["--source", self.pair.source.conninfo, "--dir", str(self.directory)]
        with self.background("snapshot", "--follow", *source, *options) as running:
            assert wait_for(lambda: running.stdout.endswith("\n")), running.stderr
            yield running

    def run(self, *words: str, status: int = 0, timeout: float = DRAIN_SECONDS) -> Finished:
        """Run a command to its end, and assert how it ended."""
        finished = self.command(*self.arguments(*words), timeout=timeout)
        assert finished.status == status, finished.stdout + finished.stderr
        return finished

    def sentinel(self, *words: str) -> str:
        """Run ``stream sentinel`` and return what it prints."""
        arguments = ["stream", "sentinel", *words, "--dir", str(self.directory)]
        if "--current" in words:
            arguments += ["--source", self.pair.source.conninfo]
        finished = self.command(*arguments)
        assert finished.status == 0, finished.stderr
        return finished.stdout.strip()

    @contextmanager
    def start_follow(self, workload: Workload, *options: str) -> Iterator[Running]:
        """Run ``clone --follow`` beside the test, which goes on when the base copy is there."""
        # A TRUNCATE between the slot's snapshot and the lock makes the copy refuse to begin.
        with ExitStack() as stack:
            with workload.not_truncating():
                running = stack.enter_context(self.start("clone", "--follow", *options))
                self.wait_until_applying(running)
            yield running

    def wait_until_applying(self, running: Running, *, seconds: float = 60) -> None:
        """Wait until the base copy is there and changes are being applied."""
        assert wait_for(lambda: not running.is_running or self._is_applying(), seconds=seconds), (
            running.stderr
        )
        assert running.is_running, running.stderr

    def _is_applying(self) -> bool:
        return bool(
            self.pair.target.rows(
                "select from pg_stat_activity"
                " where datname = current_database() and application_name like 'pgcopydb apply%'"
            )
        )

    @contextmanager
    def read_meanwhile(self, *, in_part: str = "") -> Iterator[None]:
        """Read the target while the block runs, and assert that all it showed was once true.

        ``in_part`` is a query that finds more of what must not be seen, see PrefixReader.
        """
        with PrefixReader(self.pair.target, in_part=in_part) as reader:
            yield
        assert_prefixes(reader, self.ledger)

    def drain(self, running: Running, workload: Workload) -> Finished:
        """Stop the writers, set the end, and wait until a follow has come to it."""
        workload.stop()
        self.sentinel("set", "endpos", "--current")
        finished = running.wait(DRAIN_SECONDS)
        assert finished.status == 0, finished.stderr
        assert_alone(running)
        return finished

    def clone_and_follow(self) -> None:
        """Migrate while the application writes and somebody reads the target, to the end."""
        with self.workload() as workload:
            workload.wait_for_transactions(5)
            with (
                self.start_follow(workload, "--plugin", self.plugin) as running,
                self.read_meanwhile(),
            ):
                workload.wait_for_transactions(30)
                self.drain(running, workload)

    def judge(self) -> None:
        """Assert that the target is what the source is, then clean up, and look for litter."""
        assert_quiet(self.pair)
        # wal2json does not tell of RESTART IDENTITY, and no sequence is ever moved backwards.
        exact = self.plugin != "wal2json"
        assert_migrated(self.pair, self.ledger, exact_sequences=exact)
        self.run("stream", "cleanup")
        assert_no_litter(self.pair)


def assert_alone(running: Running) -> None:
    """Assert that no process that a command started outlives it by more than a moment."""
    wait_for(lambda: not processes(running.pid), seconds=2)
    assert processes(running.pid) == {}
