"""Which tables a publication may hold so that it never breaks a write on the source (ruling 16).

A published table without a usable replica identity makes every UPDATE and DELETE of the
application fail (correctness M12), and a partition made later under a published root without a
key does the same. So a root stands for its partitions only when its own key does.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pgcopydb.model.objects import Table, TableKind

_PERMANENT = "p"


@dataclass(frozen=True, slots=True)
class PublicationPlan:
    """``whole`` carries every change; ``keyless`` cannot carry updates and deletes."""

    whole: tuple[Table, ...]
    keyless: tuple[Table, ...]


def is_followed(table: Table) -> bool:
    """Tell whether changes of the table's own rows are in the stream at all."""
    return table.kind is TableKind.TABLE and table.persistence == _PERMANENT


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


def _has_ancestor(oid: int, parents: dict[int, tuple[int, ...]], wanted: set[int]) -> bool:
    above = parents.get(oid, ())
    return any(parent in wanted or _has_ancestor(parent, parents, wanted) for parent in above)
