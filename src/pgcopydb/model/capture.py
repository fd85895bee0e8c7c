"""What a change capture is about, as it was when its slot was made."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from pgcopydb.model.changes import Identities, Identity
from pgcopydb.model.filters import EVERYTHING, Filters


class OwnPublication(Struct, frozen=True):
    """A publication that a run created; ``oid`` tells it from a later one of the same name."""

    name: str
    oid: int


class PublishedTable(Struct, frozen=True):
    """A table that a publication names, partitioned ones as such; see ``Capture.published``.

    ``entry`` is the oid of its row in pg_publication_rel: another one after it was taken out and
    put back. ``version`` changes when the publication itself is altered: what it publishes, say.
    """

    schema: str
    name: str
    entry: int
    version: str


class FollowedTable(Struct, frozen=True, kw_only=True):
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
    versions: tuple[str, ...] = ()
    """Number and version of each column, which tell that one was altered to what it was."""
    contents: tuple[str, ...] = ()
    """The labels of enumerated types and the attributes of composite ones in its columns."""
    ancestors: tuple[tuple[str, str], ...] = ()
    """The partitioned tables that a partition is of, the nearest first."""
    names: tuple[str, ...] = ()
    """The names of the columns."""

    def had(self, column: str) -> bool:
        """Tell whether the table had a column of this name."""
        if self.names:
            return column in self.names
        # Written down without them; a name with a space is then taken for one that ends before it.
        return any(text.startswith(f"{column} ") for text in self.columns)


class Capture(Struct, frozen=True, kw_only=True):
    """The tables followed from ``start`` (a position) on."""

    start: int
    encoding: str
    version_num: int
    tables: tuple[FollowedTable, ...]
    partitioned: tuple[tuple[str, str], ...] = ()
    """Partitioned tables, which hold no rows but are named by a TRUNCATE."""
    views: tuple[tuple[str, str], ...] = ()
    """Materialised views, whose refresh test_decoding and wal2json may tell as changes."""
    filters: Filters = EVERYTHING
    """Which tables are followed; what the stream says of others is dropped."""
    published: tuple[PublishedTable, ...] = ()
    """What the publications name that were made for this capture."""

    def identities(self) -> Identities:
        """Return each table's replica identity, for the plugins that do not tell it."""
        return {
            (table.schema, table.name): Identity(columns=table.identity, full=table.full)
            for table in self.tables
        }

    def ancestors(self, schema: str, name: str) -> tuple[tuple[str, str], ...]:
        """Return the partitioned tables over a followed table, the nearest first."""
        return next(
            (
                table.ancestors
                for table in self.tables
                if (table.schema, table.name) == (schema, name)
            ),
            (),
        )

    def partitions(self, ancestor: tuple[str, str]) -> frozenset[tuple[str, str]]:
        """Return the followed tables that hold the rows of a partitioned one."""
        return frozenset(
            (table.schema, table.name) for table in self.tables if ancestor in table.ancestors
        )

    def names(self) -> frozenset[tuple[str, str]]:
        """Return the tables by (schema, name)."""
        return frozenset((table.schema, table.name) for table in self.tables)


def changed_tables(
    before: Iterable[FollowedTable], after: Iterable[FollowedTable]
) -> dict[tuple[str, str], str]:
    """Say in words how each followed table changed in a way that no stream tells (ruling 24).

    A new filenode alone does not count: TRUNCATE is in the stream, VACUUM FULL and CLUSTER keep
    the rows, and what alters a table alters its columns or makes new ones.
    """
    old = {(table.schema, table.name): table for table in before}
    new = {(table.schema, table.name): table for table in after}
    found = dict.fromkeys(new.keys() - old.keys(), "was made after the change capture began")
    found |= dict.fromkeys(old.keys() - new.keys(), "was dropped, renamed or made unlogged")
    both = old.keys() & new.keys()
    moved = {name for name in both if old[name].ancestors != new[name].ancestors}
    for name in moved:
        ancestors = set(old[name].ancestors) ^ set(new[name].ancestors)
        found |= dict.fromkeys(ancestors, "lost or got a partition")
    found |= {
        name: difference for name in both if (difference := _difference(old[name], new[name]))
    }
    return dict(sorted(found.items()))


def published_otherwise(
    capture: Capture, now: Iterable[PublishedTable]
) -> dict[tuple[str, str], str]:
    """Say of each followed table why the publications may have left out changes of it.

    Those that are not named any more are left out: a table may be published by its root instead.
    """
    there = {(one.schema, one.name): one for one in now}
    found: dict[tuple[str, str], str] = {}
    for one in capture.published:
        name = (one.schema, one.name)
        if one.entry != (after := there.get(name, one)).entry:
            found[name] = "was taken out of the publication for a while"
        elif one.version != after.version:
            found[name] = "is in a publication that was altered"
    if not found:  # as nearly always, and there may be many tables
        return {}
    return {
        (table.schema, table.name): found[name]
        for table in capture.tables
        for name in ((table.schema, table.name), *table.ancestors)
        if name in found
    }


def rewritten_tables(
    before: Iterable[FollowedTable], filenodes: Mapping[tuple[str, str], int]
) -> frozenset[tuple[str, str]]:
    """Return the followed tables whose rows are in another file than ``before``.

    That is what is left to see of a table that was unlogged for a while, of which a stream says
    nothing; TRUNCATE, VACUUM FULL and CLUSTER look the same.
    """
    return frozenset(
        (table.schema, table.name)
        for table in before
        if filenodes.get((table.schema, table.name), table.filenode) != table.filenode
    )


def _difference(old: FollowedTable, new: FollowedTable) -> str:
    if old.columns != new.columns:
        gone = [f"-{text}" for text in old.columns if text not in new.columns]
        come = [f"+{text}" for text in new.columns if text not in old.columns]
        return f"changed its columns ({', '.join(gone + come) or 'their order'})"
    if old.versions and old.versions != new.versions:
        return "had columns altered or was made anew"
    if gone := sorted(set(old.contents) - set(new.contents)):
        return f"holds values of a type that was altered: it was {gone[0]}"
    if (old.identity, old.full) != (new.identity, new.full):
        return "changed its replica identity"
    return ""
