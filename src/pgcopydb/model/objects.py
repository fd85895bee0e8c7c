"""What a database holds, as its catalogue describes it: the rows of ``postgres.discover``.

Names are as stored, unquoted. Oids belong to the server that was asked. Fields have the names of
the queries' columns.
"""

from enum import StrEnum

from msgspec import Struct


class TableKind(StrEnum):
    """pg_class.relkind of what holds or stands for rows."""

    TABLE = "r"
    PARTITIONED = "p"
    MATERIALIZED_VIEW = "m"
    FOREIGN = "f"


class ReplicaIdentity(StrEnum):
    """pg_class.relreplident: which columns of an old row the stream carries."""

    DEFAULT = "d"
    NOTHING = "n"
    FULL = "f"
    INDEX = "i"


class ConstraintKind(StrEnum):
    """pg_constraint.contype."""

    CHECK = "c"
    FOREIGN_KEY = "f"
    PRIMARY_KEY = "p"
    UNIQUE = "u"
    EXCLUSION = "x"


class ServerFacts(Struct, frozen=True, kw_only=True):
    """A server and one database of it.

    ``system_identifier`` and ``timeline`` are None where the role may not read them.
    ``started_at`` is the postmaster's start, which tells two servers behind one address apart.
    """

    system_identifier: int | None
    timeline: int | None
    version_num: int
    version: str
    database_oid: int
    database: str
    encoding: str
    collation: str
    ctype: str
    in_recovery: bool
    started_at: str
    wal_level: str
    role: str
    is_superuser: bool
    may_replicate: bool
    extensions: tuple[str, ...]
    provider: str = "c"
    locale: str | None = None
    """What sorts text: libc ("c") by ``collation``, or ICU ("i") or the server ("b") by this."""

    @property
    def identity(self) -> str:
        """What tells the database from every other: system identifier and database oid."""
        return f"{self.system_identifier}/{self.database_oid}"

    @property
    def major(self) -> int:
        """The major version, such as 16."""
        return self.version_num // 10000


class Column(Struct, frozen=True, kw_only=True, gc=False):
    """A column of a relation.

    ``type_modifier`` is -1 for none. ``type_names`` are those by which the type may be called: as
    SQL prints it without modifiers and as schema.name, and the same of what a domain is made of.
    ``generated`` is "" or how: "s"(tored), "v"(irtual). ``identity`` is "" or "a"(lways) or
    "d" (by default). ``version`` changes when the column is altered, even to the same type.
    ``enumerated`` tells whether the type is an enumerated one, or a domain of one; ``composite``
    names the composite type that it is, or a domain of.
    """

    number: int
    name: str
    type: str
    type_oid: int
    type_modifier: int
    type_names: tuple[str, ...]
    not_null: bool
    generated: str
    identity: str
    default: str | None
    """The default or generating expression as SQL text."""
    collation: str | None
    version: str
    enumerated: bool = False
    composite: str | None = None

    @property
    def is_generated(self) -> bool:
        """Whether the server computes it, so that it is never copied or written."""
        return self.generated != ""


class UnwritableTable(Struct, frozen=True, kw_only=True):
    """A table that a role may not write, with the privileges on it that it lacks."""

    schema: str
    name: str
    may_use_schema: bool
    lacking: tuple[str, ...]


class Table(Struct, frozen=True, kw_only=True, gc=False):
    """A table, partitioned table, materialised view or foreign table.

    ``filenode`` is what the transaction's snapshot shows, and changes when the table is rewritten.
    ``bytes`` is heap and TOAST without indexes, ``pages`` the heap's pages now; ``row_estimate`` is
    -1 for a table that was never analysed. ``key_columns`` is a primary key that is valid and not
    deferrable; ``identity_columns`` are those whose old values the stream carries, in key order:
    empty for FULL, for NOTHING and where no usable key is there.
    """

    oid: int
    schema: str
    name: str
    kind: TableKind
    persistence: str
    access_method: str | None
    tablespace: str | None
    owner: str
    filenode: int
    row_estimate: int
    bytes: int
    pages: int
    is_partition: bool
    parent_oids: tuple[int, ...]
    columns: tuple[Column, ...]
    key_columns: tuple[str, ...]
    replica_identity: ReplicaIdentity
    identity_columns: tuple[str, ...]
    row_security_applies: bool
    """Whether this role would see only the rows that policies let it see."""
    readable: bool
    populated: bool

    @property
    def has_rows(self) -> bool:
        """Whether it stores rows of its own that a copy carries."""
        return self.kind is TableKind.TABLE

    @property
    def copied_columns(self) -> tuple[Column, ...]:
        """The columns whose values travel: all that the server does not compute."""
        return tuple(column for column in self.columns if not column.is_generated)

    @property
    def has_usable_identity(self) -> bool:
        """Whether its updates and deletes can be carried without changing it (ruling 17)."""
        return self.replica_identity is ReplicaIdentity.FULL or bool(self.identity_columns)


class Index(Struct, frozen=True, kw_only=True, gc=False):
    """An index, and the constraint that it serves if there is one.

    ``constraint_*`` are None for a plain index. ``statistics`` pairs column numbers with targets
    that were set by hand. ``parent_oid`` is the index of the partitioned table it is attached to.
    """

    oid: int
    schema: str
    name: str
    table_oid: int
    table_schema: str
    table_name: str
    definition: str
    access_method: str
    bytes: int
    is_primary: bool
    is_unique: bool
    is_exclusion: bool
    is_immediate: bool
    is_valid: bool
    is_replica_identity: bool
    is_clustered: bool
    is_partitioned: bool
    parent_oid: int | None
    tablespace: str | None
    statistics: tuple[tuple[int, int], ...]
    constraint_oid: int | None
    constraint_name: str | None
    constraint_kind: ConstraintKind | None
    constraint_definition: str | None
    constraint_deferrable: bool
    constraint_deferred: bool


class Constraint(Struct, frozen=True, kw_only=True, gc=False):
    """A constraint of a table, with the text that ALTER TABLE ... ADD CONSTRAINT takes.

    ``parent_oid`` is the constraint of the partitioned table from which it came: such a one is
    made by making its parent.
    """

    oid: int
    name: str
    kind: ConstraintKind
    table_oid: int
    table_schema: str
    table_name: str
    definition: str
    is_validated: bool
    is_deferrable: bool
    parent_oid: int | None
    referenced_oid: int | None
    referenced_schema: str | None
    referenced_name: str | None


class Sequence(Struct, frozen=True, kw_only=True):
    """A sequence and the column that owns it, if one does.

    ``dependency`` is "a" for a serial column's, "i" for an identity column's.
    """

    oid: int
    schema: str
    name: str
    owner: str
    type: str
    start: int
    increment: int
    minimum: int
    maximum: int
    cache: int
    cycles: bool
    persistence: str
    table_oid: int | None
    table_schema: str | None
    table_name: str | None
    column_name: str | None
    dependency: str | None
    readable: bool


class SequenceValue(Struct, frozen=True):
    """Where a sequence stands: ``is_called`` tells whether ``last_value`` was handed out."""

    oid: int
    last_value: int
    is_called: bool


class NamedObject(Struct, frozen=True):
    """A function, type, view, schema or the like: its kind and full name as one text.

    ``schema`` is where it lives, or itself for a schema, None for what lives in none.
    """

    schema: str | None
    text: str


class Grant(Struct, frozen=True):
    """One privilege on an object. ``grantee`` is None for PUBLIC."""

    grantor: str
    grantee: str | None
    privilege: str
    grantable: bool


class LargeObject(Struct, frozen=True, kw_only=True):
    """A large object without its bytes. ``grants`` is None where nothing was granted or revoked."""

    oid: int
    owner: str
    comment: str | None
    grants: tuple[Grant, ...] | None


class Database(Struct, frozen=True, kw_only=True):
    """A database of a server.

    ``provider`` is that of its collation ("c" for libc, "i" for ICU, "b" for the built-in one) and
    ``locale`` the ICU or built-in locale. ``bytes`` is None where the role may not connect to it.
    """

    oid: int
    name: str
    owner: str
    encoding: str
    provider: str
    collation: str
    ctype: str
    locale: str | None
    tablespace: str
    is_template: bool
    allows_connections: bool
    connection_limit: int
    bytes: int | None


class ConfigurationTable(Struct, frozen=True, kw_only=True):
    """A table of an extension whose rows, those that meet ``condition``, belong to its users."""

    schema: str
    name: str
    condition: str
    """SQL text that begins with WHERE, or "" for all rows."""


class Extension(Struct, frozen=True, kw_only=True):
    """An extension that is created in the database; ``schema`` is where its objects are."""

    oid: int
    name: str
    version: str
    schema: str
    owner: str
    is_relocatable: bool
    comment: str | None
    configuration_tables: tuple[ConfigurationTable, ...]


class ExtensionVersion(Struct, frozen=True, kw_only=True):
    """A version of an extension that could be created on the server.

    ``schema`` is the one that it insists on; ``requires`` names the extensions it needs.
    """

    name: str
    version: str
    is_default: bool
    is_installed: bool
    superuser: bool
    trusted: bool
    is_relocatable: bool
    schema: str | None
    requires: tuple[str, ...]


class Collation(Struct, frozen=True, kw_only=True):
    """A collation that users created, or that the database, a column or an index uses.

    ``provider`` is as for a database. ``version`` is the one that indexes were built with and
    ``actual_version`` the one that the server's libraries have now; None where there are none.
    ``used_by`` names what uses it, as pg_describe_object does.
    """

    oid: int
    schema: str
    name: str
    provider: str
    collation: str | None
    ctype: str | None
    locale: str | None
    is_deterministic: bool
    version: str | None
    actual_version: str | None
    used_by: tuple[str, ...]


class IndexBuild(Struct, frozen=True, kw_only=True):
    """An index of a table that is being built: what the server does now, and how much of that.

    ``fraction`` (0 to 1) is None where the server does not tell.
    """

    schema: str
    name: str
    """Of the table."""
    phase: str
    fraction: float | None
