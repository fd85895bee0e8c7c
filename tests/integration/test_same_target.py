"""Two runs with work directories of their own that copy into one database."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pgcopydb.clone import run
from pgcopydb.errors import TargetError
from tests.integration.test_clone import run_clone
from tests.support.clock import wait_for
from tests.support.commands import Finished, Pgcopydb, PgcopydbBackground, Running
from tests.support.equality import differences, differing_tables
from tests.support.litter import assert_quiet, litter
from tests.support.servers import Database, SourceTarget

# Without keys, nothing on the target would keep rows from being there twice.
SCHEMA = """
create table t (id integer, pad text); insert into t select g, 'x' from generate_series(1, 5000) g;
create table u (id integer); insert into u select generate_series(1, 5000);
create function f() returns integer language sql as 'select 1';
"""
EMPTY = "create table t (id integer, pad text); create table u (id integer)"
ALONE = "another run copies into this database"
HOLDING = (
    "select application_name from pg_stat_activity join pg_locks using (pid)"
    " where application_name ~ 'copy [0-9a-f]+$' and locktype = 'advisory' and granted"
)

pytestmark = pytest.mark.parametrize("source_target", [(16, 18, SCHEMA)], indirect=True)


@contextmanager
def standing_still(running: Running, target: Database) -> Iterator[str]:
    """Let a copy that has begun stand still in the block; give the name of its session."""
    assert wait_for(lambda: target.rows(HOLDING) != [], seconds=60), running.stderr
    running.send_signal(signal.SIGSTOP)
    try:
        ((name,),) = target.rows(HOLDING)
        yield name
    finally:
        running.send_signal(signal.SIGCONT)


def words(pair: SourceTarget, directory: Path, command: str) -> list[str]:
    return [*command.split(), "--dir", str(directory), *pair.options]


@pytest.mark.parametrize("command", ["clone", "clone --drop-if-exists", "copy table-data"])
def test_the_second_is_refused_while_the_first_copies(
    source_target: SourceTarget,
    command: str,
    pgcopydb_background: PgcopydbBackground,
    pgcopydb_command: Pgcopydb,
    tmp_path: Path,
) -> None:
    """Neither has made a table yet, or the tables are there and empty."""
    source, target = source_target.source, source_target.target
    if command.startswith("copy"):
        target.execute(EMPTY)
    with pgcopydb_background(*words(source_target, tmp_path / "one", command)) as running:
        with standing_still(running, target):
            second = pgcopydb_command(*words(source_target, tmp_path / "two", command))
        assert second.status == 7, second.stderr
        assert ALONE in second.stderr
        ended = running.wait(60)
    assert ended.status == 0, ended.stderr
    if command.startswith("clone"):
        assert differences(source, target) == []
    assert target.rows("select count(*) from t union all select count(*) from u") == [(5000,)] * 2
    assert litter(target) == []
    assert_quiet(source_target)


@pytest.mark.parametrize(
    ("command", "later"),
    [("clone", 0), ("clone", 0.4), ("clone", 1.2), ("copy table-data", 0)],
)
def test_two_that_are_started_together_end_in_one_copy(
    source_target: SourceTarget,
    command: str,
    later: float,
    pgcopydb_background: PgcopydbBackground,
    tmp_path: Path,
) -> None:
    source, target = source_target.source, source_target.target
    if command.startswith("copy"):
        target.execute(EMPTY)
    with pgcopydb_background(*words(source_target, tmp_path / "one", command)) as one:
        wait_for(lambda: not one.is_running, seconds=later)
        with pgcopydb_background(*words(source_target, tmp_path / "two", command)) as two:
            ended = [one.wait(60), two.wait(60)]
    by_status: dict[int, Finished] = {finished.status: finished for finished in ended}
    assert set(by_status) == {0, 7}, [finished.stderr for finished in ended]
    refused = by_status[7].stderr
    assert any(text in refused for text in (ALONE, "is not empty", "have rows already")), refused
    assert differing_tables(source, target) == []
    assert litter(target) == []


def test_a_target_that_was_filled_since_it_was_looked_at(
    source_target: SourceTarget,
    monkeypatch: pytest.MonkeyPatch,
    pgcopydb_command: Pgcopydb,
    tmp_path: Path,
) -> None:
    check = run.check

    def look_and_wait(*arguments: Any, **more: Any) -> Any:
        filters = check(*arguments, **more)
        other = pgcopydb_command(*words(source_target, tmp_path / "other", "clone"))
        assert other.status == 0, other.stderr
        return filters

    monkeypatch.setattr(run, "check", look_and_wait)
    with pytest.raises(TargetError, match="the database is not empty"):
        run_clone(source_target, tmp_path / "work")
    assert differences(source_target.source, source_target.target) == []
    assert litter(source_target.target) == []


def test_a_session_that_a_killed_run_left_is_not_in_its_own_way(
    source_target: SourceTarget,
    pgcopydb_background: PgcopydbBackground,
    pgcopydb_command: Pgcopydb,
    tmp_path: Path,
) -> None:
    """Behind a network that was cut the server keeps it, and the lock with it, for hours."""
    source, target = source_target.source, source_target.target
    with pgcopydb_background(*words(source_target, tmp_path / "one", "clone")) as running:
        with standing_still(running, target) as name:
            running.kill_all()
        running.wait(5)
    assert wait_for(lambda: target.rows(HOLDING) == [])
    with target.connect() as left:
        left.execute(f"set application_name = '{name}'")
        left.execute("select pg_advisory_lock(x'7067636f70796462'::bigint)")
        other = pgcopydb_command(*words(source_target, tmp_path / "two", "clone"))
        assert other.status == 7, other.stderr
        assert f"{ALONE} (session {left.info.backend_pid}, {name})" in other.stderr
        again = words(source_target, tmp_path / "one", "clone --resume --not-consistent")
        resumed = pgcopydb_command(*again)
        assert resumed.status == 0, resumed.stderr
    assert differences(source, target) == []
    assert litter(target) == []


END = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = '{}'"


@pytest.mark.parametrize("command", ["clone", "copy table-data"])
def test_a_lock_that_is_lost_is_taken_again(
    source_target: SourceTarget,
    command: str,
    pgcopydb_background: PgcopydbBackground,
    tmp_path: Path,
) -> None:
    source, target = source_target.source, source_target.target
    if command.startswith("copy"):
        target.execute(EMPTY)
    with pgcopydb_background(*words(source_target, tmp_path / "one", command)) as running:
        with standing_still(running, target) as name:
            target.rows(END.format(name))
            assert wait_for(lambda: target.rows(HOLDING) == [])
        ended = running.wait(60)
    assert ended.status == 0, ended.stderr
    assert "the session was lost that keeps other copies out; another has begun" in ended.stderr
    assert differing_tables(source, target) == []
    assert litter(target) == []


@pytest.mark.parametrize("command", ["clone", "copy table-data"])
def test_a_lock_that_another_run_has_taken_ends_the_copy(
    source_target: SourceTarget,
    command: str,
    pgcopydb_background: PgcopydbBackground,
    tmp_path: Path,
) -> None:
    target = source_target.target
    if command.startswith("copy"):
        target.execute(EMPTY)
    with (
        target.connect(application_name="pgcopydb copy 0a1b2c3d") as other,
        pgcopydb_background(*words(source_target, tmp_path / "one", command)) as running,
    ):
        with standing_still(running, target) as name:
            target.rows(END.format(name))
            other.execute("select pg_advisory_lock(x'7067636f70796462'::bigint)")
        ended = running.wait(60)
    assert ended.status == 7, ended.stderr
    assert ALONE in ended.stderr
    assert "pgcopydb copy 0a1b2c3d" in ended.stderr
    assert_quiet(source_target)
