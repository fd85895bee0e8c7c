"""Bounded disk: receive pauses in time, stops cleanly when there is none left, and goes on."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgcopydb.cdc.room import stored_bytes
from pgcopydb.errors import StateError
from pgcopydb.workdir.changelog import ChangelogWriter, stored_end
from pgcopydb.workdir.store import open_store
from tests.support.clock import wait_for
from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.equality import differing_tables
from tests.support.servers import SourceTarget
from tests.support.small_disks import empty, fill, mounted, resize

SCHEMA = "create table t (id integer primary key, v text)"

MB = 1 << 20

pytestmark = pytest.mark.parametrize("source_target", [(16, 18, SCHEMA)], indirect=True)


class Capture:
    """A capture of an empty table that both sides have, in a directory of its own."""

    def __init__(self, pair: SourceTarget, directory: Path, run: Pgcopydb) -> None:
        self.pair = pair
        self.run = run
        self.directory = directory
        pair.target.execute(SCHEMA)
        # far shorter than the pauses of these tests
        pair.source.execute(f"alter database {pair.source.name} set wal_sender_timeout to '2s'")
        self.source = ["--source", pair.source.conninfo, "--dir", str(directory)]
        self.both = [*self.source, "--target", pair.target.conninfo]
        self.ok("stream", "setup", *self.both, "--create-slot")

    def ok(self, *arguments: str) -> str:
        finished = self.run(*arguments)
        assert finished.status == 0, finished.stderr
        return finished.stderr

    def insert(self, transactions: int, *, rows: int, size: int = 1000) -> str:
        """Insert rows of so many bytes, which do not compress, in transactions of their own.

        Returns where the commit of the last one begins in the source's log.
        """
        text = f"string_agg(md5(random()::text || i), '') from generate_series(1, {size // 32}) i"
        statement = (
            f"insert into t select (select coalesce(max(id), 0) from t) + g, (select {text})"
            f" from generate_series(1, {rows}) g"
        )
        commit = ""
        with self.pair.source.connect() as connection:
            for _ in range(transactions):
                with connection.transaction():
                    connection.execute(statement.encode())
                    place = connection.execute("select pg_current_wal_insert_lsn()::text")
                    (commit,) = place.fetchone() or ("",)
        return commit

    def drain(self) -> None:
        """Bring everything to the target, and compare."""
        self.ok("stream", "sentinel", "set", "endpos", "--current", *self.source)
        self.ok("stream", "replay", *self.both)
        assert differing_tables(self.pair.source, self.pair.target) == []


@pytest.fixture
def capture(source_target: SourceTarget, tmp_path: Path, pgcopydb_command: Pgcopydb) -> Capture:
    return Capture(source_target, tmp_path / "work", pgcopydb_command)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    with mounted(tmp_path / "disk", megabytes=16) as disk:
        yield disk


def test_receive_pauses_at_its_limit_and_goes_on_when_changes_are_applied(
    capture: Capture, pgcopydb_background: PgcopydbBackground
) -> None:
    """Ruling 5: the server hears of us meanwhile, however long that is."""
    limit = 8 * MB
    with pgcopydb_background("follow", *capture.both, "--max-store-size", "8MB") as running:
        assert wait_for(lambda: "receiving from slot" in running.stderr)
        capture.insert(30, rows=1000)
        assert wait_for(lambda: "receiving pauses" in running.stderr)
        assert "--max-store-size" in running.stderr
        time.sleep(5)
        assert stored_bytes(capture.directory / "cdc") < 2 * limit
        capture.ok("stream", "sentinel", "set", "apply", *capture.source[2:])
        assert wait_for(lambda: "receiving goes on" in running.stderr)
        capture.ok("stream", "sentinel", "set", "endpos", "--current", *capture.source)
        result = running.wait(90)
    assert result.status == 0, result.stderr
    assert "connecting again" not in result.stderr
    assert differing_tables(capture.pair.source, capture.pair.target) == []


def test_a_transaction_larger_than_the_limit_comes_through(
    capture: Capture, pgcopydb_background: PgcopydbBackground
) -> None:
    with pgcopydb_background("follow", *capture.both, "--max-store-size", "4MB") as running:
        capture.ok("stream", "sentinel", "set", "apply", *capture.source[2:])
        capture.insert(3, rows=500)
        capture.insert(1, rows=20000)
        capture.insert(3, rows=500)
        capture.ok("stream", "sentinel", "set", "endpos", "--current", *capture.source)
        result = running.wait(90)
    assert result.status == 0, result.stderr
    assert differing_tables(capture.pair.source, capture.pair.target) == []


def test_a_full_disk_stops_receive_with_nothing_confirmed_that_is_not_stored(
    source_target: SourceTarget,
    small_disk: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
) -> None:
    """Pitfall 8: what did not fit is sent again when there is room."""
    capture = Capture(source_target, small_disk / "work", pgcopydb_command)
    with pgcopydb_background("stream", "prefetch", *capture.source) as running:
        assert wait_for(lambda: "receiving from slot" in running.stderr)
        capture.insert(1, rows=1)
        fill(small_disk, free=4 * MB)
        commit = capture.insert(1, rows=1, size=8_000_000)
        result = running.wait(60)
    assert result.status == 3
    assert f"{small_disk / 'work' / 'cdc'} has no room for" in result.stderr
    confirmed = f"select confirmed_flush_lsn <= '{commit}' from pg_replication_slots"
    assert source_target.source.rows(confirmed) == [(True,)]
    resize(small_disk, megabytes=200)
    capture.drain()


def test_a_catalogue_on_a_full_disk_is_not_taken_for_a_damaged_one(
    source_target: SourceTarget,
    small_disk: Path,
) -> None:
    """Whoever is told to start over then loses the migration for nothing."""
    catalogue = small_disk / "catalogue.db"
    with open_store(catalogue):
        pass
    fill(small_disk, free=0)
    with pytest.raises(StateError, match="has no room") as caught, open_store(catalogue):
        pass
    assert "--restart" not in (caught.value.hint or "")


def test_stored_changes_on_a_full_disk_are_not_taken_for_damaged_ones(
    source_target: SourceTarget, small_disk: Path
) -> None:
    """Whoever removes them, as was said, loses what the source does not have any more."""
    writer = ChangelogWriter(small_disk, max_segment_bytes=MB)
    writer.append(b"frames", slice_number=None, final=True, end_lsn=10)
    writer.close()
    fill(small_disk, free=0)
    for use in (stored_end, lambda disk: ChangelogWriter(disk, max_segment_bytes=MB)):
        with pytest.raises(StateError, match="has no room") as caught:
            use(small_disk)
        assert "remove" not in (caught.value.hint or "")
    empty(small_disk)
    assert stored_end(small_disk) == 10


def test_receive_pauses_while_the_disk_is_nearly_full(
    source_target: SourceTarget,
    small_disk: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
) -> None:
    capture = Capture(source_target, small_disk / "work", pgcopydb_command)
    with pgcopydb_background("stream", "prefetch", *capture.source) as running:
        assert wait_for(lambda: "receiving from slot" in running.stderr)
        fill(small_disk, free=MB)
        assert wait_for(lambda: "receiving pauses" in running.stderr)
        assert "MB are free on the disk of" in running.stderr
        capture.insert(20, rows=50)
        time.sleep(4)
        empty(small_disk)
        assert wait_for(lambda: "receiving goes on" in running.stderr)
        capture.ok("stream", "sentinel", "set", "endpos", "--current", *capture.source)
        result = running.wait(60)
    assert result.status == 0, result.stderr
    assert "connecting again" not in result.stderr
    capture.drain()
