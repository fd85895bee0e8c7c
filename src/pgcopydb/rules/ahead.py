"""Which tables are made ahead of the others, so that their rows need not wait for all to be made.

Rows are written into a table while pg_restore goes on with the rest of the archive. So nothing in
that rest may lock the table: not what belongs to it (a default, a sequence, a privilege), which is
made with it, and no view, partition or inheriting table, for which another one is taken instead.

Nor may a row need anything of that rest. A check, a domain or a generated column may call a
function whose body reads what the archive does not say; an extension may look into its own tables,
which are filled when all others are made. Tables that need either are passed over as well.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Final

from msgspec import Struct

from pgcopydb.model.dependencies import PG_CLASS
from pgcopydb.rules.toc import TocEntry

_TABLE: Final = "TABLE"

_ADDITIONS: Final = frozenset(
    {
        *("ACL", "CHECK CONSTRAINT", "COMMENT", "DEFAULT", "SECURITY LABEL"),
        *("SEQUENCE", "SEQUENCE OWNED BY"),
    }
)
"""What belongs to one table and is made with it."""

_UNFIT: Final = frozenset(
    {
        *(_TABLE, "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE"),
        *("AGGREGATE", "EXTENSION", "FUNCTION"),
    }
)
"""What a table may not need that is made first: a relation, and what may call anything."""


class Ahead(Struct, frozen=True):
    """The entries to restore first, those that follow, and the oids of the tables made first."""

    first: tuple[TocEntry, ...]
    rest: tuple[TocEntry, ...]
    tables: frozenset[int]


def choose(entries: Sequence[TocEntry], wanted: Iterable[int], *, count: int) -> Ahead:
    """Split ``entries``, which tell what they depend on, so that tables of ``wanted`` come first.

    ``wanted`` are oids, the ones to be made first in front; ``count`` tables at most are taken.
    Both halves keep the order of the archive. What stands before all tables there comes first too.
    """
    by_id = {entry.dump_id: entry for entry in entries}
    by_key = {entry.object_key: entry for entry in entries if entry.kind == _TABLE}
    dependents: dict[int, list[TocEntry]] = defaultdict(list)
    for entry in entries:
        for needed in entry.depends:
            dependents[needed].append(entry)
    taken = {entry.dump_id for entry in takewhile(lambda one: one.kind != _TABLE, entries)}
    tables: set[int] = set()
    for oid in wanted:
        if len(tables) >= count:
            break
        table = by_key.get((PG_CLASS, oid))
        bundle = None if table is None else _bundle(table, by_id, dependents)
        if bundle is not None:
            taken |= bundle
            tables.add(oid)
    return Ahead(
        tuple(entry for entry in entries if entry.dump_id in taken),
        tuple(entry for entry in entries if entry.dump_id not in taken),
        frozenset(tables),
    )


def _bundle(
    table: TocEntry, by_id: Mapping[int, TocEntry], dependents: Mapping[int, Sequence[TocEntry]]
) -> set[int] | None:
    """Return ``table`` with all that belongs to it and is needed, None where that is too much."""
    found = {table.dump_id}
    waiting = [table]
    while waiting:
        entry = waiting.pop()
        own = entry is table or entry.kind in _ADDITIONS
        related = [by_id[number] for number in entry.depends if number in by_id]
        if own:
            added = dependents.get(entry.dump_id, ())
            if any(one.kind not in _ADDITIONS for one in added):
                return None
            related += added
        for one in related:
            if one.dump_id in found:
                continue
            if one.kind in _UNFIT:
                return None
            found.add(one.dump_id)
            waiting.append(one)
    return found
