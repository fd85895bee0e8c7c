"""What a migration captures: the shape of the followed tables when the slot was made."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import psycopg
from msgspec.structs import replace
from psycopg import sql

from pgcopydb.errors import StateError
from pgcopydb.lsn import format_lsn
from pgcopydb.model.capture import Capture, FollowedTable, OwnPublication
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import EVERYTHING, Filters
from pgcopydb.model.objects import Column, ReplicaIdentity, ServerFacts, Table, TableKind
from pgcopydb.postgres import discover
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.publication import read_published
from pgcopydb.postgres.slot import wal_end
from pgcopydb.rules.publication import is_followed, plan_publication, publishable
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.store import RunHeader, read_fact

Connection = psycopg.Connection[Any]

Contents = Mapping[int, tuple[str, ...]]
"""What values of a type consist of, by the type's oid; see ``discover.type_contents``."""

CAPTURE_FACT = "capture"


def read_facts(connection: Connection, endpoint: Endpoint) -> ServerFacts:
    """Return what the server and the connected database are."""
    with reporting(endpoint, "reading the server's settings"):
        return discover.server_facts(connection)


def read_tables(
    connection: Connection, source: Endpoint, filters: Filters = EVERYTHING
) -> list[Table]:
    """Return the source's tables whose rows ``filters`` take, without their sizes."""
    with reporting(source, "reading the list of tables"):
        tables = discover.list_tables(connection, with_sizes=False)
    return [table for table in tables if filters.copies_data(table.schema, table.name)]


def read_contents(connection: Connection, source: Endpoint) -> Contents:
    """Return what values of the columns' types consist of, which DDL can change under the rows."""
    with reporting(source, "reading the types of columns"):
        return discover.type_contents(connection)


def read_publishable(connection: Connection, source: Endpoint, filters: Filters) -> list[Table]:
    """Return the tables that a publication of what ``filters`` take may name."""
    tables = read_tables(connection, source)
    return publishable(tables, filters, connection.info.server_version)


def identify(facts: ServerFacts) -> str:
    """Return what tells this database from every other: system identifier and database oid."""
    return facts.identity


def capture_in_snapshot(
    source: Endpoint,
    snapshot: str,
    start: int,
    filters: Filters = EVERYTHING,
    publications: Sequence[OwnPublication] = (),
) -> Capture:
    """Return what is followed, as the slot's own snapshot shows it.

    ``publications`` are those that were made for it.
    """
    with connect(source, purpose="setup", autocommit=False) as connection:
        with reporting(source, "importing the slot's snapshot"):
            connection.execute("set transaction isolation level repeatable read, read only")
            connection.execute(sql.SQL("set transaction snapshot {}").format(snapshot))
        facts = read_facts(connection, source)
        tables = read_tables(connection, source, filters)
        contents = read_contents(connection, source)
        published = read_published(connection, source, publications)
    capture = make_capture(facts, tables, contents, start, filters)
    return replace(capture, published=published)


def make_capture(
    facts: ServerFacts,
    tables: Sequence[Table],
    contents: Contents,
    start: int,
    filters: Filters = EVERYTHING,
) -> Capture:
    """Return what is followed of ``tables``, which ``filters`` took, from ``start`` on."""
    return Capture(
        start=start,
        encoding=facts.encoding,
        version_num=facts.version_num,
        tables=fingerprint(tables, contents),
        partitioned=_names_of(TableKind.PARTITIONED, tables),
        views=_names_of(TableKind.MATERIALIZED_VIEW, tables),
        filters=filters,
    )


def _names_of(kind: TableKind, tables: Sequence[Table]) -> tuple[tuple[str, str], ...]:
    return tuple((table.schema, table.name) for table in tables if table.kind is kind)


def fingerprint(tables: Sequence[Table], contents: Contents) -> tuple[FollowedTable, ...]:
    """Return the followed tables with all of their shape that the stream rests on."""
    keyless = {table.oid for table in plan_publication(tables).keyless}
    by_oid = {table.oid: table for table in tables}
    return tuple(
        FollowedTable(
            schema=table.schema,
            name=table.name,
            columns=tuple(_column_text(column) for column in table.columns),
            names=tuple(column.name for column in table.columns),
            identity=_identity_columns(table),
            full=table.replica_identity is ReplicaIdentity.FULL,
            keyless=table.oid in keyless,
            filenode=table.filenode,
            generated=tuple(column.name for column in table.columns if column.is_generated),
            always=tuple(column.name for column in table.columns if column.identity == "a"),
            versions=tuple(f"{column.number}:{column.version}" for column in table.columns),
            contents=_contents(table, contents),
            ancestors=tuple(_ancestors(table, by_oid)),
        )
        for table in tables
        if is_followed(table)
    )


def _ancestors(table: Table, by_oid: Mapping[int, Table]) -> Iterator[tuple[str, str]]:
    """Give the partitioned tables that ``table`` is a partition of, the nearest first."""
    while table.is_partition and (parent := by_oid.get(table.parent_oids[0])) is not None:
        yield parent.schema, parent.name
        table = parent


def _identity_columns(table: Table) -> tuple[str, ...]:
    if table.replica_identity is ReplicaIdentity.FULL:
        return tuple(column.name for column in table.copied_columns)
    return table.identity_columns


def _contents(table: Table, contents: Contents) -> tuple[str, ...]:
    found = (contents.get(column.type_oid, ()) for column in table.columns)
    return tuple(sorted(set(chain.from_iterable(found))))


def _column_text(column: Column) -> str:
    null = " not null" if column.not_null else ""
    default = f" default {column.default}" if column.default else ""
    return f"{column.name} {column.type}{null}{default}"


def read_capture(work: WorkDirectory) -> Capture:
    """Return what this migration captures; raise StateError when none was set up."""
    with work.store() as store:
        capture = read_fact(store, CAPTURE_FACT, Capture)
    if not isinstance(capture, Capture):
        raise StateError(
            "no change capture has been set up in this work directory",
            hint="set one up with clone --follow, snapshot --follow or stream setup",
        )
    return capture


def refuse_other_source(work: WorkDirectory, source: Endpoint) -> None:
    """Raise StateError when the source is not the server that this migration began on."""
    header = work.header()
    if header is None or header.source is None:
        return
    with connect(source, purpose="check") as connection:
        refuse_other_server(connection, source, header)


def refuse_other_server(
    connection: Connection, source: Endpoint, header: RunHeader, *, stored: int = 0
) -> None:
    """Raise StateError when ``connection`` is not to the server that the migration began on.

    It may have become another one between two connections: by a failover, or as a copy that was
    made before the changes up to ``stored`` were, and restored since.
    """
    facts = read_facts(connection, source)
    if header.source is not None and identify(facts) != header.source:
        raise StateError(
            "the work directory belongs to a migration of another source database",
            hint="give the --source of that migration, or another --dir",
        )
    if header.source_timeline is not None and facts.timeline != header.source_timeline:
        raise StateError(
            f"source: the server is on timeline {facts.timeline}, the migration began on"
            f" timeline {header.source_timeline}",
            hint="after a failover the slot's changes cannot be trusted: clone again",
        )
    end = wal_end(connection, source)
    if end < stored:
        raise StateError(
            f"source: its log ends at {format_lsn(end)}, but changes up to {format_lsn(stored)}"
            " have been received: it is an older copy of the server",
            hint="if it was restored from a backup, what it does now is not what was received:"
            " clone again",
        )
