"""Upgrade a server under all the load that pgbench can make: part of ``make campaign``.

Eight clients write at full speed from before ``clone --follow`` begins until the load stops;
``UPGRADE_SECONDS`` (120) pass while the changes are followed. Then the lag has to be gone at
once, and both sides have to be equal by ``compare schema`` and ``compare data``.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.scenarios.conftest import migration  # noqa: F401 - a fixture
from tests.scenarios.migration import DRAIN_SECONDS, Migration
from tests.support.clock import wait_for
from tests.support.commands import Running
from tests.support.litter import assert_no_litter
from tests.support.servers import Database, bindir

SECONDS = float(os.environ.get("UPGRADE_SECONDS", "120"))
CLIENTS = 8
SCALE = 10


@pytest.mark.parametrize("source_target", [(15, 18), (16, 18)], indirect=True)
def test_upgrade_under_load(migration: Migration) -> None:  # noqa: F811
    source = migration.pair.source
    made, _ = pgbench(source, "-i", "-q", "-s", str(SCALE)).communicate()
    assert source.rows("select from public.pgbench_accounts limit 1"), made
    with full_load(source) as stop:
        options = ["--no-identity", "insert-only"]  # pgbench_history has no key, and needs none
        with migration.start("clone", "--follow", *options) as running:
            migration.wait_until_applying(running)
            lags = follow_for(migration, running, SECONDS)
            written = stop()
            migration.sentinel("set", "endpos", "--current")
            stopped = time.monotonic()
            finished = running.wait(DRAIN_SECONDS)
            drained = time.monotonic() - stopped
    assert finished.status == 0, finished.stderr
    migration.run("compare", "schema")
    migration.run("compare", "data")
    migration.run("stream", "cleanup")
    assert_no_litter(migration.pair)
    sys.stdout.write(
        f"\n{written} transactions in {SECONDS:.0f} s of following and the base copy before it;"
        f" lag in seconds, each tenth of the time: {' '.join(f'{lag:.1f}' for lag in lags)};"
        f" drained, verified and ended {drained:.1f} s after the load stopped\n"
    )


def follow_for(migration: Migration, running: Running, seconds: float) -> list[float]:  # noqa: F811
    """Let a follow run, and return ten times on the way how many seconds it is behind."""
    lags = []
    for _ in range(10):
        assert not wait_for(lambda: not running.is_running, seconds=seconds / 10), running.stderr
        lags.append(json.loads(migration.sentinel("get", "--json"))["lag_seconds"] or 0.0)
    return lags


def pgbench(database: Database, *options: str) -> subprocess.Popen[str]:
    """Start pgbench on a database."""
    programs = bindir(18)
    assert not isinstance(programs, str), programs
    command = [str(programs / "pgbench"), *options, database.conninfo]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@contextmanager
def full_load(source: Database) -> Iterator[Callable[[], int]]:
    """Write with all clients; the function given stops them and returns their transactions."""
    # Its own VACUUM and TRUNCATE at the start would want tables for themselves (-n).
    process = pgbench(source, "-n", "-c", str(CLIENTS), "-T", "100000")

    def stop() -> int:
        process.terminate()
        process.communicate()
        rows = source.rows("select count(*) from public.pgbench_history")
        return int(rows[0][0])

    try:
        yield stop
    finally:
        process.kill()
        process.wait()
