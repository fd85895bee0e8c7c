"""Every kind of connection that a migration opens, each as it does once the first one was made."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pgcopydb.model.access import ChildAccess
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CopyOptions
from pgcopydb.pgtools.dump import dump_schema
from pgcopydb.pgtools.find import Tools, find_tools
from pgcopydb.pgtools.restore import list_archive, restore_entries
from pgcopydb.postgres.children import child_environment
from pgcopydb.postgres.connect import connect, connect_bulk, connect_replication, resolve
from pgcopydb.postgres.resolve import ResolvedServer

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Known:
    """A server that has answered once, and all by which later connections are made."""

    endpoint: Endpoint
    server: ResolvedServer
    access: ChildAccess
    tools: Tools
    version: int
    folder: Path


@contextmanager
def known(endpoint: Endpoint, folder: Path) -> Iterator[Known]:
    """Find out about a server, and leave a schema on it that can be dumped and restored."""
    with connect(endpoint, purpose="test") as connection:
        connection.execute("create schema if not exists tried")
        version = connection.info.server_version
    tools = find_tools(version, version)
    with child_environment(endpoint, folder) as access:
        dump_schema(tools, access, None, folder / "schema.dump")
        yield Known(endpoint, resolve(endpoint), access, tools, version, folder)


async def bulk_rows(
    server: Endpoint | ResolvedServer, query: str, purpose: str = "test"
) -> list[tuple[Any, ...]]:
    connection = await connect_bulk(server, purpose=purpose)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


def _ordinary(server: Known, query: str) -> Rows:
    with connect(server.endpoint, purpose="test") as connection:
        return connection.execute(query.encode()).fetchall()


def _replication(server: Known, query: str) -> Rows:
    with connect_replication(server.endpoint, purpose="test") as connection:
        assert connection.execute("IDENTIFY_SYSTEM").fetchone()
        return connection.execute(query.encode()).fetchall()


def _bulk(server: Known, query: str) -> Rows:
    return asyncio.run(bulk_rows(server.server, query))


def _pg_dump(server: Known, _query: str) -> Rows:
    output = server.folder / "again.dump"
    dump_schema(server.tools, server.access, None, output)
    assert list_archive(server.tools, output)
    return []


def _pg_restore(server: Known, _query: str) -> Rows:
    archive = server.folder / "schema.dump"
    entries = list_archive(server.tools, archive)
    assert entries
    restore_entries(
        server.tools,
        server.access,
        archive,
        entries=entries,
        list_file=server.folder / "entries",
        target_version_num=server.version,
        options=CopyOptions(drop_if_exists=True),
    )
    return []


KINDS: Final[Mapping[str, Callable[[Known, str], Rows]]] = {
    "ordinary": _ordinary,
    "replication": _replication,
    "bulk": _bulk,
    "pg_dump": _pg_dump,
    "pg_restore": _pg_restore,
}
"""By name, what connects in a kind of way, and gives a query's rows where it can run one."""
