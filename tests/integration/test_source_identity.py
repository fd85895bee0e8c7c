"""A source, or a slot, that is not the one that the migration began on is refused, with reason."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.clock import wait_for
from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.servers import Database, MakeCluster, SourceTarget

pytestmark = pytest.mark.forked_commands

SCHEMA = "create table t (id integer primary key, v text); insert into t values (1, 'one')"

RECOVERY = """
restore_command = 'false'
hot_standby = 'off'
"""
"""Makes a server begin a new timeline when it starts, before anybody can connect."""

own = pytest.mark.parametrize("source_target", [(16, 18, SCHEMA)], indirect=True)


class Capture:
    """A capture without a copy, into a directory of its own."""

    def __init__(self, source: Database, target: Database, directory: Path, run: Pgcopydb) -> None:
        self.source = source
        self.run = run
        self.arguments = ["--source", source.conninfo, "--dir", str(directory)]
        setup = [*self.arguments, "--target", target.conninfo, "--create-slot"]
        made = run("stream", "setup", *setup)
        assert made.status == 0, made.stderr

    def prefetch(self, *, status: int) -> str:
        """Store everything up to now; return the log."""
        end = self.source.rows("select pg_current_wal_flush_lsn()::text")[0][0]
        finished = self.run("stream", "prefetch", *self.arguments, "--endpos", end)
        assert finished.status == status, finished.stderr
        return finished.stderr


@pytest.fixture
def capture(source_target: SourceTarget, tmp_path: Path, pgcopydb_command: Pgcopydb) -> Capture:
    pair = source_target
    made = Capture(pair.source, pair.target, tmp_path / "work", pgcopydb_command)
    pair.source.execute("insert into t values (2, 'two')")
    made.prefetch(status=0)
    return made


@own
def test_a_slot_that_somebody_else_advanced(capture: Capture) -> None:
    """M5: the server would silently begin after what is missing."""
    capture.source.execute("insert into t values (3, 'missing')")
    capture.source.execute(
        "select pg_replication_slot_advance('pgcopydb', pg_current_wal_flush_lsn())"
    )
    assert "something else has read from it" in capture.prefetch(status=3)


@own
def test_a_slot_that_was_made_again(capture: Capture) -> None:
    """Even where nothing was written between the two."""
    capture.source.execute(
        "select pg_drop_replication_slot('pgcopydb');"
        " select pg_create_logical_replication_slot('pgcopydb', 'pgoutput')"
    )
    assert "dropped and made again" in capture.prefetch(status=3)


@own
def test_a_slot_that_is_gone(capture: Capture) -> None:
    capture.source.execute("select pg_drop_replication_slot('pgcopydb')")
    assert "does not exist" in capture.prefetch(status=3)


@own
def test_another_server_with_the_same_names(capture: Capture, make_cluster: MakeCluster) -> None:
    """Pitfall 54."""
    other = make_cluster(16)
    other.create_database(capture.source.name)
    database = Database(other, capture.source.name)
    database.execute("create publication pgcopydb")
    database.execute("select pg_create_logical_replication_slot('pgcopydb', 'pgoutput')")
    capture.arguments[1] = database.conninfo
    capture.source = database
    assert "another source database" in capture.prefetch(status=3)


@pytest.fixture
def own_capture(
    make_cluster: MakeCluster,
    source_target: SourceTarget,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
) -> Capture:
    """A capture on a server of the test's own, which may keep 48 MB of WAL for its slot.

    And which looks after tables that were not frozen for as few transactions as can be set.
    """
    settings = {"max_slot_wal_keep_size": "48MB", "autovacuum_freeze_max_age": "100000"}
    cluster = make_cluster(16, settings=settings)
    cluster.create_database("app")
    source = Database(cluster, "app")
    source.execute(SCHEMA)
    return Capture(source, source_target.target, tmp_path / "work", pgcopydb_command)


def test_an_older_copy_of_the_server(own_capture: Capture, tmp_path: Path) -> None:
    """A data directory that was copied back has the same identifier, timeline and slot."""
    cluster = own_capture.source.cluster
    cluster.stop()
    backup = tmp_path / "backup"
    subprocess.run(["cp", "-a", cluster.data_directory, backup], check=True)
    cluster.start()
    own_capture.source.execute("insert into t values (2, 'lost with the disk')")
    own_capture.prefetch(status=0)
    cluster.stop()
    shutil.rmtree(cluster.data_directory)
    subprocess.run(["cp", "-a", backup, cluster.data_directory], check=True)
    cluster.start()
    assert "an older copy of the server" in own_capture.prefetch(status=3)


def test_a_failover_while_changes_are_received(
    own_capture: Capture, pgcopydb_background: PgcopydbBackground
) -> None:
    """Pitfall 54: timeline and identifier are looked at whenever receive connects again."""
    cluster = own_capture.source.cluster
    with pgcopydb_background("stream", "prefetch", *own_capture.arguments) as running:
        assert wait_for(lambda: "receiving from slot" in running.stderr)
        cluster.stop()
        with (cluster.data_directory / "postgresql.auto.conf").open("a") as settings:
            settings.write(RECOVERY)
        (cluster.data_directory / "recovery.signal").touch()
        cluster.start()
        result = running.wait(60)
    assert result.status == 3
    assert "the server is on timeline 2, the migration began on timeline 1" in result.stderr


def test_a_slot_that_is_about_to_be_lost_and_is(
    own_capture: Capture, pgcopydb_background: PgcopydbBackground
) -> None:
    """Pitfall 55: a warning at half of what the slot may hold back, a refusal when it is lost."""
    source = own_capture.source

    def fill_segments(number: int) -> None:
        for _ in range(number):
            source.execute("insert into t select max(id) + 1 from t")
            source.execute("select pg_switch_wal()")

    with (
        source.connect() as old,
        pgcopydb_background("stream", "prefetch", *own_capture.arguments) as running,
    ):
        assert wait_for(lambda: "receiving from slot" in running.stderr)
        old.execute("begin; insert into t values (1000, 'holds the slot back')")
        fill_segments(3)
        assert wait_for(lambda: "more than half of max_slot" in running.stderr, seconds=30)
    fill_segments(6)
    source.execute("checkpoint")
    assert source.rows("select wal_status from pg_replication_slots") == [("lost",)]
    assert "is lost: the source removed WAL" in own_capture.prefetch(status=3)


def test_a_slot_that_keeps_the_catalogues_from_being_vacuumed(
    own_capture: Capture, pgcopydb_background: PgcopydbBackground
) -> None:
    """By an old transaction of the source, before which no slot can go: told, and nothing else."""
    source = own_capture.source
    told = "transactions old, more than half of autovacuum_freeze_max_age (100,000)"
    with (
        source.connect() as old,
        pgcopydb_background("stream", "prefetch", *own_capture.arguments) as running,
    ):
        assert wait_for(lambda: "receiving from slot" in running.stderr)
        old.execute("begin; insert into t values (1000, 'holds the slot back')")
        source.execute(
            "do $$ begin perform set_config('synchronous_commit', 'off', false);"
            " for n in 1..50100 loop perform txid_current(); commit; end loop; end $$"
        )
        assert wait_for(lambda: told in running.stderr, seconds=30), running.stderr
        assert running.is_running
        assert "of WAL, more than half" not in running.stderr
