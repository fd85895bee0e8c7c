"""Facts of two servers that nothing stands in the way of, to be changed one by one."""

from typing import Any, TypeVar

from msgspec.structs import replace

from pgcopydb.model.objects import (
    Column,
    Constraint,
    ConstraintKind,
    Extension,
    ReplicaIdentity,
    ServerFacts,
    Table,
    TableKind,
)
from pgcopydb.model.readiness import (
    AvailableExtension,
    Collation,
    LocalFacts,
    Pooling,
    ReplicationSettings,
    ServerRoom,
    SourceFacts,
    TargetFacts,
)

Facts = TypeVar("Facts", SourceFacts, TargetFacts)

SERVER = ServerFacts(
    system_identifier=1,
    timeline=1,
    version_num=160004,
    version="16.4",
    database_oid=5,
    database='d"b',
    encoding="UTF8",
    collation="C.UTF-8",
    ctype="C.UTF-8",
    in_recovery=False,
    started_at="2026-01-01",
    wal_level="logical",
    role='o"dd',
    is_superuser=False,
    may_replicate=True,
    extensions=(),
)

ROOM = ServerRoom(
    max_connections=100,
    reserved_connections=3,
    used_connections=5,
    role_connections=-1,
    database_connections=-1,
    used_in_database=2,
    max_locks_per_transaction=64,
    max_parallel_maintenance_workers=2,
    max_parallel_workers=8,
    max_worker_processes=8,
    lock_room=6400,
)

SETTINGS = ReplicationSettings(
    max_slots=10,
    used_slots=1,
    max_senders=10,
    used_senders=1,
    max_slot_wal_keep=None,
    idle_slot_timeout=None,
    plugin_libraries=None,
    max_origins=10,
    used_origins=1,
    may_create=True,
)


def column(name: str = "id", *, generated: str = "") -> Column:
    return Column(
        number=1,
        name=name,
        type="integer",
        type_oid=23,
        type_modifier=-1,
        type_names=("integer",),
        not_null=True,
        generated=generated,
        identity="",
        default=None,
        collation=None,
        version="1",
    )


def table(name: str = 'T"x', **changes: Any) -> Table:
    """Return a table with a primary key, in a schema of an odd name."""
    plain = Table(
        oid=100,
        schema="s a",
        name=name,
        kind=TableKind.TABLE,
        persistence="p",
        access_method="heap",
        tablespace=None,
        owner="own'er",
        filenode=100,
        row_estimate=1,
        bytes=8192,
        pages=1,
        is_partition=False,
        parent_oids=(),
        columns=(column(),),
        key_columns=("id",),
        replica_identity=ReplicaIdentity.DEFAULT,
        identity_columns=("id",),
        row_security_applies=False,
        readable=True,
        populated=True,
    )
    return replace(plain, **changes)


def keyless(name: str = "k", **changes: Any) -> Table:
    """Return a table whose updates and deletes no stream carries."""
    return table(name, **{"key_columns": (), "identity_columns": (), **changes})


def constraint(kind: ConstraintKind, *, deferrable: bool = False) -> Constraint:
    return Constraint(
        oid=200,
        name="c",
        kind=kind,
        table_oid=100,
        table_schema="s a",
        table_name='T"x',
        definition="",
        is_validated=True,
        is_deferrable=deferrable,
        parent_oid=None,
        referenced_oid=None,
        referenced_schema=None,
        referenced_name=None,
    )


def extension(name: str = "hst ore", version: str = "1.8") -> Extension:
    return Extension(
        oid=300,
        name=name,
        version=version,
        schema="public",
        owner="own'er",
        is_relocatable=True,
        comment=None,
        configuration_tables=(),
    )


def available(name: str = "hst ore", **changes: Any) -> AvailableExtension:
    plain = AvailableExtension(
        name=name,
        default_version="1.8",
        installed_version=None,
        versions=("1.7", "1.8"),
        creatable=True,
        owned=False,
    )
    return replace(plain, **changes)


def collation(
    recorded: str | None, actual: str | None, name: str = "", schema: str = ""
) -> Collation:
    return Collation(schema=schema, name=name, recorded_version=recorded, actual_version=actual)


def source(**changes: Any) -> SourceFacts:
    """Return a source that can be migrated; ``changes`` are of its fields, or of those inside."""
    tables = changes.pop("tables", (table(),))
    plain = SourceFacts(
        facts=SERVER,
        pooling=Pooling(pooled=False, by_transaction=False),
        room=ROOM,
        tables=tables,
        publishable=tables,
        unowned=frozenset(),
        unreadable_sequences=(),
        unreadable_large_objects=(),
        large_objects=0,
        constraints=(),
        triggers=(),
        extensions=(),
        collations=(),
        build_needs=(),
        subscriptions=(),
        roles=(),
        named_roles=(),
        owners=("own'er",),
        owners_in_public=frozenset(),
        superusers=frozenset({"postgres"}),
        tablespaces=(),
        wal_bytes_per_second=None,
        replication=SETTINGS,
        blockers=(),
        plugin_error=None,
        slot=None,
        publications=(),
        named_objects=(),
        superuser_objects=(),
        right_needs=(),
        default_privileges=(),
        routines=(),
        strange_grants=(),
        shared_schemas=(),
        given_up=(),
        restricted_languages=frozenset(),
        system_rights=(),
    )
    return _changed(plain, changes)


def target(**changes: Any) -> TargetFacts:
    """Return a target that can be migrated to; ``changes`` as for :func:`source`."""
    plain = TargetFacts(
        facts=replace(SERVER, system_identifier=2, version_num=180000, version="18.0"),
        pooling=Pooling(pooled=False, by_transaction=False),
        room=ROOM,
        tables=(),
        has_large_objects=False,
        named_objects=(),
        extensions=(),
        collations=frozenset({"C", "en_US.utf8"}),
        collation_versions=(),
        built_without=frozenset(),
        roles=("own'er", 'o"dd', "postgres"),
        assumable_roles=frozenset({"own'er", 'o"dd'}),
        usable_roles=frozenset({"own'er", 'o"dd'}),
        inherits=True,
        grants_itself=False,
        superusers=frozenset({"postgres"}),
        tablespaces=("pg_default",),
        replication=SETTINGS,
        role_creators=frozenset({'o"dd'}),
        creators_in_public=frozenset(),
        creators=frozenset(),
        wrappers=(),
        closed_languages=frozenset(),
        refused_settings=(),
        closed_schemas=(),
        system_rights=(),
        default_privileges=(),
        creatable_kinds=frozenset(),
        may_use_origins=True,
        may_silence=True,
        origin_exists=False,
        foreign_helper_schema=False,
    )
    return _changed(plain, changes)


def here(**changes: Any) -> LocalFacts:
    """Return a machine with programs of this year and a large disk."""
    plain = LocalFacts(
        tools=(("pg_dump", (18, 0)), ("pg_restore", (18, 0))),
        tools_error=None,
        directory="/w",
        free_bytes=1 << 40,
    )
    return replace(plain, **changes)


def _changed(plain: Facts, changes: dict[str, Any]) -> Facts:
    """Replace fields; a dict stands for changes inside of a field."""
    whole = {
        name: replace(getattr(plain, name), **value) if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    return replace(plain, **whole)
