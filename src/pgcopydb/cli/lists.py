"""What the ``list`` commands print: for each kind of object its table and its JSON.

The members of the JSON objects are described in ``docs/reference/lists.md``; scripts rely on them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct

from pgcopydb.cli.render import Right, aligned, as_json_text, size
from pgcopydb.errors import some_of
from pgcopydb.model.objects import (
    Collation,
    Database,
    Extension,
    ExtensionVersion,
    Index,
    SequenceValue,
    Table,
)
from pgcopydb.model.objects import Sequence as DatabaseSequence
from pgcopydb.model.parts import Part, PartKind
from pgcopydb.postgres.selection import Dependency

T = TypeVar("T")

_NONE: Final = "-"
_PROVIDERS: Final = {"c": "libc", "i": "icu", "b": "builtin", "d": "default"}


class Listing(Struct, Generic[T], frozen=True):
    """How objects of one kind are shown: as a line of a table, or as an object of a JSON array."""

    headings: Sequence[str]
    cells: Callable[[T], Sequence[str | int]]
    members: Callable[[T], dict[str, Any]]

    def text(self, objects: Iterable[T], *, as_json: bool) -> str:
        """Return all ``objects``, in their order; the table of none is empty, JSON an array."""
        if as_json:
            return as_json_text([self.members(one) for one in objects])
        lines = [self.cells(one) for one in objects]
        return aligned(self.headings, lines) if lines else ""


def _known(value: object) -> str:
    return _NONE if value is None else str(value)


def _sized(count: int | None) -> Right:
    return Right(_NONE) if count is None else size(count)


# -- databases, extensions, collations -------------------------------------------------------------


def _database_members(database: Database) -> dict[str, Any]:
    return {
        "oid": database.oid,
        "name": database.name,
        "owner": database.owner,
        "bytes": database.bytes,
        "encoding": database.encoding,
        "locale_provider": _PROVIDERS.get(database.provider, database.provider),
        "collation": database.collation,
        "ctype": database.ctype,
        "locale": database.locale,
        "tablespace": database.tablespace,
        "is_template": database.is_template,
        "allows_connections": database.allows_connections,
        "connection_limit": database.connection_limit,
    }


DATABASES: Final[Listing[Database]] = Listing(
    ["database", "owner", "size", "encoding", "collation", "remark"],
    lambda database: [
        database.name,
        database.owner,
        _sized(database.bytes),
        database.encoding,
        database.locale or database.collation,
        "template" if database.is_template else "",
    ],
    _database_members,
)


def extension_members(extension: Extension) -> dict[str, Any]:
    """Return the members of an extension in JSON."""
    return {
        "oid": extension.oid,
        "name": extension.name,
        "version": extension.version,
        "schema": extension.schema,
        "owner": extension.owner,
        "is_relocatable": extension.is_relocatable,
        "comment": extension.comment,
        "configuration_tables": [
            {"schema": table.schema, "name": table.name, "condition": table.condition or None}
            for table in extension.configuration_tables
        ],
    }


EXTENSIONS: Final[Listing[Extension]] = Listing(
    ["extension", "version", "schema", "owner", "configuration tables"],
    lambda extension: [
        extension.name,
        extension.version,
        extension.schema,
        extension.owner,
        ", ".join(f"{table.schema}.{table.name}" for table in extension.configuration_tables),
    ],
    extension_members,
)

REQUIREMENTS: Final[Listing[Extension]] = Listing(
    ["extension", "version"],
    lambda extension: [extension.name, extension.version],
    lambda extension: {"name": extension.name, "version": extension.version},
)
"""What ``clone --requirements`` takes back, as JSON."""


def _version_members(offered: ExtensionVersion) -> dict[str, Any]:
    return {
        "name": offered.name,
        "version": offered.version,
        "is_default": offered.is_default,
        "is_installed": offered.is_installed,
        "superuser": offered.superuser,
        "trusted": offered.trusted,
        "is_relocatable": offered.is_relocatable,
        "schema": offered.schema,
        "requires": offered.requires,
    }


EXTENSION_VERSIONS: Final[Listing[ExtensionVersion]] = Listing(
    ["extension", "version", "state", "needs", "requires"],
    lambda offered: [
        offered.name,
        offered.version,
        "installed" if offered.is_installed else "default" if offered.is_default else "",
        "superuser" if offered.superuser and not offered.trusted else "",
        ", ".join(offered.requires),
    ],
    _version_members,
)


def _collation_members(collation: Collation) -> dict[str, Any]:
    return {
        "oid": collation.oid,
        "schema": collation.schema,
        "name": collation.name,
        "provider": _PROVIDERS.get(collation.provider, collation.provider),
        "collation": collation.collation,
        "ctype": collation.ctype,
        "locale": collation.locale,
        "is_deterministic": collation.is_deterministic,
        "version": collation.version,
        "actual_version": collation.actual_version,
        "used_by": collation.used_by,
    }


COLLATIONS: Final[Listing[Collation]] = Listing(
    ["schema", "collation", "provider", "locale", "version", "used by"],
    lambda collation: [
        collation.schema,
        collation.name,
        _PROVIDERS.get(collation.provider, collation.provider),
        _known(collation.locale or collation.collation),
        _version(collation),
        some_of(collation.used_by, 1) or _NONE,
    ],
    _collation_members,
)


def _version(collation: Collation) -> str:
    if collation.version == collation.actual_version or collation.actual_version is None:
        return _known(collation.version)
    return f"{_known(collation.version)} (server now has {collation.actual_version})"


# -- tables and their parts ------------------------------------------------------------------------


def table_members(table: Table) -> dict[str, Any]:
    """Return the members of a table in JSON."""
    return {
        "oid": table.oid,
        "schema": table.schema,
        "name": table.name,
        "owner": table.owner,
        "bytes": table.bytes,
        "pages": table.pages,
        "row_estimate": None if table.row_estimate < 0 else table.row_estimate,
        "primary_key": table.key_columns,
        "has_replica_identity": table.has_usable_identity,
        "is_partition": table.is_partition,
        "is_unlogged": table.persistence == "u",
    }


TABLES: Final[Listing[Table]] = Listing(
    ["schema", "table", "rows (estimate)", "size", "primary key"],
    lambda table: [
        table.schema,
        table.name,
        Right(_NONE if table.row_estimate < 0 else table.row_estimate),
        size(table.bytes),
        ", ".join(table.key_columns) or "none",
    ],
    table_members,
)


class TablePart(Struct, frozen=True):
    """A part of a table as the copy would make it."""

    table: Table
    part: Part


def _part_members(one: TablePart) -> dict[str, Any]:
    return {
        "oid": one.table.oid,
        "schema": one.table.schema,
        "name": one.table.name,
        "part": one.part.number,
        "parts": one.part.count,
        "kind": one.part.kind,
        "column": one.part.column,
        "lower": one.part.lower,
        "upper": one.part.upper,
        "bytes": one.part.bytes,
    }


def _range(part: Part) -> str:
    if part.kind is PartKind.WHOLE:
        return "the whole table"
    what = "block" if part.kind is PartKind.BLOCKS else part.column or ""
    lower = "" if part.lower is None else f"{part.lower} <= "
    upper = "" if part.upper is None else f" < {part.upper}"
    return f"{lower}{what}{upper}"


TABLE_PARTS: Final[Listing[TablePart]] = Listing(
    ["schema", "table", "part", "size (estimate)", "rows with"],
    lambda one: [
        one.table.schema,
        one.table.name,
        Right(f"{one.part.number}/{one.part.count}"),
        size(one.part.bytes),
        _range(one.part),
    ],
    _part_members,
)


# -- sequences and indexes -------------------------------------------------------------------------


class StandingSequence(Struct, frozen=True):
    """A sequence and where it stands; None where the role may not read it."""

    sequence: DatabaseSequence
    value: SequenceValue | None


def _owner_column(sequence: DatabaseSequence) -> str | None:
    if sequence.column_name is None:
        return None
    return f"{sequence.table_schema}.{sequence.table_name}.{sequence.column_name}"


def sequence_members(one: StandingSequence) -> dict[str, Any]:
    """Return the members of a sequence in JSON."""
    sequence, value = one.sequence, one.value
    return {
        "oid": sequence.oid,
        "schema": sequence.schema,
        "name": sequence.name,
        "owner": sequence.owner,
        "type": sequence.type,
        "last_value": None if value is None else value.last_value,
        "is_called": None if value is None else value.is_called,
        "start": sequence.start,
        "increment": sequence.increment,
        "minimum": sequence.minimum,
        "maximum": sequence.maximum,
        "cache": sequence.cache,
        "cycles": sequence.cycles,
        "table_schema": sequence.table_schema,
        "table_name": sequence.table_name,
        "column_name": sequence.column_name,
        "is_identity": sequence.dependency == "i",
    }


SEQUENCES: Final[Listing[StandingSequence]] = Listing(
    ["schema", "sequence", "type", "last value", "called", "owned by"],
    lambda one: [
        one.sequence.schema,
        one.sequence.name,
        one.sequence.type,
        Right(_known(one.value and one.value.last_value)),
        _NONE if one.value is None else "yes" if one.value.is_called else "no",
        _known(_owner_column(one.sequence)),
    ],
    sequence_members,
)


def index_members(index: Index) -> dict[str, Any]:
    """Return the members of an index in JSON."""
    return {
        "oid": index.oid,
        "schema": index.schema,
        "name": index.name,
        "table_schema": index.table_schema,
        "table_name": index.table_name,
        "access_method": index.access_method,
        "bytes": index.bytes,
        "is_primary": index.is_primary,
        "is_unique": index.is_unique,
        "is_valid": index.is_valid,
        "is_partitioned": index.is_partitioned,
        "definition": index.definition,
        "constraint_name": index.constraint_name,
        "constraint_kind": index.constraint_kind and index.constraint_kind.name.lower(),
        "constraint_definition": index.constraint_definition,
    }


INDEXES: Final[Listing[Index]] = Listing(
    ["schema", "table", "index", "size", "constraint", "definition"],
    lambda index: [
        index.table_schema,
        index.table_name,
        index.name if index.is_valid else f"{index.name} (invalid)",
        size(index.bytes),
        index.constraint_kind.name.lower().replace("_", " ") if index.constraint_kind else _NONE,
        index.definition,
    ],
    index_members,
)


# -- dependencies ----------------------------------------------------------------------------------

DEPENDENCIES: Final[Listing[Dependency]] = Listing(
    ["object", "needs"],
    lambda one: [one.object, one.needs],
    lambda one: {"object": one.object, "needs": one.needs},
)
