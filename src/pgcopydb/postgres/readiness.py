"""Reads from both servers what tells whether a migration can be done; changes nothing on either.

The functions raise the side's error where the server cannot be asked.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import psycopg
from msgspec import Struct

from pgcopydb.errors import TargetError
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import Filters
from pgcopydb.model.objects import ServerFacts, Table
from pgcopydb.model.options import FollowOptions, Plugin
from pgcopydb.model.readiness import (
    AvailableExtension,
    Blocker,
    BuildNeed,
    BuildOption,
    Collation,
    DefaultPrivilege,
    ForeignDataWrapper,
    GivenUp,
    Intent,
    PublicationState,
    Questions,
    ReplicationSettings,
    RightNeed,
    Routine,
    ServerRoom,
    SharedSchema,
    SlotState,
    SourceFacts,
    SourceServer,
    StrangeGrant,
    SuperuserObject,
    SystemRight,
    TargetFacts,
    TargetServer,
    Trigger,
)
from pgcopydb.postgres import discover, helper_schema, origin
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.large_objects import any_there
from pgcopydb.postgres.pooling import find_pooling
from pgcopydb.postgres.publication import differences, read_publication
from pgcopydb.postgres.selection import kept, read_selection
from pgcopydb.postgres.setting_rights import refused_settings
from pgcopydb.postgres.slot import read_slot
from pgcopydb.postgres.snapshot import lock_room, patiently
from pgcopydb.postgres.triggers import firing_triggers, may_silence
from pgcopydb.rules.publication import (
    insert_publication,
    publishable,
    wanted_publications,
)

Connection = psycopg.Connection[Any]

_T = TypeVar("_T")

_PROCEDURAL: Final = "plpgsql"
"""An extension that every database has."""

_ATTEMPTS: Final = {
    "event trigger": "create event trigger pgcopydb on pgcopydb execute function pgcopydb()",
    "foreign-data wrapper": "create foreign data wrapper pgcopydb handler pgcopydb.pgcopydb",
    "publication": "create publication pgcopydb for all tables with (pgcopydb)",
    "publication namespace": "create publication pgcopydb for all tables with (pgcopydb)",
}
"""Statements that no server carries out: they name what is not there, or no parameter at all.

Those who may not create objects of the kind are refused before that is seen.
"""

_PATIENCE: Final = 5.0
"""Seconds to wait for tables that a statement of the application wants for itself."""


_NOTHING_ASKED: Final = Questions()


class _RequiredRole(Struct, frozen=True, kw_only=True):
    """A role that something wants: its object, or all of a schema where no filter asks."""

    catalog: int | None
    oid: int | None
    schema: str | None
    schema_owner: str | None
    name: str
    owns: bool
    has_rights: bool
    is_named: bool


class _NeedingObjects(Struct, frozen=True, kw_only=True):
    """Objects that are copied, and that not everybody may create."""

    superuser_objects: tuple[SuperuserObject, ...]
    right_needs: tuple[RightNeed, ...]
    default_privileges: tuple[DefaultPrivilege, ...]
    routines: tuple[Routine, ...]
    strange_grants: tuple[StrangeGrant, ...]
    given_up: tuple[GivenUp, ...]

    @property
    def is_rare(self) -> bool:
        """Whether there is more than functions that set nothing, which every database has."""
        return any(
            (
                self.superuser_objects,
                self.right_needs,
                self.default_privileges,
                self.strange_grants,
                self.given_up,
            )
        ) or any(routine.settings for routine in self.routines)


def read_source_server(
    source: Endpoint, connection: Connection, follow: FollowOptions | None
) -> SourceServer:
    """Return what the source's server is, in a few short queries."""
    pooling = find_pooling(source, connection)
    with reporting(source, "reading the server's settings"):
        return SourceServer(
            facts=discover.server_facts(connection),
            pooling=pooling,
            replication=_replication(connection),
            slot=_slot(connection, source, follow),
        )


def read_target_server(
    target: Endpoint, connection: Connection, follow: FollowOptions | None
) -> TargetServer:
    """Return what the target's server is, in a few short queries."""
    pooling = find_pooling(target, connection)
    with reporting(target, "reading the server's settings"):
        with_origins = origin.may_use_origins(connection)
        return TargetServer(
            facts=discover.server_facts(connection),
            pooling=pooling,
            replication=_replication(connection),
            may_use_origins=with_origins,
            origin_exists=follow is not None
            and with_origins
            and origin.read_origin(connection, target, follow.origin) is not None,
            foreign_helper_schema=_has_foreign_helper_schema(connection),
        )


def read_source(
    source: Endpoint,
    connection: Connection,
    intent: Intent,
    tables: Sequence[Table] | None = None,
) -> SourceFacts:
    """Return what the migration that is intended rests on at the source.

    ``tables`` are all of the source where they have been read already.
    """
    follow, filters = intent.follow, intent.filters
    server = read_source_server(source, connection, follow)
    facts = server.facts
    with reporting(source, "reading what a migration needs"):
        tables = _tables(connection) if tables is None else tables
        chosen = tuple(table for table in tables if filters.selects_table(table.schema, table.name))
        captured = tuple(publishable(tables, filters, facts.version_num))
        roles = list(discover.records(connection, "roles"))
        usable = {role["name"] for role in roles if role["usable"]}
        required = _required_roles(connection, source, intent)
        (large_objects,) = discover.records(connection, "large_object_access")
        needing = _needing_objects(connection, source, filters)
        own_publications = _own_publications(follow)
        return SourceFacts(
            facts=facts,
            pooling=server.pooling,
            room=_room(connection),
            wal_bytes_per_second=_wal_rate(connection, facts),
            replication=server.replication,
            slot=server.slot,
            tables=chosen,
            publishable=captured,
            unowned=frozenset(table.oid for table in chosen if table.owner not in usable),
            unreadable_sequences=tuple(
                (sequence.schema, sequence.name)
                for sequence in discover.list_sequences(connection)
                if not sequence.readable and filters.selects_schema(sequence.schema)
            ),
            unreadable_large_objects=large_objects["unreadable"],
            large_objects=large_objects["total"],
            # what apply has to mind; with 20,000 tables half a second
            constraints=() if follow is None else _constraints(connection, chosen),
            triggers=_triggers(connection, source, chosen),
            extensions=tuple(
                extension
                for extension in discover.list_extensions(connection)
                if extension.name != _PROCEDURAL and filters.selects_extension(extension.name)
            ),
            collations=_collations(connection, facts),
            build_needs=_build_needs(connection, filters),
            subscriptions=_subscriptions(connection),
            roles=_names(one for one in required if one.has_rights),
            named_roles=_names(one for one in required if one.is_named),
            owners=_names(one for one in required if one.owns),
            owners_in_public=frozenset(_names(one for one in required if one.schema == "public")),
            superusers=_superusers(roles),
            tablespaces=_tablespaces(connection, used=True),
            blockers=_read(connection, "blockers", Blocker),
            plugin_error=_plugin_error(connection, facts, follow),
            publications=_publications(connection, source, captured, follow),
            named_objects=tuple(discover.list_named_objects(connection)),
            superuser_objects=needing.superuser_objects,
            right_needs=tuple(
                need
                for need in needing.right_needs
                if need.wrapper is not None or need.name not in own_publications
            ),
            default_privileges=needing.default_privileges,
            routines=needing.routines,
            strange_grants=needing.strange_grants,
            given_up=needing.given_up,
            restricted_languages=_restricted_languages(connection),
            shared_schemas=tuple(_shared_schemas(required)),
            system_rights=_read(connection, "system_rights", SystemRight),
        )


def _tables(connection: Connection) -> list[Table]:
    with connection.transaction():
        # What has no estimate is measured under a lock, and the snapshot to copy from may hold back
        # its owner. No rule asks for sizes, and to measure 20,000 tables takes one or two seconds.
        return patiently(
            connection,
            lambda: discover.list_tables(connection, estimate_sizes=True),
            patience=_PATIENCE,
        )


def _slot(
    connection: Connection, source: Endpoint, follow: FollowOptions | None
) -> SlotState | None:
    slot = None if follow is None else read_slot(connection, source, follow.slot_name)
    if slot is None:
        return None
    return SlotState(database=slot.database, active=slot.active_pid is not None)


def read_target(
    target: Endpoint,
    connection: Connection,
    intent: Intent,
    questions: Questions = _NOTHING_ASKED,
) -> TargetFacts:
    """Return what the migration that is intended rests on at the target.

    ``questions`` are those that arise from the source.
    """
    server = read_target_server(target, connection, intent.follow)
    facts = server.facts
    with reporting(target, "reading what a migration needs"):
        roles = list(discover.records(connection, "roles"))
        return TargetFacts(
            facts=facts,
            pooling=server.pooling,
            room=_room(connection),
            replication=server.replication,
            may_use_origins=server.may_use_origins,
            origin_exists=server.origin_exists,
            foreign_helper_schema=server.foreign_helper_schema,
            tables=tuple(discover.list_tables(connection, with_columns=False, estimate_sizes=True)),
            has_large_objects=any_there(connection),
            named_objects=tuple(discover.list_named_objects(connection)),
            extensions=_read(connection, "available_extensions", AvailableExtension),
            collations=_collation_names(connection),
            collation_versions=_collations(connection, facts),
            built_without=_built_without(connection),
            roles=tuple(role["name"] for role in roles),
            assumable_roles=frozenset(role["name"] for role in roles if role["assumable"]),
            usable_roles=frozenset(role["name"] for role in roles if role["usable"]),
            inherits=any(one["name"] == facts.role and one["inherits"] for one in roles),
            grants_itself=_grants_itself(connection, facts),
            superusers=_superusers(roles),
            role_creators=frozenset(role["name"] for role in roles if role["creates_roles"]),
            tablespaces=_tablespaces(connection, used=False),
            creators_in_public=frozenset(
                role["name"] for role in roles if role["creates_in_public"]
            ),
            creators=frozenset(role["name"] for role in roles if role["creates_in_database"]),
            wrappers=_read(connection, "foreign_data_wrappers", ForeignDataWrapper),
            closed_languages=_closed_languages(connection),
            refused_settings=tuple(refused_settings(connection, questions.settings)),
            closed_schemas=tuple(_closed_schemas(connection, questions.shared)),
            system_rights=_read(connection, "system_rights", SystemRight),
            default_privileges=read_default_privileges(connection),
            creatable_kinds=frozenset(
                kind
                for kind in questions.kinds
                if not facts.is_superuser and may_create_kind(connection, kind)
            ),
            may_silence=may_silence(connection, target),
        )


def read_default_privileges(connection: Connection) -> tuple[DefaultPrivilege, ...]:
    """Return what ALTER DEFAULT PRIVILEGES has set in the database, whoever may have done so."""
    return _read(connection, "default_privileges", DefaultPrivilege)


def _read(connection: Connection, name: str, kind: type[_T]) -> tuple[_T, ...]:
    return tuple(kind(**record) for record in discover.records(connection, name))


def _room(connection: Connection) -> ServerRoom:
    (record,) = discover.records(connection, "server_room")
    return ServerRoom(**record, lock_room=lock_room(connection))


def _replication(connection: Connection) -> ReplicationSettings:
    (record,) = discover.records(connection, "replication_settings")
    return ReplicationSettings(**record)


def _constraints(connection: Connection, tables: Iterable[Table]) -> tuple[Any, ...]:
    chosen = {table.oid for table in tables}
    return tuple(
        constraint
        for constraint in discover.list_constraints(connection)
        if constraint.table_oid in chosen
    )


def _triggers(
    connection: Connection, source: Endpoint, tables: Iterable[Table]
) -> tuple[Trigger, ...]:
    chosen = {(table.schema, table.name) for table in tables}
    return tuple(
        Trigger(schema=trigger.schema, table=trigger.table, name=trigger.name)
        for trigger in firing_triggers(connection, source, silenced=True)
        if (trigger.schema, trigger.table) in chosen
    )


def _collations(connection: Connection, facts: ServerFacts) -> tuple[Collation, ...]:
    own = _read(connection, "database_collation", Collation) if facts.major >= 15 else ()
    return own + _read(connection, "used_collations", Collation)


def _collation_names(connection: Connection) -> frozenset[str]:
    rows = connection.execute(
        "select collname::text from pg_catalog.pg_collation"
        " where collnamespace = 'pg_catalog'::regnamespace and collencoding in (-1,"
        "  (select encoding from pg_catalog.pg_database"
        "    where datname = pg_catalog.current_database()))"
    )
    return frozenset(name for (name,) in rows)


def _build_needs(connection: Connection, filters: Filters) -> tuple[BuildNeed, ...]:
    """Return what is selected and not every build of a server can hold."""
    needs = [
        BuildNeed(**record | {"option": BuildOption(record["option"])})
        for record in discover.records(connection, "build_needs")
    ]
    return tuple(
        need
        for need in needs
        if (
            filters.selects_schema(need.schema)
            if need.column is None
            else filters.selects_table(need.schema, need.name)
        )
    )


def _built_without(connection: Connection) -> frozenset[BuildOption]:
    """Return what the server is built without; of libxml only an attempt tells."""
    (record,) = discover.records(connection, "built_with")
    lacking = {
        option for option in (BuildOption.ICU, BuildOption.LZ4) if not record[option.lower()]
    }
    try:
        connection.execute("select '<a/>'::pg_catalog.xml")
    except psycopg.errors.FeatureNotSupported:
        lacking.add(BuildOption.LIBXML)
    return frozenset(lacking)


def _required_roles(
    connection: Connection, source: Endpoint, intent: Intent
) -> list[_RequiredRole]:
    """Return the roles that what is copied wants, and for what."""
    copy, filters = intent.copy, intent.filters
    without = [
        catalog
        for catalog, skipped in (
            ("pg_catalog.pg_largeobject", copy is not None and copy.skip_large_objects),
            ("pg_catalog.pg_collation", copy is not None and copy.skip_collations),
        )
        if skipped
    ]
    publications = sorted(_own_publications(intent.follow))
    asked = partial(
        discover.records,
        connection,
        "required_roles",
        without=without,
        publications=publications,
    )
    found = [_RequiredRole(**record) for record in asked(each=False)]
    if filters.selects_all or not found:
        return found
    left_out = read_selection(source, connection, filters).left_out
    each = (_RequiredRole(**record) for record in asked(each=True))
    return [one for one in each if (one.catalog, one.oid) not in left_out]


def _own_publications(follow: FollowOptions | None) -> frozenset[str]:
    """Return the publications that this program makes, and does not copy."""
    if follow is None:
        return frozenset()
    return frozenset({follow.publication, insert_publication(follow.publication)})


def _names(required: Iterable[_RequiredRole]) -> tuple[str, ...]:
    return tuple(sorted({one.name for one in required}))


def _shared_schemas(required: Iterable[_RequiredRole]) -> Iterator[SharedSchema]:
    """Give the schemas that hold something of another role than their owner."""
    seen = {
        SharedSchema(schema=one.schema, owner=one.schema_owner, other=one.name)
        for one in required
        if one.schema is not None
        and one.schema != "public"
        and one.schema_owner is not None
        and one.schema_owner != one.name
    }
    yield from sorted(seen)


def _needing_objects(connection: Connection, source: Endpoint, filters: Filters) -> _NeedingObjects:
    """Return what a dump holds and not everybody may create."""
    routines = _read(connection, "routines", Routine)
    found = _NeedingObjects(
        superuser_objects=_read(connection, "superuser_objects", SuperuserObject),
        right_needs=_read(connection, "right_needs", RightNeed),
        default_privileges=read_default_privileges(connection),
        routines=tuple(one for one in routines if filters.selects_schema(one.schema)),
        strange_grants=_read(connection, "strange_grantors", StrangeGrant),
        given_up=_read(connection, "given_up", GivenUp),
    )
    if filters.selects_all or not found.is_rare:
        return found
    # Few databases have any: only they pay for a second look at what depends on what.
    selection = read_selection(source, connection, filters)
    return _NeedingObjects(
        superuser_objects=kept(found.superuser_objects, selection),
        right_needs=kept(found.right_needs, selection),
        default_privileges=kept(found.default_privileges, selection),
        routines=kept(found.routines, selection),
        strange_grants=kept(found.strange_grants, selection),
        given_up=kept(found.given_up, selection),
    )


def may_create_kind(connection: Connection, kind: str) -> bool:
    """Tell whether the role may create objects of a ``kind`` although it is no superuser.

    Services that give nobody a superuser let a role of theirs create those of some kinds, each by
    a change of its own to the server: no catalogue says which, only an attempt, which creates
    nothing. With the other kinds one can crash a server or take it over: no service is known to
    let anybody create them.
    """
    if kind not in _ATTEMPTS:
        return False
    try:
        connection.execute(_ATTEMPTS[kind])
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        refused = isinstance(error, psycopg.errors.InsufficientPrivilege)
        return isinstance(error, psycopg.ProgrammingError) and not refused
    return False


def _subscriptions(connection: Connection) -> tuple[str, ...]:
    """Return the subscriptions of this database; everybody may read their names."""
    rows = connection.execute(
        "select subname::text from pg_catalog.pg_subscription where subdbid ="
        " (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())"
        " order by 1"
    )
    return tuple(name for (name,) in rows)


def _tablespaces(connection: Connection, *, used: bool) -> tuple[str, ...]:
    """Return the tablespaces of the server, or those which objects of this database name."""
    rows = connection.execute(
        "select t.spcname::text from pg_catalog.pg_tablespace as t where t.spcname <> 'pg_global'"
        " and (not %s or exists ("
        "  select from pg_catalog.pg_class as c where c.reltablespace = t.oid))"
        " order by 1",
        (used,),
    )
    return tuple(name for (name,) in rows)


def _closed_schemas(
    connection: Connection, shared: Iterable[SharedSchema]
) -> Iterator[SharedSchema]:
    """Give those in which the other role is nothing like the owner, where both are there."""
    for one in shared:
        row = connection.execute(
            "select pg_catalog.pg_has_role(other.oid, owner.oid, 'usage')"
            " from pg_catalog.pg_roles as other, pg_catalog.pg_roles as owner"
            " where other.rolname = %s and owner.rolname = %s",
            (one.other, one.owner),
        ).fetchone()
        if row is not None and not row[0]:
            yield one


def _restricted_languages(connection: Connection) -> frozenset[str]:
    rows = connection.execute(
        "select lanname::text from pg_catalog.pg_language as l"
        " left join pg_catalog.pg_init_privs as i on i.objoid = l.oid"
        "  and i.classoid = 'pg_catalog.pg_language'::regclass"
        " where l.lanacl is distinct from i.initprivs"
    )
    return frozenset(name for (name,) in rows)


def _closed_languages(connection: Connection) -> frozenset[str]:
    """Return the languages that are open to others, and not to this role."""
    rows = connection.execute(
        "select lanname::text from pg_catalog.pg_language"
        " where lanpltrusted and not pg_catalog.has_language_privilege(oid, 'usage')"
    )
    return frozenset(name for (name,) in rows)


def _grants_itself(connection: Connection, facts: ServerFacts) -> bool:
    """Tell whether the role gets the rights of each role that it creates, as of 16 some may."""
    if facts.major < 16:
        return False
    row = connection.execute(
        "select pg_catalog.current_setting('createrole_self_grant') ilike all (array['%set%',"
        " '%inherit%'])"
    ).fetchone()
    return row is not None and bool(row[0])


def _superusers(roles: Iterable[discover.Record]) -> frozenset[str]:
    return frozenset(role["name"] for role in roles if role["superuser"])


def _wal_rate(connection: Connection, facts: ServerFacts) -> float | None:
    """Return the bytes of WAL a second since the server's statistics began, where it keeps them."""
    if facts.major < 14:
        return None
    row = connection.execute(
        "select (wal_bytes / greatest(extract(epoch from now() - stats_reset), 60))::float8"
        " from pg_catalog.pg_stat_wal"
    ).fetchone()
    return row[0] if row else None


def _plugin_error(
    connection: Connection, facts: ServerFacts, follow: FollowOptions | None
) -> str | None:
    """Return why the plugin cannot be loaded; only a superuser may try, and the server has one."""
    if follow is None or follow.plugin is Plugin.PGOUTPUT or not facts.is_superuser:
        return None
    try:
        connection.execute(f"load '{follow.plugin.value}'".encode())
    except psycopg.Error as error:
        return str(error.diag.message_primary)
    return None


def _publications(
    connection: Connection,
    source: Endpoint,
    tables: Iterable[Table],
    follow: FollowOptions | None,
) -> tuple[PublicationState, ...]:
    """Return the publications that are there already of those that pgoutput needs."""
    if follow is None or follow.plugin is not Plugin.PGOUTPUT:
        return ()
    states = []
    for wanted in wanted_publications(tables, follow.publication, follow.no_identity):
        found = read_publication(connection, source, wanted.name)
        if found is not None:
            unlike = differences(found, wanted)
            states.append(PublicationState(name=wanted.name, differences=unlike))
    return tuple(states)


def _has_foreign_helper_schema(connection: Connection) -> bool:
    try:
        helper_schema.helper_schema_exists(connection)
    except TargetError:
        return True
    return False
