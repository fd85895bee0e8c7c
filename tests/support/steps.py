"""The steps of a follow by the command's own ``stream`` commands, one at a time."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.clock import wait_for
from tests.support.commands import Finished, Pgcopydb, PgcopydbBackground, Running
from tests.support.equality import differing_tables
from tests.support.servers import Database, SourceTarget


@dataclass
class Stream:
    """A capture in a directory of its own, and the commands that work on it."""

    pair: SourceTarget
    directory: Path
    command: Pgcopydb
    background: PgcopydbBackground
    plugin: str = "pgoutput"

    def both(self, script: str) -> None:
        """Run a script on both databases."""
        for database in (self.pair.source, self.pair.target):
            database.execute(script)

    def set_up(self) -> Finished:
        """Make the slot and what belongs to it."""
        return self.run("stream", "setup", "--create-slot", "--plugin", self.plugin)

    def run(self, *words: str, status: int = 0, timeout: float = 120) -> Finished:
        """Run a command to its end, and assert how it ended."""
        finished = self.command(*words, *self._options(), timeout=timeout)
        assert finished.status == status, finished.stderr
        return finished

    def start(self, *words: str) -> AbstractContextManager[Running]:
        """Run a command beside the test."""
        return self.background(*words, *self._options())

    @contextmanager
    def migrating(self, *options: str, seconds: float = 90) -> Iterator[Running]:
        """Clone and follow; what the block does is done once the base copy is complete.

        Ends the follow at what the source has done then, and asserts that it ended well: copy and
        follow within so many ``seconds`` each.
        """
        words = ("clone", "--follow", "--plugin", self.plugin, *options)
        with self.start(*words) as running:
            said = "the base copy is complete"
            assert wait_for(
                lambda: said in running.stderr or not running.is_running, seconds=seconds
            ), running.stderr
            yield running
            self.set_endpos()
            finished = running.wait(seconds)
        assert finished.status == 0, finished.stderr

    def sentinel(self, *words: str) -> str:
        """Run ``stream sentinel`` and return what it prints."""
        arguments = ["stream", "sentinel", *words, "--dir", str(self.directory)]
        if "--current" in words:
            arguments += ["--source", self.pair.source.conninfo]
        finished = self.command(*arguments)
        assert finished.status == 0, finished.stderr
        return finished.stdout.strip()

    def set_endpos(self, lsn: str = "--current") -> str:
        """Set where the follow ends; return the position."""
        return self.sentinel("set", "endpos", lsn)

    def replay(self, *options: str) -> Finished:
        """Replay what the source did so far, and assert that the tables are equal then."""
        self.set_endpos()
        finished = self.run("stream", "replay", *options)
        self.assert_equal()
        return finished

    def assert_equal(self, but: Sequence[str] = ()) -> None:
        """Assert that both sides have the same rows, except for the tables named in ``but``."""
        found = differing_tables(self.pair.source, self.pair.target)
        assert [line for line in found if not line.startswith(tuple(but) or ("\0",))] == []

    def source_end(self) -> str:
        """Return the end of the source's log."""
        return str(self.pair.source.rows("select pg_current_wal_insert_lsn()::text")[0][0])

    def origin(self) -> str:
        """Return what the target's origin says is applied."""
        query = "select pg_replication_origin_progress('pgcopydb', true)::text"
        return str(self.pair.target.rows(query)[0][0])

    def count(self, table: str) -> int:
        """Return how many rows a table of the target has."""
        return int(self.pair.target.rows(f"select count(*) from {table}")[0][0])

    def _options(self) -> list[str]:
        return ["--dir", str(self.directory), *self.pair.options]


@pytest.fixture
def plugin() -> str:
    """The plugin of :func:`stream`, unless the test is parametrized with others."""
    return "pgoutput"


@pytest.fixture
def stream(
    source_target: SourceTarget,
    plugin: str,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
) -> Stream:
    """A work directory for the test's source and target."""
    return Stream(source_target, tmp_path / "work", pgcopydb_command, pgcopydb_background, plugin)


def apply_waits_for_a_lock(target: Database) -> bool:
    """Tell whether a session of apply waits for a lock."""
    query = (
        "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
        " and application_name like 'pgcopydb apply%'"
    )
    return bool(target.rows(query))
