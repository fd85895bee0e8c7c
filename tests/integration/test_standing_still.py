"""A stop comes within ten seconds, also when a process stands still that holds the catalogue."""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection as PipeEnd
from pathlib import Path

import pytest

from pgcopydb.errors import Interrupted
from pgcopydb.runtime import fork_server, signals
from pgcopydb.runtime.workers import Worker, WorkerGroup
from pgcopydb.workdir.store import open_store, write_fact
from tests.scenarios.migration import assert_alone
from tests.support.clock import wait_for
from tests.support.commands import PgcopydbBackground, Running
from tests.support.disturbed import STOP_SECONDS
from tests.support.equality import differences
from tests.support.litter import processes
from tests.support.servers import SourceTarget

_TABLES = """
do $$begin for n in 1..6 loop
  execute format('create table t%s (id integer primary key, pad text)', n);
  execute format('insert into t%s select g, repeat(md5(g::text), 8) from'
                 ' generate_series(1, 8000) g', n);
  execute format('create index on t%s (left(pad, 10))', n);
end loop; end$$;
"""

_A_LONG_NOTE = """
create view long_work as
  with recursive counted(n) as (select 1 union all select n + 1 from counted where n < 3000000)
  select count(*) from counted;
create trigger long_note before update of state on job
  when new.state = 'done' and new.pool = 'copy' begin select * from long_work; end;
"""
"""Makes a lane hold the write lock of the catalogue for a moment that a test can hit."""


@pytest.mark.parametrize("source_target", [(16, 18, _TABLES)], indirect=True)
def test_a_lane_that_stands_still_with_the_catalogue_in_its_hands(
    source_target: SourceTarget, pgcopydb_background: PgcopydbBackground, tmp_path: Path
) -> None:
    work = ["--dir", str(tmp_path / "work")]
    arguments = ["clone", *source_target.options, *work, "--table-jobs", "1"]
    catalogue = tmp_path / "work" / "catalogue.db"
    with pgcopydb_background(*arguments) as running:
        assert wait_for(lambda: _has_jobs(catalogue)), running.stderr
        with _other_connection(catalogue) as other:
            other.executescript(_A_LONG_NOTE)
            one_copied = "select 1 from job where pool = 'copy' and state = 'done'"
            assert wait_for(lambda: other.execute(one_copied).fetchone() is not None)
            assert wait_for(lambda: _stands_still_with_the_lock(running, other)), running.stderr
            running.send_signal(signal.SIGTERM)
            # It is let go on so that it can stop; and again and again somebody stops it.
            stopped = wait_for(lambda: _has_ended(running), seconds=STOP_SECONDS)
        assert stopped, f"it outlives SIGTERM:\n{running.stderr}"
        ended = running.wait()
        assert ended.status == 128 + signal.SIGTERM, ended.stderr
        assert "Traceback" not in ended.stderr
        assert_alone(running)
    with _other_connection(catalogue) as other:
        other.executescript("drop trigger long_note; drop view long_work")
    with pgcopydb_background(*arguments, "--resume", "--not-consistent") as running:
        again = running.wait()
    assert again.status == 0, again.stderr
    assert differences(source_target.source, source_target.target) == []


def test_a_worker_that_waits_for_the_catalogue_hears_that_it_is_to_stop(tmp_path: Path) -> None:
    ours, theirs = Pipe()
    catalogue = tmp_path / "catalogue.db"
    with open_store(catalogue), WorkerGroup() as group, _other_connection(catalogue) as other:
        other.execute("begin immediate")
        group.start(Worker("writing", write_into_the_catalogue, (catalogue, theirs)))
        assert ours.recv() == "begins"
        group.stop()
        assert ours.recv() == "stopped on request"
        other.execute("rollback")


def test_a_stop_is_heard_while_what_forks_the_workers_stands_still() -> None:
    """It may have been stopped before the first worker was asked for."""
    with WorkerGroup() as group:
        group.start(Worker("first", nothing, None))
        group.wait()
        forking = fork_server.pid()
        assert forking is not None
        os.kill(forking, signal.SIGSTOP)
        asking = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
        giving_up = threading.Timer(5, os.kill, (forking, signal.SIGCONT))
        try:
            with signals.stop_on_signals():
                asking.start()
                giving_up.start()
                began = time.monotonic()
                group.start(Worker("second", nothing, None))
                with pytest.raises(Interrupted):
                    group.poll()
        finally:
            giving_up.cancel()
            fork_server.close()
        assert time.monotonic() - began < 3


def nothing(_: None) -> None:
    """Do the work of a worker that has none."""


def write_into_the_catalogue(task: tuple[Path, PipeEnd]) -> None:
    """Tell what becomes of a write for which another one leaves no room."""
    catalogue, to = task
    with open_store(catalogue) as store:
        to.send("begins")
        try:
            write_fact(store, "a fact", True)
        except Interrupted as error:
            to.send(error.message)


@contextmanager
def _other_connection(catalogue: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(catalogue, timeout=1, isolation_level=None)) as connection:
        yield connection


def _has_jobs(catalogue: Path) -> bool:
    if not catalogue.exists():
        return False
    with _other_connection(catalogue) as connection:
        table = "select 1 from sqlite_master where name = 'job'"
        if connection.execute(table).fetchone() is None:
            return False
        return connection.execute("select 1 from job").fetchone() is not None


def _stands_still_with_the_lock(running: Running, other: sqlite3.Connection) -> bool:
    """Stop the lane for good, when that leaves the catalogue locked; otherwise let it go on."""
    if not _is_locked(other, seconds=0):
        return False
    lanes = _signal_lanes(running, signal.SIGSTOP)
    if lanes and _is_locked(other, seconds=2):
        return True
    _signal_lanes(running, signal.SIGCONT)
    return False


def _has_ended(running: Running) -> bool:
    _signal_lanes(running, signal.SIGSTOP)
    return not running.is_running


def _signal_lanes(running: Running, number: signal.Signals) -> list[int]:
    lanes = [pid for pid in processes(running.pid) if _name(pid).startswith("pgcopydb copy")]
    for pid in lanes:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    return lanes


def _is_locked(connection: sqlite3.Connection, *, seconds: float) -> bool:
    connection.execute(f"pragma busy_timeout = {seconds * 1000:.0f}")
    try:
        connection.execute("begin immediate")
    except sqlite3.OperationalError:
        return True
    connection.execute("rollback")
    return False


def _name(pid: int) -> str:
    """Return what a process is called (proc(5))."""
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""
