"""Statements of the application that want a table for themselves while it is being copied."""

import threading
import time

import psycopg
import pytest

from tests.scenarios.migration import Migration
from tests.support.clock import wait_for
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
