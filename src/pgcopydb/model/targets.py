"""What apply must know of a table on the target, to write a change of the source to it."""

from dataclasses import dataclass, field

from msgspec import Struct

from pgcopydb.model.changes import Relation


class TargetColumn(Struct, frozen=True):
    """A column of a target table; ``exact`` says that ``=`` finds exactly the bytes looked for.

    For numeric, float, interval, jsonb, citext and the like two values can be equal and print
    differently, and some types have no equality at all: those are compared by their text.
    ``number`` and ``version`` tell later whether it is still the same column, and as it was.
    ``type_names`` are those by which the type may be called (see ``model.objects.Column``), none
    when they are not known; ``modifier`` is its type modifier, -1 for none. ``composite`` names the
    composite type that the column is of, or of a domain of which.
    """

    name: str
    type: str
    generated: bool
    identity_always: bool
    exact: bool
    number: int = 0
    version: str = ""
    type_names: tuple[str, ...] = ()
    modifier: int = -1
    composite: str | None = None


@dataclass(frozen=True, slots=True)
class TargetTable:
    """A table of the target; ``columns`` by name, ``key`` the columns of its primary key.

    ``ordered`` says that its changes must be made one by one in the source's order: it has a
    deferrable unique or an exclusion constraint, which nothing checks while triggers are silent
    (ruling 19). ``filenode`` is as in :class:`TableShape`.
    """

    schema: str
    name: str
    partitioned: bool
    columns: dict[str, TargetColumn] = field(hash=False)
    key: tuple[str, ...] = ()
    ordered: bool = False
    filenode: int = 0

    @property
    def shape(self) -> "TableShape":
        """What tells later whether the table was altered."""
        columns = self.columns.values()
        return TableShape(
            schema=self.schema,
            name=self.name,
            filenode=self.filenode,
            columns=tuple(column.name for column in columns),
            types=tuple(column.type for column in columns),
            numbers=tuple(column.number for column in columns),
            versions=tuple(column.version for column in columns),
        )


class TableShape(Struct, frozen=True, kw_only=True):
    """The columns of a target table, to tell later whether they were altered.

    ``columns``, ``types`` (as SQL prints them), ``numbers`` and ``versions`` go together; a version
    changes when its column is altered, even to the same type. ``filenode`` changes when the rows
    are written anew, and is 0 for a partitioned table.
    """

    schema: str
    name: str
    filenode: int
    columns: tuple[str, ...]
    types: tuple[str, ...]
    numbers: tuple[int, ...]
    versions: tuple[str, ...]


class Route(Struct, frozen=True):
    """Where the rows of one relation of the stream go, by positions in the relation's columns.

    ``key`` finds a row (empty where there is no key), ``full`` says that only the whole old row
    does. ``stored`` are the columns that the target takes, the others it computes; ``settable``
    are those of them that an UPDATE may set, ``always`` the others: GENERATED ALWAYS AS IDENTITY.
    ``partitions`` are all tables of the source whose rows are in ``table``, where the relation is
    one of several partitions that the target has not: it is partitioned otherwise, or not at all.
    """

    relation: Relation
    table: TargetTable
    key: tuple[int, ...]
    full: bool
    stored: tuple[int, ...]
    settable: tuple[int, ...]
    always: tuple[int, ...]
    partitions: frozenset[tuple[str, str]] = frozenset()
