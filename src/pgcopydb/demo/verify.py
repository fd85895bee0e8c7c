"""The proof at the end: the ledger, every table and every sequence, and that nothing is left.

Each check is a question to the servers themselves; none trusts what the migration says of itself.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msgspec import Struct
from psycopg import Connection

from pgcopydb.demo.ledger import Entry, Expected, compare
from pgcopydb.errors import some_of
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import Table
from pgcopydb.postgres import discover
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.digest import TableDigest, table_digest
from pgcopydb.sql.digest import ComparedColumn

Session = Connection[tuple[Any, ...]]
Name = tuple[str, str]
"""A schema and what is in it."""


class Check(Struct, frozen=True):
    """One thing that was looked at: what must be true, what was found, and whether it is so."""

    claim: str
    detail: str
    passed: bool


def table_digests(endpoint: Endpoint) -> dict[Name, TableDigest]:
    """Return the digest of every table that holds rows, all as one snapshot shows them."""
    with (
        connect(endpoint, purpose="verify", autocommit=False) as connection,
        reporting(endpoint, "reading all tables"),
    ):
        connection.execute("set transaction isolation level repeatable read, read only")
        tables = [table for table in discover.list_tables(connection) if table.has_rows]
        return {
            (table.schema, table.name): _digest(connection, endpoint, table) for table in tables
        }


def _digest(connection: Session, endpoint: Endpoint, table: Table) -> TableDigest:
    # By name: a target whose columns stand in another order holds the same.
    columns = [ComparedColumn(name) for name in sorted(column.name for column in table.columns)]
    return table_digest(connection, endpoint, (table.schema, table.name), columns)


def check_tables(source: Endpoint, target: Endpoint) -> Check:
    """Check that both sides have the same tables with the same rows; both are read at once."""
    with ThreadPoolExecutor(2) as readers:
        here, there = readers.map(table_digests, (source, target))
    different = [
        f"{'.'.join(name)} ({_rows(here.get(name))} on the source, {_rows(there.get(name))} on the"
        " target)"
        for name in sorted(here.keys() | there.keys())
        if here.get(name) != there.get(name)
    ]
    rows = sum(digest.rows for digest in here.values())
    return Check(
        claim="all tables are equal, by count and by digest of all values",
        detail=f"different: {some_of(different)}" if different else f"{len(here)}, {rows:,} rows",
        passed=not different and bool(here),
    )


def _rows(digest: TableDigest | None) -> str:
    return "missing" if digest is None else f"{digest.rows:,} rows"


def check_ledger(target: Endpoint, expected: Expected) -> Check:
    """Check that every acknowledged commit is there exactly once, and nothing else."""
    with connect(target, purpose="verify") as connection, reporting(target, "reading the ledger"):
        rows = connection.execute("select writer, number, version, amount::text from ledger.entry")
        found = compare(expected, ((row[0], Entry(*row[1:])) for row in rows))
    return Check(
        claim="every acknowledged commit is there exactly once, no rolled-back one is",
        detail=str(found) or f"{expected.commits:,} commits, {expected.rollbacks:,} rolled back",
        passed=not found and expected.commits > 0,
    )


class _Standing(Struct, frozen=True):
    place: tuple[int, bool]
    increment: int

    def is_behind(self, other: "_Standing") -> bool:
        """Tell whether this one would hand out a value that the other has handed out."""
        direction = 1 if self.increment > 0 else -1
        own, others = self.place, other.place
        return (own[0] * direction, own[1]) < (others[0] * direction, others[1])


def check_sequences(source: Endpoint, target: Endpoint) -> Check:
    """Check that no sequence of the target is behind the source's."""
    here, there = _standings(source), _standings(target)
    behind = [
        ".".join(name)
        for name, standing in here.items()
        if name not in there or there[name].is_behind(standing)
    ]
    return Check(
        claim="all sequences stand at or past the source's",
        detail=f"behind: {some_of(behind)}" if behind else str(len(here)),
        passed=not behind and bool(here),
    )


def _standings(endpoint: Endpoint) -> dict[Name, _Standing]:
    with (
        connect(endpoint, purpose="verify") as connection,
        reporting(endpoint, "reading sequences"),
    ):
        sequences = discover.list_sequences(connection)
        values = {value.oid: value for value in discover.sequence_values(connection, sequences)}
    return {
        (one.schema, one.name): _Standing(
            (values[one.oid].last_value, values[one.oid].is_called), one.increment
        )
        for one in sequences
    }


_LEFT_ON_SOURCE = """
select 'slot ' operator(pg_catalog.||) slot_name from pg_replication_slots
union all select 'publication ' operator(pg_catalog.||) pubname from pg_publication
"""
_LEFT_ON_TARGET = """
select 'origin ' operator(pg_catalog.||) roname from pg_replication_origin
union all select 'schema ' operator(pg_catalog.||) nspname from pg_namespace
  where nspname operator(pg_catalog.=) 'pgcopydb'
"""


def check_cleaned(source: Endpoint, target: Endpoint) -> Check:
    """Check that neither server has anything of the migration any more."""
    left = [
        f"{name} on the {endpoint.side}"
        for endpoint, query in ((source, _LEFT_ON_SOURCE), (target, _LEFT_ON_TARGET))
        for name in _names(endpoint, query)
    ]
    return Check(
        claim="no slot, publication or origin is left",
        detail=f"left: {some_of(left)}" if left else "after stream cleanup",
        passed=not left,
    )


def _names(endpoint: Endpoint, query: str) -> Iterable[str]:
    with connect(endpoint, purpose="verify") as connection, reporting(endpoint, "looking around"):
        return [name for (name,) in connection.execute(query.encode())]
