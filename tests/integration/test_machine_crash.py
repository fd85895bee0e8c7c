"""A machine loses power, that of a follow or the target's: what was not yet on its disk is gone."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from pgcopydb.cdc import machine_crash
from pgcopydb.workdir.store import open_store, update_header, write_fact
from tests.support.clock import wait_for
from tests.support.commands import Finished, Pgcopydb, PgcopydbBackground
from tests.support.equality import differing_tables
from tests.support.servers import Database, MakeCluster, SourceTarget
from tests.support.steps import Stream

SCHEMA = "create table item (id integer primary key, name text)"

BEFORE = "insert into item select g, 'before' from generate_series(1, 5) g"
LOST = (
    "insert into item values (10, 'lost'); update item set name = 'lost' where id = 1",
    "insert into item select g, repeat(md5(g::text), 20) from generate_series(100, 4000) g",
    "delete from item where id = 2",
)
"""Transactions, one of which takes several slices, that are on the target and no longer stored."""


class Machine:
    """A follow, and a copy of what the disk and the slot held before the last changes."""

    def __init__(self, pair: SourceTarget, directory: Path, command: Pgcopydb) -> None:
        self.pair, self._directory, self._command = pair, directory, command
        self._kept = directory.with_name("kept")
        for database in (pair.source, pair.target):
            database.execute(SCHEMA)
        self.run("stream", "setup", "--create-slot", *pair.options)

    def run(self, *words: str) -> Finished:
        return self._command(*words, "--dir", str(self._directory), timeout=60)

    def replay(self) -> Finished:
        """Replay all that the source has by now."""
        source = ("--source", self.pair.source.conninfo)
        finished = self.run("stream", "sentinel", "set", "endpos", "--current", *source)
        assert finished.status == 0, finished.stderr
        return self.run("stream", "replay", *self.pair.options)

    def keep(self) -> None:
        """Remember what the disk holds, and what the slot has been told of it."""
        shutil.copytree(self._directory, self._kept)
        self.pair.source.execute("select pg_copy_logical_replication_slot('pgcopydb', 'spare')")

    def lose_power(self) -> None:
        """Go back to what was kept."""
        shutil.rmtree(self._directory)
        self._kept.rename(self._directory)
        with open_store(self._directory / "catalogue.db") as store:
            update_header(store, slot_name="spare")

    def start_anew(self) -> None:
        """Let the machine tell that it was started anew."""
        with open_store(self._directory / "catalogue.db") as store:
            write_fact(store, machine_crash._FACT, "another")

    def move_origin(self, bytes_further: int) -> None:
        self.pair.target.execute(
            f"select pg_replication_origin_advance(external_id, remote_lsn + ({bytes_further}))"
            " from pg_replication_origin_status"
        )

    def move_notes(self, bytes_further: int) -> None:
        """Move what proves the origin as well, so that only the source's changes tell."""
        self.pair.target.execute(
            "select setval(format('pgcopydb.%I', sequencename)::regclass,"
            f" last_value + ({bytes_further})) from pg_sequences"
            " where schemaname = 'pgcopydb' and sequencename ~ '^origin_.*_(before|after)$'"
        )

    def names(self) -> list[tuple[object, ...]]:
        return self.pair.target.rows("select name from item where id = 1000000")


@pytest.fixture
def machine(source_target: SourceTarget, tmp_path: Path, pgcopydb_command: Pgcopydb) -> Machine:
    return Machine(source_target, tmp_path / "work", pgcopydb_command)


def test_what_the_disk_lost_is_sent_again_and_not_applied_again(machine: Machine) -> None:
    machine.pair.source.execute(BEFORE)
    assert machine.replay().status == 0
    machine.keep()
    for statement in LOST:
        machine.pair.source.execute(statement)
    assert machine.replay().status == 0
    machine.lose_power()
    machine.pair.source.execute("insert into item values (1000000, 'after')")

    refused = machine.run("stream", "catchup", *machine.pair.options)  # it was not started anew
    assert refused.status == 3, refused.stderr
    assert "outside of the changes" in refused.stderr

    machine.start_anew()
    machine.move_origin(8)  # where no transaction ends
    refused = machine.replay()
    assert refused.status == 3, refused.stderr
    assert "something else moved it" in refused.stderr
    machine.move_notes(8)
    refused = machine.replay()
    assert refused.status == 3, refused.stderr
    assert "where no transaction of the source ends" in refused.stderr
    assert machine.names() == []

    machine.move_origin(-8)
    machine.move_notes(-8)
    finished = machine.replay()
    assert finished.status == 0, finished.stderr
    assert differing_tables(machine.pair.source, machine.pair.target) == []


def lose_unflushed_log(database: Database) -> None:
    """Kill the server of a database, and take away what of its log was never brought to disk.

    Pages of tables are on disk only as far as the log was before them, so nothing else is lost.
    """
    ((segment, offset, is_behind),) = database.rows(
        "select place.file_name, place.file_offset, lsn < pg_current_wal_insert_lsn()"
        " from pg_current_wal_flush_lsn() as lsn, pg_walfile_name_offset(lsn) as place"
    )
    database.cluster.kill()
    assert is_behind, "everything was flushed, so that there is nothing to lose"
    folder = database.cluster.data_directory / "pg_wal"
    for path in folder.iterdir():
        if len(path.name) == len(segment) and path.name >= segment:
            with path.open("r+b") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(offset if path.name == segment else 0)
                file.write(bytes(size - file.tell()))


def test_commits_that_a_target_loses_with_its_power_are_applied_again(
    source_target: SourceTarget,
    make_cluster: MakeCluster,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
) -> None:
    """Changes are committed without waiting for the disk; only what is there counts as applied."""
    target = Database(make_cluster(18, settings={"autovacuum": "off"}), "postgres")
    pair = SourceTarget(source_target.source, target)
    stream = Stream(pair, tmp_path / "work", pgcopydb_command, pgcopydb_background)
    stream.both(
        f"{SCHEMA}; create table twice (n integer); alter table twice replica identity full"
    )
    stream.set_up()
    with stream.start("stream", "replay") as running:
        pair.source.execute("insert into item values (-1, 'first')")
        assert wait_for(lambda: stream.count("item") == 1, seconds=60), running.stderr
        ((writer,),) = target.rows(
            "select pid from pg_stat_activity where backend_type = 'walwriter'"
        )
        os.kill(writer, signal.SIGSTOP)
        for number in range(200):
            pair.source.execute(
                f"insert into item values ({number}, 'lost'); insert into twice values ({number})"
            )
        assert wait_for(lambda: stream.count("item") == 201, seconds=60), running.stderr
        running.kill_all()
        running.wait(5)
    lose_unflushed_log(target)
    target.cluster.start()
    assert stream.count("item") < 201
    stream.replay()
    assert stream.count("twice") == 200
