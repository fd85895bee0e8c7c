"""A recorded workload: a source at rest, and a slot from which its changes can be read again."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers import Servers, copy_base, digest, psql
from workloads import Workload

from pgcopydb.cdc.source_setup import create_capture
from pgcopydb.lsn import parse_lsn
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.options import FollowOptions, WorkOptions
from pgcopydb.workdir.directory import open_directory
from pgcopydb.workdir.store import open_store, update_header

PUBLICATION = "bench"
_SLOT = "bench_original"

C_SLOT = "bench_wal2json"
"""The slot of the C program, which decodes with wal2json; only there when it is a contender."""

MARKER = "bench_marker"
"""A table that gets one row when everything else is recorded."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Changes to replay: everything of ``database`` up to ``last``, then a marker up to ``endpos``.

    A target whose position is beyond ``last`` has applied everything, because the marker is the
    only transaction that ends there.
    """

    servers: Servers
    workload: Workload
    database: str
    base: str
    directory: Path
    start: int
    last: int
    endpos: int
    expected: dict[str, tuple[int, str]]

    @property
    def wal_bytes(self) -> int:
        """How much the recorded changes are in the source's log."""
        return self.last - self.start

    @property
    def source(self) -> str:
        """The source's connection string."""
        return self.servers.source.conninfo(self.database)

    @contextmanager
    def slot(self, name: str, original: str = _SLOT) -> Iterator[str]:
        """Give a copy of one of the recording's slots, dropped at the end if it is still there."""
        copy = "select pg_copy_logical_replication_slot(%s, %s)"
        self._execute(copy, (original, name))
        try:
            yield name
        finally:
            self._execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
                " where slot_name = %s and not active",
                (name,),
            )

    @contextmanager
    def work_directory(self, name: str) -> Iterator[Path]:
        """Give a work directory as `stream setup` leaves it, for the slot and origin ``name``."""
        path = self.directory / name
        shutil.copytree(self.directory / "original", path)
        with open_store(path / "catalogue.db") as store:
            update_header(store, slot_name=name, origin=name)
        try:
            yield path
        finally:
            shutil.rmtree(path)

    def _execute(self, statement: str, parameters: tuple[Any, ...]) -> None:
        with self.servers.source.connect(self.database) as connection:
            connection.execute(statement.encode(), parameters)


@contextmanager
def recorded(
    servers: Servers, workload: Workload, size: int, directory: Path, *, with_c_slot: bool
) -> Iterator[Recording]:
    """Prepare a database on both servers, make a slot, and record ``size`` units of changes."""
    database, base = f"bench_{workload.name}", f"base_{workload.name}"
    with ExitStack() as stack:
        open_recording(servers, workload, directory, stack)
        if with_c_slot:
            with servers.source.connect(database) as connection:
                connection.execute(
                    "select pg_create_logical_replication_slot(%s, 'wal2json')", (C_SLOT,)
                )
        start = _position(servers, database)
        workload.record(servers.source, database, size)
        last = _position(servers, database)
        psql(servers.source, database, f"insert into {MARKER} default values")
        yield Recording(
            servers=servers,
            workload=workload,
            database=database,
            base=base,
            directory=directory,
            start=start,
            last=last,
            endpos=_position(servers, database),
            expected=digest(servers.source, database),
        )


def open_recording(servers: Servers, workload: Workload, directory: Path, stack: ExitStack) -> None:
    """Make both databases and the capture, without any change recorded yet."""
    database, base = f"bench_{workload.name}", f"base_{workload.name}"
    servers.source.create_database(database)
    stack.callback(servers.source.drop_database, database)
    workload.prepare(servers.source, database)
    psql(
        servers.source,
        database,
        f"create table {MARKER} (id bigint generated always as identity primary key,"
        " at timestamptz not null default clock_timestamp())",
    )
    copy_base(servers, database, base)
    stack.callback(servers.target.drop_database, base)
    source = Endpoint(Side.SOURCE, servers.source.conninfo(database))
    follow = FollowOptions(slot_name=_SLOT, publication=PUBLICATION)
    options = WorkOptions(directory=directory / "original")
    with (
        open_directory(options, command="stream setup") as work,
        create_capture(work, source, follow),
    ):
        pass  # the snapshot of the slot is not needed: the source is at rest
    stack.callback(shutil.rmtree, directory / "original")


def _position(servers: Servers, database: str) -> int:
    """Return the end of everything that the source has written, which is on disk."""
    with servers.source.connect(database) as connection:
        connection.execute("checkpoint")  # commits that did not wait for the disk are on it then
        row = connection.execute("select pg_current_wal_insert_lsn()::text").fetchone()
    assert row is not None
    return parse_lsn(row[0])
