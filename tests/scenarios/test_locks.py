"""Statements of the application that want a table for themselves while it is being copied."""

import threading
import time
from contextlib import ExitStack

import psycopg
import pytest

from tests.scenarios.migration import Migration
from tests.support.clock import wait_for
from tests.support.equality import differences
from tests.support.litter import assert_quiet, litter
from tests.support.workload import APPLICATION

SECONDS = 15.0


@pytest.mark.parametrize("source_target", [(16, 18, APPLICATION)], indirect=True)
def test_truncate_that_comes_between_the_locks_of_a_copy(migration: Migration) -> None:
    source = migration.pair.source
    errors: list[psycopg.Error] = []

    def truncate() -> None:
        try:
            source.execute("truncate app.orders, app.order_lines restart identity")
        except psycopg.Error as error:
            errors.append(error)

    def is_holding() -> bool:
        return bool(
            source.rows(
                "select from pg_stat_activity a join pg_locks l using (pid)"
                " where application_name = 'pgcopydb lock holder' and state <> 'active'"
                " and relation = 'app.orders'::regclass and granted"
            )
        )

    with migration.start("clone", "--follow") as running:
        assert wait_for(is_holding), running.stderr
        asked = time.monotonic()
        application = threading.Thread(target=truncate, daemon=True)
        application.start()
        # Either the copy takes its course, or it says what is in its way and gives way.
        wait_for(lambda: not application.is_alive(), seconds=SECONDS)
        waited = time.monotonic() - asked
        refused = not running.is_running
        running.kill_all()
        application.join()
    assert errors == [], running.stderr
    assert waited < SECONDS, running.stderr
    if refused:
        assert running.wait().status == 3
        assert_quiet(migration.pair)
        assert litter(source) == []


_BUILT_LATE = """
create table rows (id integer primary key);
insert into rows select generate_series(1, 100);
create function wait() returns integer language plpgsql as
  'begin perform pg_advisory_lock_shared(1), pg_advisory_unlock_shared(1); return 1; end';
create materialized view late as select count(*), wait() from rows;
"""
"""What the target makes of the rows only when a lock of the test's is let go."""


@pytest.mark.parametrize("source_target", [(16, 18, _BUILT_LATE)], indirect=True)
@pytest.mark.parametrize("words", [["clone"], ["clone", "--follow"]], ids=" ".join)
def test_nothing_of_the_source_is_held_once_its_rows_are_copied(
    migration: Migration, words: list[str]
) -> None:
    """Indexes of large tables take hours to build: no vacuum, no ALTER TABLE waits for that."""
    source, target = migration.pair.source, migration.pair.target
    waiting = "select from pg_locks where locktype = 'advisory' and objid = 1 and not granted"
    holding = (
        "select application_name, query from pg_stat_activity"
        " where datname = current_database() and application_name like 'pgcopydb%'"
        " and backend_xmin is not null"
    )
    with target.connect() as late, ExitStack() as locked:
        late.execute("select pg_advisory_lock(1)")
        locked.callback(late.execute, "select pg_advisory_unlock(1)")
        with migration.start(*words) as running:
            built = wait_for(lambda: bool(target.rows(waiting)) or not running.is_running)
            assert built, running.stderr
            assert running.is_running, running.stderr
            wait_for(lambda: not source.rows(holding), seconds=2)
            assert source.rows(holding) == []
            source.execute("set lock_timeout to '1s'; lock table rows in access exclusive mode")
            locked.close()
            if "--follow" in words:
                migration.wait_until_applying(running)
                migration.sentinel("set", "endpos", "--current")
            finished = running.wait(SECONDS)
    assert finished.status == 0, finished.stderr
    assert differences(migration.pair.source, target) == []
