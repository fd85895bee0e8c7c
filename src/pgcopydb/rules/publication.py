"""Which tables a publication may hold so that it never breaks a write on the source (ruling 16).

A published table without a usable replica identity makes every UPDATE and DELETE of the
application fail (correctness M12), and a partition made later under a published root without a
key does the same. So a root stands for its partitions only when its own key does.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from pgcopydb.model.filters import Filters
from pgcopydb.model.objects import ReplicaIdentity, Table, TableKind
from pgcopydb.model.options import NoIdentity

WHOLE: Final = "insert, update, delete, truncate"
INSERT_ONLY: Final = "insert, truncate"

_PERMANENT = "p"
_ROOTS_PUBLISHED: Final = 130000


class PublicationPlan(Struct, frozen=True):
    """``whole`` carries every change; ``keyless`` cannot carry updates and deletes."""

    whole: tuple[Table, ...]
    keyless: tuple[Table, ...]


class WantedPublication(Struct, frozen=True):
    """A publication to be made: ``tables`` are (schema, name) pairs."""

    name: str
    tables: frozenset[tuple[str, str]]
    actions: str


def is_followed(table: Table) -> bool:
    """Tell whether changes of the table's own rows are in the stream at all."""
    return table.kind is TableKind.TABLE and table.persistence == _PERMANENT


def publishable(tables: Iterable[Table], filters: Filters, version_num: int) -> list[Table]:
    """Return the tables that a publication of what ``filters`` take may name.

    A partitioned table of which they leave out a partition stands for it too, and is not named.
    Nor is any on a server (of this server_version_num) before 13, which publishes only partitions:
    https://www.postgresql.org/docs/12/logical-replication-restrictions.html
    """
    every = list(tables)
    parents = {table.oid: table.parent_oids for table in every}
    taken = [table for table in every if filters.copies_data(table.schema, table.name)]
    if version_num < _ROOTS_PUBLISHED:
        return [table for table in taken if table.kind is not TableKind.PARTITIONED]
    torn: set[int] = set()
    waiting = list(parents.keys() - {table.oid for table in taken})
    while waiting:
        above = set(parents.get(waiting.pop(), ())) - torn
        torn |= above
        waiting.extend(above)
    return [
        table for table in taken if table.kind is not TableKind.PARTITIONED or table.oid not in torn
    ]


def plan_publication(tables: Iterable[Table]) -> PublicationPlan:
    """Divide the selected tables by what the stream can carry of them."""
    selected = [
        table
        for table in tables
        if table.persistence == _PERMANENT
        and table.kind in {TableKind.TABLE, TableKind.PARTITIONED}
    ]
    roots = {
        table.oid
        for table in selected
        if table.kind is TableKind.PARTITIONED and table.has_usable_identity
    }
    parents = {table.oid: table.parent_oids for table in selected}
    leaves = [table for table in selected if is_followed(table)]
    return PublicationPlan(
        whole=tuple(
            table
            for table in selected
            if table.has_usable_identity and not _has_ancestor(table.oid, parents, roots)
        ),
        keyless=tuple(table for table in leaves if not table.has_usable_identity),
    )


def wanted_publications(
    tables: Iterable[Table], name: str, no_identity: NoIdentity
) -> tuple[WantedPublication, ...]:
    """Return the publications that a capture of ``tables`` needs, the one called ``name`` first."""
    if no_identity is NoIdentity.FULL:
        tables = [
            table if table.has_usable_identity or not is_followed(table) else _with_identity(table)
            for table in tables
        ]
    plan = plan_publication(tables)
    wanted = [WantedPublication(name, _names(plan.whole), WHOLE)]
    if plan.keyless and no_identity is NoIdentity.INSERT_ONLY:
        second = insert_publication(name)
        wanted.append(WantedPublication(second, _names(plan.keyless), INSERT_ONLY))
    return tuple(wanted)


def insert_publication(name: str) -> str:
    """Return the name of the second publication, which carries key-less tables (ruling 17)."""
    return f"{name}_insert"


def _with_identity(table: Table) -> Table:
    return replace(table, replica_identity=ReplicaIdentity.FULL)


def _names(tables: Iterable[Table]) -> frozenset[tuple[str, str]]:
    return frozenset((table.schema, table.name) for table in tables)


def _has_ancestor(oid: int, parents: dict[int, tuple[int, ...]], wanted: set[int]) -> bool:
    above = parents.get(oid, ())
    return any(parent in wanted or _has_ancestor(parent, parents, wanted) for parent in above)
