"""What a change capture is about, as it was when its slot was made."""

from collections.abc import Iterable
from dataclasses import dataclass

from pgcopydb.model.changes import Identities, Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedTable:
    """A table whose changes are captured, with what must not change unnoticed (ruling 24)."""

    schema: str
    name: str
    columns: tuple[str, ...]
    """Name, type, nullability and default of each column, as one comparable text."""
    identity: tuple[str, ...]
    full: bool
    keyless: bool
    filenode: int
    generated: tuple[str, ...] = ()
    """Columns that the server computes."""
    always: tuple[str, ...] = ()
    """Columns GENERATED ALWAYS AS IDENTITY, to which no UPDATE can give a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """The tables followed from ``start`` (a position) on."""

    start: int
    encoding: str
    version_num: int
    tables: tuple[FollowedTable, ...]
    partitioned: tuple[tuple[str, str], ...] = ()
    """Partitioned tables, which hold no rows but are named by a TRUNCATE."""

    def identities(self) -> Identities:
        """Return each table's replica identity, for the plugins that do not tell it."""
        return {
            (table.schema, table.name): Identity(columns=table.identity, full=table.full)
            for table in self.tables
        }

    def names(self) -> frozenset[tuple[str, str]]:
        """Return the tables by (schema, name)."""
        return frozenset((table.schema, table.name) for table in self.tables)


def differences(before: Iterable[FollowedTable], after: Iterable[FollowedTable]) -> list[str]:
    """Say in words how the followed tables of a source changed; empty when they did not."""
    old = {(table.schema, table.name): table for table in before}
    new = {(table.schema, table.name): table for table in after}
    found = [f"table {schema}.{name} was added" for schema, name in sorted(new.keys() - old.keys())]
    found += [
        f"table {schema}.{name} was dropped" for schema, name in sorted(old.keys() - new.keys())
    ]
    for key in sorted(old.keys() & new.keys()):
        found += _table_differences(old[key], new[key])
    return found


def _table_differences(old: FollowedTable, new: FollowedTable) -> list[str]:
    label = f"{old.schema}.{old.name}"
    if old.columns != new.columns:
        gone = [text for text in old.columns if text not in new.columns]
        come = [text for text in new.columns if text not in old.columns]
        return [
            f"table {label} changed its columns: "
            + ", ".join([f"-{text}" for text in gone] + [f"+{text}" for text in come])
        ]
    if (old.identity, old.full) != (new.identity, new.full):
        return [f"table {label} changed its replica identity"]
    return []
