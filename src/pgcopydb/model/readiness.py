"""What is read on each server to tell whether a migration can be done: facts without judgement.

The fields have the names of the queries' columns. Sizes are bytes, durations seconds.
"""

from enum import StrEnum

from msgspec import Struct

from pgcopydb.model.filters import EVERYTHING, Filters
from pgcopydb.model.objects import Constraint, Extension, NamedObject, ServerFacts, Table
from pgcopydb.model.options import CopyOptions, FollowOptions


class Intent(Struct, frozen=True, kw_only=True):
    """What is about to be done, and what is known to be there for it already.

    ``copy`` is None where the rows are on the target already, ``follow`` where nothing is captured.
    ``left_in`` is the identity of the database that holds what an unfinished run made, which is
    started over; ``replaces_capture`` says that its slot, publication and origin are dropped first,
    ``captured`` that slot and publication were made before, for this very work, and ``prepared``
    that the target records already how far that is applied.
    """

    copy: CopyOptions | None
    follow: FollowOptions | None
    filters: Filters = EVERYTHING
    left_in: str | None = None
    replaces_capture: bool = False
    captured: bool = False
    prepared: bool = False


class Blocker(Struct, frozen=True, kw_only=True):
    """A transaction with writes on the source. ``name`` is a session's pid, or a prepared's gid."""

    kind: str
    """"session" or "prepared"."""
    name: str
    role: str
    seconds: float


class AvailableExtension(Struct, frozen=True, kw_only=True):
    """An extension that the target has, or could create."""

    name: str
    default_version: str | None
    installed_version: str | None
    versions: tuple[str, ...]
    creatable: bool
    """Whether the role may create it: a superuser any, others what is marked trusted."""
    owned: bool
    """Whether it is installed, and the role has its owner's rights."""


class Collation(Struct, frozen=True, kw_only=True):
    """A collation with the version of its library that it was made with, and that of now.

    ``name`` is empty for the database's own.
    """

    schema: str
    name: str
    recorded_version: str | None
    actual_version: str | None


class BuildOption(StrEnum):
    """What a server may be built without, named as its makers do."""

    ICU = "ICU"
    LZ4 = "LZ4"
    LIBXML = "libxml"


class BuildNeed(Struct, frozen=True, kw_only=True):
    """A collation (``column`` is None), or a column, that wants a server built with ``option``."""

    option: BuildOption
    schema: str
    name: str
    """Of the collation, or of the column's table."""
    column: str | None


class Trigger(Struct, frozen=True, kw_only=True):
    """A trigger that fires although ``session_replication_role`` is replica."""

    schema: str
    table: str
    name: str


class SuperuserObject(Struct, frozen=True, kw_only=True):
    """An object that a server lets only a superuser create.

    ``catalog`` and ``oid`` are as pg_depend has them, ``kind`` and ``name`` as pg_identify_object.
    """

    catalog: int
    oid: int
    kind: str
    name: str


class RightNeed(Struct, frozen=True, kw_only=True):
    """An object whose owner needs a right on something else.

    A foreign server needs USAGE of its ``wrapper``, a publication (``wrapper`` is None) CREATE on
    the database. ``catalog`` and ``oid`` are as pg_depend has them.
    """

    catalog: int
    oid: int
    name: str
    owner: str
    wrapper: str | None


class DefaultPrivilege(Struct, frozen=True, kw_only=True):
    """Rights that ``grantees`` get on what ``role`` creates in future.

    ``catalog`` and ``oid`` are as pg_depend has them. ``schema`` is None where it may be created in
    any, ``kind`` what is created in ALTER DEFAULT PRIVILEGES' own word.
    """

    catalog: int
    oid: int
    role: str
    schema: str | None = None
    kind: str = "TABLES"
    grantees: tuple[str, ...]
    to_public: bool = False
    """Whether everybody gets some too."""


class GivenUp(Struct, frozen=True, kw_only=True):
    """An object that PostgreSQL cannot make any more ``since`` a major version.

    ``catalog`` and ``oid`` are as pg_depend has them, ``name`` as pg_identify_object.
    """

    catalog: int
    oid: int
    name: str
    since: int


class NewFeature(Struct, frozen=True, kw_only=True):
    """An object with a ``feature`` that PostgreSQL has ``since`` a major version.

    ``catalog`` and ``oid`` are as pg_depend has them, ``name`` as pg_identify_object.
    """

    feature: str
    since: int
    catalog: int
    oid: int
    name: str


class SystemName(Struct, frozen=True, kw_only=True):
    """Something of the server's own that queries or expressions of users' objects use.

    ``kind`` is relation, column, function, columns of function, or operator. ``detail`` is the
    column, the columns in their order, or the types that the operator stands between. A function
    takes ``least`` to ``most`` arguments. ``text`` is how PostgreSQL writes it. ``users`` are the
    catalogs and oids of what uses it; None where nobody asked for them.
    """

    kind: str
    schema: str
    name: str
    detail: str
    least: int
    most: int
    text: str
    users: tuple[tuple[int, int], ...] | None = None


class ExpressionObject(Struct, frozen=True, kw_only=True):
    """What has a query or an expression: a view, a default value, a constraint, and so on.

    ``catalog`` and ``oid`` are as pg_depend has them, ``kind`` and ``name`` as pg_identify_object.
    """

    catalog: int
    oid: int
    kind: str
    name: str


class StrangeGrant(Struct, frozen=True, kw_only=True):
    """An object on which somebody else than its owner has given rights.

    ``catalog`` and ``oid`` are as pg_depend has them, ``name`` as pg_identify_object.
    """

    catalog: int
    oid: int
    name: str
    grantors: tuple[str, ...]


class SharedSchema(Struct, frozen=True, kw_only=True, order=True):
    """A schema of ``owner`` that holds something of an ``other`` role's."""

    schema: str
    owner: str
    other: str


class Questions(Struct, frozen=True, kw_only=True):
    """What is asked of the target because of what the source has.

    ``kinds`` are those of objects that only a superuser may create, ``settings`` what functions
    set, each ``name=value``, and ``shared`` the schemas of one role with objects of another.
    """

    kinds: frozenset[str] = frozenset()
    settings: frozenset[str] = frozenset()
    shared: tuple[SharedSchema, ...] = ()


class Routine(Struct, frozen=True, kw_only=True):
    """A function or procedure; ``settings`` are the ``name=value`` that its calls run with.

    ``catalog`` and ``oid`` are as pg_depend has them.
    """

    catalog: int
    oid: int
    schema: str
    name: str
    language: str
    settings: tuple[str, ...]


class Refusal(StrEnum):
    """Why a server does not store a setting."""

    RIGHT = "right"
    NAME = "name"
    VALUE = "value"


class SettingRefusal(Struct, frozen=True, kw_only=True):
    """A ``name=value`` that a server does not store for the role, and what it says."""

    setting: str
    reason: Refusal
    message: str

    @property
    def parameter(self) -> str:
        """The name of the parameter."""
        return self.setting.partition("=")[0]


class ForeignDataWrapper(Struct, frozen=True, kw_only=True):
    """A foreign data wrapper, and the roles that may make servers of it."""

    name: str
    users: tuple[str, ...]


class SystemRight(Struct, frozen=True, kw_only=True):
    """A function or relation of pg_catalog or an extension, as pg_identify_object names it.

    ``is_open``: the role has some right on it; ``is_changed``: initdb, or the extension, gave other
    rights.
    """

    name: str
    extension: str | None = None
    is_open: bool
    is_changed: bool


class ServerRoom(Struct, frozen=True, kw_only=True):
    """How many sessions a server takes, how many are there, its lock table, and its workers.

    ``reserved_connections`` are those that this role cannot have, unless it is a superuser.
    ``role_connections`` and ``database_connections`` are limits, below 0 for none;
    ``used_in_database`` are the sessions that count for the latter.
    """

    max_connections: int
    reserved_connections: int
    used_connections: int
    role_connections: int
    database_connections: int
    used_in_database: int
    max_locks_per_transaction: int
    max_parallel_maintenance_workers: int
    max_parallel_workers: int
    max_worker_processes: int
    lock_room: int


class ReplicationSettings(Struct, frozen=True, kw_only=True):
    """What logical decoding needs of a server.

    ``plugin_libraries`` is None where the server does not restrict or does not say them;
    ``max_slot_wal_keep`` and ``idle_slot_timeout`` are None without a limit. ``may_create`` tells
    whether the role may create schemas and publications in the database. ``used_origins`` is of the
    cluster.
    """

    max_slots: int
    used_slots: int
    max_senders: int
    used_senders: int
    max_slot_wal_keep: int | None
    idle_slot_timeout: float | None
    plugin_libraries: str | None
    max_origins: int
    used_origins: int
    may_create: bool


class PublicationState(Struct, frozen=True, kw_only=True):
    """A publication of the wanted name; ``differences`` is empty when it is what is needed."""

    name: str
    differences: str


class Pooling(Struct, frozen=True, kw_only=True):
    """What stands between this program and the server.

    ``pooled``: the session is not the server's own. ``by_transaction``: one session of ours is
    several of the server's, one after the other.
    """

    pooled: bool
    by_transaction: bool


class SlotState(Struct, frozen=True, kw_only=True):
    """A replication slot: whose it is, and whether somebody reads from it now."""

    database: str | None
    active: bool


class SourceServer(Struct, frozen=True, kw_only=True):
    """The source's server: what matters also to a capture that is there already."""

    facts: ServerFacts
    pooling: Pooling
    replication: ReplicationSettings
    slot: SlotState | None
    """The slot of the name that the capture has, or is to have, where there is one."""


class SourceFacts(SourceServer, frozen=True, kw_only=True):
    """The source, as a whole migration sees it."""

    room: ServerRoom
    wal_bytes_per_second: float | None
    tables: tuple[Table, ...]
    """The tables that are selected."""
    publishable: tuple[Table, ...]
    """Those whose changes are captured, and that a publication may name."""
    unowned: frozenset[int]
    """Oids of tables whose owner's rights the role does not have."""
    unreadable_sequences: tuple[tuple[str, str], ...]
    """Their schemas and names."""
    unreadable_large_objects: tuple[int, ...]
    large_objects: int
    constraints: tuple[Constraint, ...]
    triggers: tuple[Trigger, ...]
    extensions: tuple[Extension, ...]
    collations: tuple[Collation, ...]
    build_needs: tuple[BuildNeed, ...]
    subscriptions: tuple[str, ...]
    """Names of those that write to the database."""
    roles: tuple[str, ...]
    """Those who have rights on something that is copied."""
    named_roles: tuple[str, ...]
    """Those of policies and user mappings."""
    owners: tuple[str, ...]
    owners_in_public: frozenset[str]
    """Those of what the schema public holds."""
    superusers: frozenset[str]
    tablespaces: tuple[str, ...]
    blockers: tuple[Blocker, ...]
    plugin_error: str | None
    """Why the server cannot load the output plugin, where the role may try."""
    publications: tuple[PublicationState, ...]
    named_objects: tuple[NamedObject, ...]
    """Functions, types, views and what else lives in no table, as text."""
    superuser_objects: tuple[SuperuserObject, ...]
    """Those that would be copied."""
    right_needs: tuple[RightNeed, ...]
    """Those of objects that would be copied."""
    default_privileges: tuple[DefaultPrivilege, ...]
    """Those that would be copied."""
    routines: tuple[Routine, ...]
    """Those that would be copied."""
    strange_grants: tuple[StrangeGrant, ...]
    """Those on objects that would be copied."""
    shared_schemas: tuple[SharedSchema, ...]
    """Those that would be copied."""
    given_up: tuple[GivenUp, ...]
    """Those that would be copied."""
    restricted_languages: frozenset[str]
    """Languages on which the rights are not those that the server gave."""
    system_rights: tuple[SystemRight, ...]


class TargetServer(Struct, frozen=True, kw_only=True):
    """The target's server: what matters also to a follow whose base copy is there already."""

    facts: ServerFacts
    pooling: Pooling
    replication: ReplicationSettings
    may_use_origins: bool
    origin_exists: bool
    foreign_helper_schema: bool


class TargetFacts(TargetServer, frozen=True, kw_only=True):
    """The target, as a whole migration sees it."""

    room: ServerRoom
    tables: tuple[Table, ...]
    has_large_objects: bool
    named_objects: tuple[NamedObject, ...]
    extensions: tuple[AvailableExtension, ...]
    collations: frozenset[str]
    """Names of the collations that the server brings along."""
    collation_versions: tuple[Collation, ...]
    built_without: frozenset[BuildOption]
    roles: tuple[str, ...]
    assumable_roles: frozenset[str]
    """Roles to which this one may give what it creates."""
    usable_roles: frozenset[str]
    """Roles whose rights this one has."""
    inherits: bool
    """Whether it inherits what is granted to it, where nothing else is said."""
    grants_itself: bool
    """Whether each role that it creates will be assumable and usable."""
    superusers: frozenset[str]
    role_creators: frozenset[str]
    """Roles that may create roles."""
    tablespaces: tuple[str, ...]
    creators_in_public: frozenset[str]
    """Roles that may create something in the schema public."""
    creators: frozenset[str]
    """Roles that may create something in the database."""
    wrappers: tuple[ForeignDataWrapper, ...]
    closed_languages: frozenset[str]
    """Languages that others than superusers may use, and this role may not."""
    refused_settings: tuple[SettingRefusal, ...]
    """Those of the source's functions that the role may not store."""
    closed_schemas: tuple[SharedSchema, ...]
    """Those of the source in which the other role will not be allowed to create anything."""
    system_rights: tuple[SystemRight, ...]
    default_privileges: tuple[DefaultPrivilege, ...]
    creatable_kinds: frozenset[str]
    """Of the kinds of which only a superuser may create objects, those that this role may too."""
    may_silence: bool


class LocalFacts(Struct, frozen=True, kw_only=True):
    """This machine: the programs, and the disk of the work directory.

    ``tools_error`` is why no pg_dump and pg_restore fit, ``tools`` their names and versions;
    ``directory_error`` why the work directory cannot be one. Errors come with their hints.
    """

    tools: tuple[tuple[str, tuple[int, int]], ...]
    tools_error: tuple[str, str | None] | None
    directory: str
    free_bytes: int
    directory_error: tuple[str, str | None] | None = None
