"""Which table of one side is to hold the same rows as which of the other."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from pgcopydb.model.comparison import Found, TableDifference
from pgcopydb.model.endpoint import Side
from pgcopydb.model.objects import Table, TableKind
from pgcopydb.sql.digest import ComparedColumn, RowText, compared_column, with_long_values

Name = tuple[str, str]

STORED: Final = frozenset({TableKind.TABLE, TableKind.MATERIALIZED_VIEW})
"""What holds rows of its own."""


class Holder(Struct, frozen=True):
    """A table of one side, and what holds its rows: itself, or its partitions."""

    table: Table
    leaves: tuple[Table, ...]

    @property
    def leaf_names(self) -> frozenset[Name]:
        """The tables that hold the rows."""
        return frozenset((leaf.schema, leaf.name) for leaf in self.leaves)

    @property
    def is_filled(self) -> bool:
        """Whether it can be read: a materialised view may never have been filled."""
        return all(leaf.populated for leaf in self.leaves)

    @property
    def bytes(self) -> int:
        """The size of all that has to be read."""
        return sum(leaf.bytes for leaf in self.leaves)


class Pair(Struct, frozen=True):
    """A table that both sides have. ``reasons`` say what makes it differ whatever its rows are."""

    source: Holder
    target: Holder
    columns: tuple[ComparedColumn, ...]
    key: tuple[str, ...]
    reasons: tuple[str, ...] = ()

    @property
    def name(self) -> Name:
        """Schema and name."""
        return self.source.table.schema, self.source.table.name

    def holder(self, side: Side) -> Holder:
        """Return the table of a side."""
        return self.source if side is Side.SOURCE else self.target

    def text(self, *, as_stored: bool) -> RowText:
        """Return how its rows become text on a side."""
        return RowText(self.columns, self.key, as_stored=as_stored)

    def with_long_values(self) -> "Pair":
        """Return the pair as it is compared where a row is too long for one text."""
        return replace(self, columns=with_long_values(self.columns))


def pair_tables(
    source: Iterable[Table], target: Iterable[Table]
) -> tuple[list[Pair], list[TableDifference]]:
    """Return the tables to compare, and those that only one side has, both by name.

    Partitions are compared one by one where both sides have the same ones, else all together as
    the table they belong to; so a table may be partitioned in another way on the other side.
    """
    ours, theirs = _holders(source), _holders(target)
    pairs: list[Pair] = []
    missing: list[TableDifference] = []
    for name in sorted(ours.keys() | theirs.keys()):
        if name in ours and name in theirs:
            pairs += _pairs(ours[name], theirs[name])
        else:
            found = Found.ONLY_SOURCE if name in ours else Found.ONLY_TARGET
            missing.append(_missing(name, found))
    return pairs, missing


def _holders(tables: Iterable[Table]) -> dict[Name, Holder]:
    listed = {table.oid: table for table in tables if table.kind is not TableKind.FOREIGN}
    leaves: dict[int, list[Table]] = {
        table.oid: [] for table in listed.values() if _top(table, listed) is table
    }
    for table in listed.values():
        if table.kind in STORED:
            leaves[_top(table, listed).oid].append(table)
    return {
        (listed[oid].schema, listed[oid].name): Holder(listed[oid], tuple(held))
        for oid, held in leaves.items()
    }


def _top(table: Table, listed: dict[int, Table]) -> Table:
    while table.is_partition and (parent := listed.get(table.parent_oids[0])) is not None:
        table = parent
    return table


def _pairs(ours: Holder, theirs: Holder) -> Iterator[Pair]:
    whole = _pair(ours, theirs)
    if ours.leaf_names != theirs.leaf_names or len(ours.leaves) < 2 or whole.reasons:
        yield whole
        return
    others = {(leaf.schema, leaf.name): leaf for leaf in theirs.leaves}
    for leaf in ours.leaves:
        other = others[leaf.schema, leaf.name]
        yield _pair(Holder(leaf, (leaf,)), Holder(other, (other,)))


def _pair(ours: Holder, theirs: Holder) -> Pair:
    theirs_by_name = {column.name: column for column in theirs.table.columns}
    common = [column for column in ours.table.columns if column.name in theirs_by_name]
    names = {column.name for column in common}
    return Pair(
        source=ours,
        target=theirs,
        columns=tuple(
            compared_column(column.name, column.type, theirs_by_name[column.name].type)
            for column in common
        ),
        key=_key(ours.table, names),
        reasons=tuple(
            chain(
                _lacking(Side.TARGET, ours.table, names),
                _lacking(Side.SOURCE, theirs.table, names),
                _unfilled(ours.table, theirs.table),
            )
        ),
    )


def _key(table: Table, compared: set[str]) -> tuple[str, ...]:
    """Return the columns by which a row of ``table`` is known; none where there are no such."""
    for key in (table.key_columns, table.identity_columns):
        if key and compared.issuperset(key):
            return key
    return ()


def _lacking(side: Side, table: Table, compared: set[str]) -> Iterator[str]:
    missing = [column.name for column in table.columns if column.name not in compared]
    if missing:
        yield f"the {side} lacks column {', '.join(missing)}"


def _unfilled(ours: Table, theirs: Table) -> Iterator[str]:
    if ours.populated != theirs.populated:
        yield f"is populated on the {Side.SOURCE if ours.populated else Side.TARGET} only"


def _missing(name: Name, found: Found) -> TableDifference:
    other = Side.TARGET if found is Found.ONLY_SOURCE else Side.SOURCE
    schema, table = name
    return TableDifference(
        schema=schema,
        name=table,
        source_rows=None,
        target_rows=None,
        reasons=(f"the {other} lacks it",),
    )


def readable_tables(tables: Sequence[Table]) -> list[Table]:
    """Return the tables that are read: those that store rows, and views that were filled."""
    return [table for table in tables if table.kind in STORED and table.populated]
