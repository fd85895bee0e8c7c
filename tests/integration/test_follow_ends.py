"""Where a follow ends, and what it must not take for its end; resuming in odd moments."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from pgcopydb.lsn import parse_lsn
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.sentinel import update_sentinel
from tests.support.clock import wait_for
from tests.support.commands import Finished, Pgcopydb, PgcopydbBackground, Running
from tests.support.equality import differing_tables
from tests.support.servers import MakeDatabase, SourceTarget

pytestmark = pytest.mark.forked_commands

SCHEMA = """
create table item (id integer primary key, name text);
create table other (id integer primary key, name text);
"""

APPLYING = "select pid from pg_stat_activity where application_name like 'pgcopydb apply%'"


class Steps:
    """The steps of a follow, by the command's own ``stream`` commands."""

    def __init__(
        self,
        pair: SourceTarget,
        directory: Path,
        command: Pgcopydb,
        background: PgcopydbBackground,
    ) -> None:
        self.pair, self.directory = pair, directory
        self._command, self._background = command, background
        for database in (pair.source, pair.target):
            database.execute(SCHEMA)

    def run(self, *words: str, status: int = 0) -> Finished:
        options = self.pair.options if "--dir" in words else self._options()
        if "sentinel" in words:
            options = options[:2]
        return self.run_with(options, *words, status=status)

    def run_with(self, options: list[str], *words: str, status: int = 0) -> Finished:
        finished = self._command(*words, *options, timeout=60)
        assert finished.status == status, finished.stderr
        return finished

    def start(self, *words: str) -> AbstractContextManager[Running]:
        return self._background(*words, *self._options())

    def set_endpos(self, lsn: str = "--current") -> None:
        words = ["stream", "sentinel", "set", "endpos", lsn, "--dir", str(self.directory)]
        if lsn == "--current":
            words += ["--source", self.pair.source.conninfo]
        finished = self._command(*words)
        assert finished.status == 0, finished.stderr

    def sentinel(self, *words: str) -> str:
        finished = self._command("stream", "sentinel", *words, "--dir", str(self.directory))
        assert finished.status == 0, finished.stderr
        return finished.stdout.strip()

    def _options(self) -> list[str]:
        return ["--dir", str(self.directory), *self.pair.options]

    def count(self, table: str = "item") -> int:
        return int(self.pair.target.rows(f"select count(*) from {table}")[0][0])

    def has(self, rows: int) -> bool:
        return self.count() == rows

    def applying(self) -> list[int]:
        """Return the target's sessions in which changes are applied."""
        return [pid for (pid,) in self.pair.target.rows(APPLYING)]

    def applies_in_another(self, session: int) -> bool:
        return self.applying() not in ([], [session])

    def assert_equal(self) -> None:
        assert differing_tables(self.pair.source, self.pair.target) == []

    def slices(self, *, final: bool) -> int:
        """Return how many slices of large transactions are stored, the last ones or the others."""
        found = 0
        for path in (self.directory / "cdc").glob("*.db"):
            with closing(sqlite3.connect(path)) as segment:
                query = "select count(*) from chunk where slice is not null and final = ?"
                with suppress(sqlite3.OperationalError):
                    found += segment.execute(query, (final,)).fetchone()[0]
        return found


@pytest.fixture
def steps(
    source_target: SourceTarget,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
) -> Steps:
    return Steps(source_target, tmp_path / "work", pgcopydb_command, pgcopydb_background)


@contextmanager
def open_transaction(steps: Steps, *statements: str) -> Iterator[Callable[[], None]]:
    """Begin a transaction on the source; gives the function that commits it."""
    with steps.pair.source.connect() as connection:
        connection.execute("begin")
        for statement in statements:
            connection.execute(statement.encode())

        def commit() -> None:
            connection.execute("commit")

        yield commit


LARGE = (
    "insert into item select g, repeat(md5(g::text), 30) from generate_series(1, 3000) g",
    "insert into other select g, 'few' from generate_series(1, 5) g",
    "insert into item select g, repeat(md5(g::text), 30) from generate_series(3001, 6000) g",
    "insert into other select g, 'few' from generate_series(6, 10) g",
)
"""Statements of a transaction of some slices, with rows that are written one by one."""

MORE = ("insert into item select g, repeat('x', 900) from generate_series(10000, 80000) g",)
"""With them receiving it takes long enough to be interrupted."""


@pytest.mark.parametrize("mode", ["batch", "transaction"])
def test_a_last_change_that_fills_a_chunk_is_committed(steps: Steps, mode: str) -> None:
    """Its final slice holds the COMMIT and nothing else, and no other transaction follows.

    There are as many rows as are written at once, so that the COMMIT comes alone to apply too.
    """
    steps.run("stream", "setup", "--create-slot")
    steps.pair.source.execute(
        "begin; insert into item select g, 'small' from generate_series(1, 20000) g;"
        "insert into item values (0, repeat('x', 2 << 20)); commit"
    )
    steps.set_endpos(steps.pair.source.rows("select pg_current_wal_flush_lsn()::text")[0][0])
    steps.run("stream", "prefetch")
    steps.run("stream", "catchup", "--apply-mode", mode)
    steps.assert_equal()


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "cut off"])
@pytest.mark.parametrize("mode", ["batch", "transaction"])
def test_endpos_before_a_large_transaction_leaves_it_out(
    steps: Steps, mode: str, whole: bool
) -> None:
    """Its slices are stored, with or without the last one, and none of them may stay."""
    steps.run("stream", "setup", "--create-slot")
    with open_transaction(steps, *LARGE, *(() if whole else MORE)) as commit:
        steps.pair.source.execute("insert into other values (100, 'before')")
        inside = steps.pair.source.rows("select pg_current_wal_flush_lsn()::text")[0][0]
        commit()
    with steps.start("stream", "prefetch") as running:
        assert wait_for(lambda: steps.slices(final=whole) > 0, seconds=30), running.stderr
        running.kill_all()
        running.wait(5)
    steps.set_endpos(inside)
    steps.run("stream", "catchup", "--apply-mode", mode)
    assert (steps.count(), steps.count("other")) == (0, 1)
    steps.run("stream", "catchup", "--apply-mode", mode)  # equal to what is applied: no work
    steps.set_endpos()
    steps.run("stream", "replay", "--apply-mode", mode)
    steps.assert_equal()


@pytest.mark.parametrize(("mode", "more"), [("batch", 40_000), ("transaction", 0)])
def test_a_running_apply_pauses_and_goes_on(steps: Steps, mode: str, more: int) -> None:
    """In a batch also within a transaction, of which nothing is lost; receiving goes on."""
    steps.run("stream", "setup", "--create-slot")

    def times(text: str, count: int) -> bool:
        return running.stderr.count(text) == count or not running.is_running

    with steps.start("stream", "replay", "--apply-mode", mode) as running:
        steps.pair.source.execute("insert into other values (0, 'first')")
        assert wait_for(lambda: steps.count("other") == 1, seconds=60), running.stderr
        steps.sentinel("set", "prefetch")
        assert wait_for(lambda: times("paused at", 1), seconds=60), running.stderr
        steps.pair.source.execute("insert into other values (-1, 'while paused')")
        rows = (
            "insert into item select g, repeat('x', 200)"
            f" from generate_series(7001, {7000 + more}) g"
        )
        with open_transaction(steps, *LARGE, rows) as commit:
            commit()
        end = steps.pair.source.rows("select pg_current_wal_flush_lsn()::text")[0][0]
        assert wait_for(lambda: stored(steps, end), seconds=60), running.stderr
        assert (steps.count(), steps.count("other")) == (0, 1)
        with steps.pair.target.connect() as holder, holder.transaction():
            holder.execute("lock table item in share mode")
            steps.sentinel("set", "apply")
            blocked = "select from pg_locks where not granted"
            assert wait_for(lambda: bool(steps.pair.target.rows(blocked)), seconds=60), (
                running.stderr
            )
            steps.sentinel("set", "prefetch")
        assert wait_for(lambda: times("paused at", 2), seconds=60), running.stderr
        assert steps.count() == (0 if more else 6000)
        steps.set_endpos()
        steps.sentinel("set", "apply")
        finished = running.wait(30)
    assert finished.status == 0, finished.stderr
    assert finished.stderr.count("applying again") == 2
    steps.assert_equal()


def stored(steps: Steps, lsn: str) -> bool:
    return parse_lsn(steps.sentinel("get", "--flush-lsn")) >= parse_lsn(lsn)


@pytest.mark.parametrize("mode", ["batch", "transaction"])
def test_a_large_transaction_is_applied_while_it_comes(steps: Steps, mode: str) -> None:
    steps.run("stream", "setup", "--create-slot")
    with steps.start("stream", "replay", "--apply-mode", mode) as running:
        for _ in range(3):
            with open_transaction(steps, "delete from item", "delete from other", *LARGE) as commit:
                commit()
            assert wait_for(lambda: steps.count() == 6000 or not running.is_running, seconds=30)
        steps.set_endpos()
        finished = running.wait(30)
    assert finished.status == 0, finished.stderr
    steps.assert_equal()


def test_apply_goes_on_when_its_session_is_ended_while_it_waits(steps: Steps) -> None:
    """It begins to read in the middle of a receive session, at a chunk that is still to come."""
    steps.run("stream", "setup", "--create-slot")
    with steps.start("stream", "replay") as running:
        for number in range(3):
            steps.pair.source.execute(f"insert into item values ({number}, 'x')")
            assert wait_for(partial(steps.has, number + 1), seconds=20), running.stderr
            (session,) = steps.applying()
            steps.pair.target.execute(f"select pg_terminate_backend({session})")
            assert wait_for(partial(steps.applies_in_another, session), seconds=20), running.stderr
        steps.pair.source.execute("update item set name = 'y'")
        steps.set_endpos()
        finished = running.wait(30)
    assert finished.status == 0, finished.stderr
    steps.assert_equal()


def test_stored_changes_that_are_lost_are_no_proof(steps: Steps) -> None:
    steps.run("stream", "setup", "--create-slot")
    steps.pair.source.execute("insert into item values (1, 'x')")
    steps.set_endpos()
    steps.run("stream", "prefetch")
    for path in (steps.directory / "cdc").iterdir():
        path.unlink()
    assert "gone" in steps.run("stream", "catchup", status=3).stderr
    assert "changes are missing" in steps.run("stream", "replay", status=3).stderr
    assert steps.count() == 0


def test_an_origin_that_somebody_moved_to_another_commit_is_refused(steps: Steps) -> None:
    """Where a transaction ends that is stored: nothing of the stored changes tells."""
    steps.run("stream", "setup", "--create-slot")
    ends = []
    for number in range(3):
        steps.pair.source.execute(f"insert into item values ({number}, 'x')")
        ends.append(steps.pair.source.rows("select pg_current_wal_insert_lsn()")[0][0])
    steps.set_endpos(ends[0])
    steps.run("stream", "replay")
    (applied,) = steps.pair.target.rows(_ORIGIN)
    steps.set_endpos()
    steps.run("stream", "prefetch")
    for moved_to in (ends[1], ends[2]):
        steps.pair.target.execute(_MOVE_ORIGIN.format(moved_to))
        refused = steps.run("stream", "catchup", status=3)
        assert "something else moved it" in refused.stderr
        assert steps.count() == 1
    steps.pair.target.execute(_MOVE_ORIGIN.format(*applied))  # as the error says
    steps.run("stream", "catchup")
    steps.assert_equal()


_ORIGIN = "select pg_replication_origin_progress('pgcopydb', true)"
_MOVE_ORIGIN = "select pg_replication_origin_advance('pgcopydb', '{}')"


def test_a_slot_in_use_by_another_run_is_left_alone(
    steps: Steps, tmp_path: Path, pgcopydb_command: Pgcopydb
) -> None:
    """Two work directories about one slot: the second is refused, the first one unharmed."""
    steps.run("stream", "setup", "--create-slot")
    other = ["--dir", str(tmp_path / "other"), *steps.pair.options]
    with steps.start("stream", "replay") as running:
        steps.pair.source.execute("insert into item values (1, 'x')")
        assert wait_for(partial(steps.has, 1)), running.stderr
        refused = pgcopydb_command("stream", "receive", *other, timeout=30)
        assert refused.status == 3, refused.stderr
        assert "is in use" in refused.stderr
        steps.set_endpos()
        finished = running.wait(30)
    assert finished.status == 0, finished.stderr
    assert "connecting again" not in finished.stderr


def test_a_restart_that_is_refused_loses_no_changes(steps: Steps) -> None:
    """The slot was told that they are stored, so that they are nowhere else."""
    steps.run("stream", "setup", "--create-slot")
    steps.pair.source.execute("insert into item values (1, 'stored')")
    steps.set_endpos()
    steps.run("stream", "prefetch")
    # both sides have the tables: a copy into this target is refused
    assert "not empty" in steps.run("clone", "--restart", status=7).stderr
    assert "--restart" in steps.run("follow", "--restart", status=3).stderr
    steps.run("stream", "catchup")
    steps.assert_equal()
    steps.run("stream", "setup", "--create-slot", "--restart")
    (slots,) = steps.pair.source.rows("select count(*) from pg_replication_slots")
    assert slots == (1,)


def test_where_nothing_came_nothing_is_missed(steps: Steps) -> None:
    """That changes are gone is no thing to tell somebody who has lost none."""
    steps.run("stream", "setup", "--create-slot")
    steps.set_endpos(steps.sentinel("get", "--startpos"))
    steps.run("stream", "prefetch")
    assert "WARNING" not in steps.run("stream", "prefetch").stderr
    assert steps.sentinel("get", "--flush-lsn") == steps.sentinel("get", "--startpos")


def test_an_end_before_the_start_is_refused_before_anything_is_copied(steps: Steps) -> None:
    before = steps.pair.source.rows("select pg_current_wal_flush_lsn()::text")[0][0]
    steps.pair.source.execute("insert into item values (1, 'later')")
    words = ["clone", "--follow", "--drop-if-exists", "--endpos", before]
    refused = steps.run(*words, status=3).stderr
    assert "is in the past" in refused
    assert "copying" not in refused
    assert steps.pair.source.rows("select slot_name from pg_replication_slots") == []


def test_an_end_in_the_past_is_refused_and_forgotten(steps: Steps) -> None:
    """It was written down before it was refused, and the next command took it from there."""
    steps.run("stream", "setup", "--create-slot")
    start = steps.sentinel("get", "--startpos")
    steps.run("stream", "sentinel", "set", "endpos", "0/1", status=3)
    assert steps.sentinel("get", "--endpos") == "0/0"
    for command in ("catchup", "prefetch", "replay", "apply"):
        options = steps.pair.options[2:] if command == "apply" else steps.pair.options
        words = ["stream", command, "--endpos", "0/1", "--dir", str(steps.directory)]
        refused = steps.run_with(options, *words, status=3).stderr
        assert f"endpos 0/1 is in the past: the capture begins at {start}" in refused
        assert steps.sentinel("get", "--endpos") == "0/0"
    steps.pair.source.execute("insert into item values (1, 'one')")
    steps.set_endpos()
    end = steps.sentinel("get", "--endpos")
    steps.run("stream", "replay")
    refused = steps.run("stream", "catchup", "--endpos", start, status=3).stderr
    assert "is in the past: the target has already applied up to" in refused
    assert steps.sentinel("get", "--endpos") == end
    steps.run("stream", "catchup")


def test_an_end_that_only_the_target_knows_to_be_past_is_forgotten_too(steps: Steps) -> None:
    """A run that is killed has written down less than it has applied."""
    steps.run("stream", "setup", "--create-slot")
    steps.pair.source.execute("insert into item values (1, 'one')")
    steps.set_endpos()
    steps.run("stream", "replay")
    work = WorkDirectory(path=steps.directory)
    with work.store() as store:
        update_sentinel(store, transform_lsn=0)
    start = steps.sentinel("get", "--startpos")
    refused = steps.run("stream", "catchup", "--endpos", start, status=3).stderr
    assert "is in the past: the target has already applied up to" in refused
    assert steps.sentinel("get", "--endpos") == "0/0"


def test_a_cleanup_leaves_nothing_also_on_one_side_alone(steps: Steps) -> None:
    steps.run("stream", "setup", "--create-slot")
    steps.set_endpos()
    gone = ["--source", "host=127.0.0.1 port=1 dbname=gone", *steps.pair.options[2:]]
    words = ["stream", "cleanup", "--dir", str(steps.directory)]
    assert "the target is cleaned up" in steps.run_with(gone, *words, status=6).stderr
    assert steps.pair.target.rows("select roname from pg_replication_origin") == []
    assert "removed" in steps.run("stream", "cleanup").stderr
    assert steps.pair.source.rows("select slot_name from pg_replication_slots") == []
    assert "nothing was left" in steps.run("stream", "cleanup").stderr
    for command in ("prefetch", "catchup", "replay"):
        assert "was cleaned up" in steps.run("stream", command, status=3).stderr


def test_changes_of_a_slot_of_somebody_else_are_received_once(steps: Steps) -> None:
    """They are confirmed then: neither another directory nor a new start gets them any more."""
    source = steps.pair.source
    source.execute("create publication theirs for table item, other")
    source.execute("select pg_create_logical_replication_slot('theirs', 'pgoutput')")
    source.execute("insert into item values (1, 'stored')")
    before = source.rows("select pg_current_wal_flush_lsn()::text")[0][0]
    source.execute("insert into item values (2, 'stored')")
    end = source.rows("select pg_current_wal_flush_lsn()::text")[0][0]
    words = ["stream", "receive", "--slot-name", "theirs", "--publication", "theirs", "--endpos"]
    steps.run(*words, end)
    assert "nowhere else" in steps.run(*words, end, "--restart", status=3).stderr
    elsewhere = [*words, before, "--dir", str(steps.directory.with_name("other"))]
    assert "beyond endpos" in steps.run(*elsewhere, status=3).stderr
    steps.run("stream", "apply")
    steps.assert_equal()


def test_the_text_pipeline_goes_on_where_a_follow_ended_over_an_idle_log(
    steps: Steps, make_database: MakeDatabase
) -> None:
    """The slot is beyond the target's origin then, and what is between was seen to be nothing."""
    source = steps.pair.source
    elsewhere = make_database(source.cluster)
    steps.run("stream", "setup", "--create-slot")
    source.execute("insert into item values (1, 'followed')")
    elsewhere.execute("create table unrelated as select generate_series(1, 1000)")
    steps.set_endpos(source.rows("select pg_current_wal_flush_lsn()::text")[0][0])
    steps.run("stream", "replay")
    source.execute("insert into item values (2, 'as text')")
    end = source.rows("select pg_current_wal_flush_lsn()::text")[0][0]
    printed = steps.run("stream", "receive", "--to-stdout", "--endpos", end)
    assert "as text" in printed.stdout
    assert "followed" not in printed.stdout


def test_changes_do_not_go_on_from_a_copy_that_was_not_made(steps: Steps) -> None:
    """They would be applied to empty tables, and the end be reached without the rows before."""
    steps.pair.source.execute("insert into item values (1, 'before')")
    with steps.start("snapshot", "--follow") as snapshot:
        assert wait_for(lambda: bool(snapshot.stdout.strip()), seconds=30), snapshot.stderr
        steps.pair.source.execute("insert into item values (2, 'after')")
        steps.set_endpos()
        steps.run("stream", "prefetch")
        for words in (("catchup",), ("replay",), ("apply",)):
            assert "not complete" in steps.run("stream", *words, status=3).stderr
        assert steps.count() == 0
        steps.run("copy", "table-data")
        steps.run("stream", "catchup", status=3)  # nobody but its owner knows that this was all
    steps.run("stream", "sentinel", "set", "apply")
    steps.run("stream", "catchup")
    steps.assert_equal()
