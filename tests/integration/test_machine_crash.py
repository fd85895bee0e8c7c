"""The machine of a follow loses power: what was stored and not yet on its disk is gone."""

import shutil
from pathlib import Path

import pytest

from pgcopydb.cdc import machine_crash
from pgcopydb.workdir.store import open_store, update_header, write_fact
from tests.support.commands import Finished, Pgcopydb
from tests.support.equality import differing_tables
from tests.support.servers import SourceTarget

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
    assert "where no transaction of the source ends" in refused.stderr
    assert machine.names() == []

    machine.move_origin(-8)
    finished = machine.replay()
    assert finished.status == 0, finished.stderr
    assert differing_tables(machine.pair.source, machine.pair.target) == []
