"""The rules of ``pgcopydb check``: each with facts that provoke it, and with some that do not."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

from pgcopydb.model.endpoint import Side
from pgcopydb.model.findings import Finding, Report, Severity
from pgcopydb.model.objects import ConstraintKind, NamedObject, ReplicaIdentity, TableKind
from pgcopydb.model.options import CopyOptions, FollowOptions, NoIdentity, Plugin, Streaming
from pgcopydb.model.readiness import (
    Blocker,
    BuildNeed,
    BuildOption,
    DefaultPrivilege,
    ExpressionObject,
    ForeignDataWrapper,
    GivenUp,
    Intent,
    LocalFacts,
    NewFeature,
    Pooling,
    PublicationState,
    Refusal,
    RightNeed,
    Routine,
    SettingRefusal,
    SharedSchema,
    SlotState,
    SourceFacts,
    StrangeGrant,
    SuperuserObject,
    SystemName,
    SystemRight,
    TargetFacts,
    Trigger,
)
from pgcopydb.preflight.text import remedy, statement_text
from pgcopydb.rules import readiness
from pgcopydb.rules.filters import parse_filters
from pgcopydb.rules.readiness.new_features import new_features
from pgcopydb.rules.readiness.system_names import system_names
from tests.support.migration_facts import (
    SERVER,
    available,
    collation,
    column,
    constraint,
    extension,
    here,
    keyless,
    source,
    table,
    target,
)

FATAL, WARNING, NOTE = Severity
SOURCE, TARGET = Side.SOURCE, Side.TARGET

FIT_SOURCE, FIT_TARGET, FIT_MACHINE = source(), target(), here()

ONLINE = Intent(copy=CopyOptions(), follow=FollowOptions())
COPY = Intent(copy=CopyOptions(), follow=None)
CAPTURED = Intent(copy=None, follow=FollowOptions(), captured=True)
REPLACED = replace(ONLINE, replaces_capture=True)


def following(**options: Any) -> Intent:
    return replace(ONLINE, follow=FollowOptions(**options))


def copying(**options: Any) -> Intent:
    return replace(ONLINE, copy=CopyOptions(**options))


@dataclass(frozen=True)
class Scene:
    """What is looked at; without changes nothing is found."""

    source: SourceFacts = FIT_SOURCE
    target: TargetFacts = FIT_TARGET
    here: LocalFacts = FIT_MACHINE
    intent: Intent = ONLINE

    def findings(self) -> list[Finding]:
        return [
            *readiness.judge_source(self.source, self.intent),
            *readiness.judge_target(self.target, self.intent),
            *readiness.judge_pair(self.source, self.target, self.intent),
            *readiness.judge_machine(self.here, self.source, self.intent),
        ]


@dataclass(frozen=True)
class Case:
    """Facts, and the one finding that they make with what mends it.

    ``says`` are parts of its message and advice, ``sql`` its statements word for word. ``besides``
    names the checks that find something as well.
    """

    check: str
    severity: Severity
    side: Side | None
    scene: Scene
    says: tuple[str, ...]
    sql: tuple[str, ...] = ()
    status: int = 2
    restart: bool = False
    besides: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.side or 'here'}-{self.check}-{self.severity}"


def at_source(check: str, severity: Severity, says: str, *sql: str, **rest: Any) -> Case:
    intent = rest.pop("intent", ONLINE)
    status, restart = rest.pop("status", 2), rest.pop("restart", False)
    besides = rest.pop("besides", ())
    scene = Scene(source=source(**rest), intent=intent)
    return Case(
        check, severity, SOURCE, scene, tuple(says.split("|")), sql, status, restart, besides
    )


def at_target(check: str, severity: Severity, says: str, *sql: str, **rest: Any) -> Case:
    intent, other = rest.pop("intent", ONLINE), rest.pop("source", FIT_SOURCE)
    status, restart = rest.pop("status", 2), rest.pop("restart", False)
    scene = Scene(source=other, target=target(**rest), intent=intent)
    return Case(check, severity, TARGET, scene, tuple(says.split("|")), sql, status, restart)


RELOAD = "SELECT pg_catalog.pg_reload_conf();"
POOLED = Pooling(pooled=True, by_transaction=False)
TORN = Pooling(pooled=True, by_transaction=True)
UNLOGGED = table("u", persistence="u")
GENERATED = table("g", columns=(column(generated="s"),))
PLAIN = source(extensions=(extension(),))
OLD = Blocker(kind="session", name="4711", role="app", seconds=7200)
PREPARED = Blocker(kind="prepared", name="it's", role="app", seconds=3 * 86400)
LATIN = source(facts={"encoding": "LATIN1"})
LARGE = (table("a", bytes=2 << 30), table("b", bytes=3 << 30))
SUPERUSERS = tuple(
    SuperuserObject(catalog=1, oid=number, kind=kind, name=name)
    for number, (kind, name) in enumerate(
        (
            ("event trigger", '"e e"'),
            ("publication namespace", "s in publication p"),
            ("type", "s.t"),
        )
    )
)
SERVED = RightNeed(catalog=1, oid=1, name="s", owner="own'er", wrapper='w"r')
RIGHT = SystemRight(name="f", is_open=True, is_changed=True)
LOGGED = Routine(
    catalog=1, oid=1, schema="s", name="f", language="sql", settings=("log_statement=all", 'a."b=1')
)
DENIED = SettingRefusal(setting="log_statement=all", reason=Refusal.RIGHT, message="denied")
UNKNOWN = SettingRefusal(setting='a."b=1', reason=Refusal.NAME, message="there is no a.b")
GIVEN = DefaultPrivilege(catalog=1, oid=1, role="own'er", grantees=('o"dd',))
LATER = DefaultPrivilege(catalog=1, oid=1, role='o"dd', grantees=("own'er",), to_public=True)
GRANTED = StrangeGrant(catalog=1, oid=1, name="table s.t", grantors=('o"dd', "own'er"))
SHARED = SharedSchema(schema="s x", owner="own'er", other="o'ther")
MANY = tuple(table(f"t{number}", oid=number) for number in range(100))

SOURCE_CASES = [
    at_source("subscriptions", NOTE, 'not copied: "sub"|copy_data', subscriptions=("sub",)),
    at_source("pooler", WARNING, "may end long sessions|--source", pooling=POOLED),
    at_source("pooler", FATAL, "by transaction|--source", pooling=TORN),
    at_source(
        "connections",
        WARNING,
        "leaves 2 sessions free, and up to 12 are",
        "ALTER SYSTEM SET max_connections = 110;",
        room={"used_connections": 95},
        restart=True,
    ),
    at_source(
        "connections",
        WARNING,
        'role "o"dd" may open 5 sessions',
        'ALTER ROLE "o""dd" CONNECTION LIMIT 12;',
        room={"role_connections": 5},
    ),
    at_source(
        "connections",
        WARNING,
        'the connection limit of database "d"b" leaves 3 sessions free, and up to 12 are',
        'ALTER DATABASE "d""b" CONNECTION LIMIT 14;',
        room={"database_connections": 5},
    ),
    at_source(
        "read-tables",
        FATAL,
        's a.T"x|--filters',
        'GRANT USAGE ON SCHEMA "s a" TO "o""dd";',
        'GRANT SELECT ON TABLE "s a"."T""x" TO "o""dd";',
        tables=(table(readable=False),),
    ),
    at_source(
        "row-security",
        FATAL,
        's a.T"x',
        'ALTER ROLE "o""dd" BYPASSRLS;',
        tables=(table(row_security_applies=True),),
    ),
    at_source(
        "read-sequences",
        FATAL,
        "s;x.q",
        'GRANT USAGE ON SCHEMA "s;x" TO "o""dd";',
        'GRANT SELECT ON SEQUENCE "s;x"."q" TO "o""dd";',
        unreadable_sequences=(("s;x", "q"),),
    ),
    at_source(
        "read-large-objects",
        FATAL,
        "7, 8|--skip-large-objects",
        'GRANT SELECT ON LARGE OBJECT 7, 8 TO "o""dd";',
        unreadable_large_objects=(7, 8),
    ),
    at_source(
        "lock-table",
        FATAL,
        "100 tables|room for 50",
        "ALTER SYSTEM SET max_locks_per_transaction = 192;",
        tables=MANY,
        room={"lock_room": 50},
        restart=True,
    ),
    at_source("foreign-tables", NOTE, "s a.f", tables=(table("f", kind=TableKind.FOREIGN),)),
    at_source(
        "wal-level",
        FATAL,
        "wal_level is replica",
        "ALTER SYSTEM SET wal_level = 'logical';",
        facts={"wal_level": "replica"},
        restart=True,
    ),
    at_source("standby", FATAL, "standby|primary", facts={"in_recovery": True}, status=6),
    at_source(
        "replication-right",
        FATAL,
        "REPLICATION",
        'ALTER ROLE "o""dd" REPLICATION;',
        facts={"may_replicate": False},
    ),
    at_source(
        "slots",
        FATAL,
        "max_replication_slots is 4",
        "ALTER SYSTEM SET max_replication_slots = 14;",
        replication={"max_slots": 4, "used_slots": 4},
        restart=True,
    ),
    at_source(
        "senders",
        FATAL,
        "max_wal_senders is 2",
        "ALTER SYSTEM SET max_wal_senders = 12;",
        replication={"max_senders": 2, "used_senders": 2},
        restart=True,
    ),
    at_source(
        "plugin-allowed",
        FATAL,
        "does not allow wal2json|--plugin pgoutput",
        "ALTER SYSTEM SET output_plugin_libraries = 'pgoutput', 'odd''one', 'wal2json';",
        RELOAD,
        replication={"plugin_libraries": 'pgoutput, "odd\'one"'},
        intent=following(plugin=Plugin.WAL2JSON),
    ),
    at_source(
        "plugin-allowed",
        FATAL,
        "does not allow pgoutput",
        "ALTER SYSTEM SET output_plugin_libraries = 'pgoutput';",
        RELOAD,
        replication={"plugin_libraries": ""},
    ),
    at_source(
        "plugin-installed",
        FATAL,
        "wal2json cannot be used: could not access file|install wal2json",
        plugin_error='could not access file "wal2json"',
        intent=following(plugin=Plugin.WAL2JSON),
    ),
    at_source(
        "plugin-encoding",
        FATAL,
        "wal2json sends text in EUC_JP|pgoutput, which converts",
        facts={"encoding": "EUC_JP"},
        intent=following(plugin=Plugin.WAL2JSON),
        besides=("encoding",),
    ),
    at_source(
        "streaming",
        FATAL,
        "needs the plugin pgoutput|leave out --streaming on",
        intent=following(plugin=Plugin.TEST_DECODING, streaming=Streaming.ON),
    ),
    at_source(
        "streaming",
        FATAL,
        "needs PostgreSQL 14",
        facts={"version_num": 130022},
        intent=following(streaming=Streaming.ON),
    ),
    at_source(
        "slot-name",
        FATAL,
        '"my\'slot" already exists, of the database|--slot-name',
        "SELECT pg_catalog.pg_drop_replication_slot('my''slot');",
        slot=SlotState(database='a"b', active=False),
        intent=following(slot_name="my'slot"),
        status=3,
    ),
    at_source(
        "slot-name",
        FATAL,
        "somebody reads from it|--slot-name",
        slot=SlotState(database="d", active=True),
        status=3,
    ),
    at_source(
        "publication",
        FATAL,
        "lacks s.t|--publication",
        'DROP PUBLICATION "p""b";',
        publications=(PublicationState(name='p"b', differences="lacks s.t"),),
        status=3,
    ),
    at_source(
        "create-publication",
        FATAL,
        "may not create a publication",
        'GRANT CREATE ON DATABASE "d""b" TO "o""dd";',
        replication={"may_create": False},
    ),
    at_source(
        "publish-tables",
        FATAL,
        's a.T"x|only owners may publish|or use --plugin',
        'GRANT "own\'er" TO "o""dd";',
        unowned=frozenset({100}),
    ),
    at_source(
        "publish-tables",
        FATAL,
        "use a superuser",
        tables=(table(owner="postgres"),),
        unowned=frozenset({100}),
    ),
    at_source(
        "identity",
        FATAL,
        "1 tables have no usable|--no-identity full",
        'ALTER TABLE "s a"."k" REPLICA IDENTITY FULL;',
        tables=(keyless(),),
    ),
    at_source(
        "identity",
        WARNING,
        "not carried",
        tables=(keyless(),),
        intent=following(no_identity=NoIdentity.INSERT_ONLY),
    ),
    at_source(
        "identity",
        NOTE,
        "get REPLICA IDENTITY FULL",
        tables=(keyless(),),
        intent=following(no_identity=NoIdentity.FULL),
    ),
    at_source(
        "alter-identity",
        FATAL,
        "s a.k|only owners",
        'GRANT "own\'er" TO "o""dd";',
        tables=(keyless(),),
        unowned=frozenset({100}),
        intent=following(no_identity=NoIdentity.FULL, plugin=Plugin.TEST_DECODING),
        besides=("identity",),
    ),
    at_source(
        "generated-identity",
        FATAL,
        "s a.g|test_decoding",
        'ALTER TABLE "s a"."g" REPLICA IDENTITY FULL;',
        tables=(GENERATED,),
    ),
    at_source(
        "full-identity",
        NOTE,
        "s a.k|primary key",
        tables=(keyless(replica_identity=ReplicaIdentity.FULL),),
    ),
    at_source(
        "blocking-transaction",
        FATAL,
        "'it's' of app is 3 d old|COMMIT PREPARED",
        "ROLLBACK PREPARED 'it''s';",
        blockers=(PREPARED,),
    ),
    at_source(
        "blocking-transaction",
        WARNING,
        "is 30 s old",
        "ROLLBACK PREPARED 'it''s';",
        blockers=(replace(PREPARED, seconds=30),),
    ),
    at_source(
        "blocking-transaction",
        WARNING,
        "(pid 4711) is open for 2 h",
        "SELECT pg_catalog.pg_terminate_backend(4711);",
        blockers=(OLD,),
    ),
    at_source(
        "wal-limit",
        WARNING,
        "is 64 MB:",
        "ALTER SYSTEM SET max_slot_wal_keep_size = '-1';",
        RELOAD,
        replication={"max_slot_wal_keep": 64 << 20},
    ),
    at_source(
        "idle-limit",
        WARNING,
        "idle_replication_slot_timeout is 2 h: a slot",
        "ALTER SYSTEM SET idle_replication_slot_timeout = 0;",
        RELOAD,
        replication={"idle_slot_timeout": 7200.0},
    ),
    at_source(
        "unlogged-tables",
        WARNING,
        "s a.u",
        'ALTER TABLE "s a"."u" SET LOGGED;',
        tables=(UNLOGGED,),
    ),
    at_source("large-objects", WARNING, "3 large objects", large_objects=3),
    at_source(
        "materialized-views",
        NOTE,
        "s a.v",
        tables=(table("v", kind=TableKind.MATERIALIZED_VIEW),),
    ),
    at_source(
        "strict-tables",
        NOTE,
        's a.T"x',
        constraints=(constraint(ConstraintKind.EXCLUSION),),
    ),
    at_source(
        "strict-tables",
        NOTE,
        's a.T"x',
        constraints=(constraint(ConstraintKind.PRIMARY_KEY, deferrable=True),),
    ),
    at_source(
        "always-triggers",
        NOTE,
        "audit on s.t",
        triggers=(Trigger(schema="s", table="t", name="audit"),),
    ),
    at_source(
        "collation-version",
        WARNING,
        "collation of the database|version 2.31|has 2.36|REFRESH",
        collations=(collation("2.31", "2.36"),),
    ),
    at_source(
        "collation-version",
        WARNING,
        "collation public.german",
        collations=(collation("153.14", "153.120", "german", "public"),),
    ),
]

TARGET_CASES = [
    at_target("pooler", FATAL, "by transaction|--target", pooling=TORN),
    at_target(
        "connections",
        WARNING,
        "leaves 10 sessions free, and up to 16",
        "ALTER SYSTEM SET max_connections = 106;",
        room={"used_connections": 87},
        restart=True,
    ),
    at_target(
        "parallel-builds",
        NOTE,
        "max_parallel_maintenance_workers is 0: however large",
        "ALTER SYSTEM SET max_parallel_maintenance_workers = 2;",
        RELOAD,
        room={"max_parallel_maintenance_workers": 0},
    ),
    at_target(
        "parallel-builds",
        NOTE,
        "max_parallel_workers and max_worker_processes are 0:",
        "ALTER SYSTEM SET max_parallel_workers = 8;",
        "ALTER SYSTEM SET max_worker_processes = 8;",
        RELOAD,
        room={"max_parallel_workers": 0, "max_worker_processes": 0},
        restart=True,
    ),
    at_target(
        "standby",
        FATAL,
        "takes no writes",
        "SELECT pg_catalog.pg_promote();",
        facts={"in_recovery": True},
        status=7,
    ),
    at_target(
        "create-schemas",
        FATAL,
        'in database "d"b"',
        'GRANT CREATE ON DATABASE "d""b" TO "o""dd";',
        replication={"may_create": False},
        status=7,
    ),
    at_target(
        "helper-schema",
        FATAL,
        "not of this program's making",
        "ALTER SCHEMA pgcopydb RENAME TO pgcopydb_before;",
        foreign_helper_schema=True,
        status=7,
    ),
    at_target("not-empty", FATAL, 's a.T"x|--drop-if-exists', tables=(table(),), status=7),
    at_target("not-empty", FATAL, "large objects", has_large_objects=True, status=7),
    at_target(
        "not-empty",
        FATAL,
        "it has function s.f()",
        named_objects=(NamedObject("s", "function s.f()"),),
        source=source(named_objects=(NamedObject("s", "function s.f()"),)),
        status=7,
    ),
    at_target(
        "origins",
        FATAL,
        "max_active_replication_origins is 2|has 2",
        "ALTER SYSTEM SET max_active_replication_origins = 12;",
        replication={"max_origins": 2, "used_origins": 2},
        restart=True,
    ),
    at_target(
        "origins",
        FATAL,
        "max_replication_slots is 2",
        "ALTER SYSTEM SET max_replication_slots = 12;",
        facts={"version_num": 170000},
        replication={"max_origins": 2, "used_origins": 2},
        restart=True,
    ),
    at_target(
        "origin-name",
        FATAL,
        '"o\'1" exists|--origin',
        "SELECT pg_catalog.pg_replication_origin_drop('o''1');",
        origin_exists=True,
        intent=following(origin="o'1"),
        status=3,
    ),
    at_target(
        "origin-rights",
        NOTE,
        "progress is kept in a table",
        *(
            f'GRANT EXECUTE ON FUNCTION pg_catalog.{one} TO "o""dd";'
            for one in readiness.applying.ORIGIN_FUNCTIONS
        ),
        may_use_origins=False,
    ),
    at_target(
        "silence-triggers",
        NOTE,
        "session_replication_role",
        'GRANT SET ON PARAMETER session_replication_role TO "o""dd";',
        may_silence=False,
    ),
    at_target(
        "version",
        WARNING,
        "PostgreSQL 15, older than the source (16)",
        facts={"version_num": 150004},
        replication={},
    ),
    at_target(
        "encoding",
        WARNING,
        "the target is LATIN1, the source UTF8|ENCODING 'UTF8'",
        facts={"encoding": "LATIN1"},
    ),
    at_target("encoding", WARNING, "bytes are taken as they are", facts={"encoding": "SQL_ASCII"}),
    at_target(
        "encoding",
        WARNING,
        "or refused|'SQL_ASCII'",
        source=source(facts={"encoding": "SQL_ASCII"}),
    ),
    at_target("encoding", NOTE, "converted from LATIN1 to UTF8", source=LATIN),
    at_target("locale", NOTE, "de_DE / C.UTF-8|LC_COLLATE", facts={"collation": "de_DE"}),
    at_target(
        "locale",
        NOTE,
        "has the locale C.UTF-8 / C.UTF-8, the source's de-AT of ICU|ICU_LOCALE",
        source=source(facts={"provider": "i", "locale": "de_AT"}),
    ),
    at_target(
        "collations",
        FATAL,
        '"de_DE"',
        "SELECT pg_catalog.pg_import_system_collations('pg_catalog');",
        source=source(collations=(collation(None, None, "de_DE", "pg_catalog"),)),
    ),
    *(
        at_target(
            "build",
            severity,
            f"built without {option.value}|s.t",
            built_without=frozenset({option}),
            source=source(
                build_needs=(BuildNeed(option=option, schema="s", name="t", column=column),)
            ),
        )
        for option, column, severity in (
            (BuildOption.ICU, None, FATAL),
            (BuildOption.LZ4, "c", FATAL),
            (BuildOption.LIBXML, "c", WARNING),
        )
    ),
    at_target(
        "collation-version",
        NOTE,
        "version 2.41|on the source by 2.36",
        collation_versions=(collation("2.41", "2.41"),),
        source=source(collations=(collation("2.36", "2.36"),)),
    ),
    at_target(
        "collation-version",
        NOTE,
        "collation of the database was made with version 2.31|has 2.36: the copy builds",
        collation_versions=(collation("2.31", "2.36"),),
    ),
    at_target(
        "collation-version",
        WARNING,
        "collation public.german|rows are not found|REFRESH",
        collation_versions=(collation("153.14", "153.120", "german", "public"),),
        intent=CAPTURED,
    ),
    at_target("extensions", FATAL, '"hst ore"|--skip-extensions', source=PLAIN),
    at_target(
        "create-extensions",
        FATAL,
        'may not create the extensions "hst ore"',
        'CREATE EXTENSION IF NOT EXISTS "hst ore" CASCADE;',
        extensions=(available(creatable=False),),
        source=PLAIN,
        status=7,
    ),
    at_target(
        "extension-comments",
        FATAL,
        "--skip-ext-comments",
        extensions=(available(installed_version="1.8"),),
        source=PLAIN,
        status=7,
    ),
    at_target(
        "extension-version",
        NOTE,
        "is 1.7 on the source and will be 1.8|--requirements|1.7, 1.8",
        extensions=(available(),),
        source=source(extensions=(extension(version="1.7"),)),
    ),
    at_target(
        "extension-version",
        WARNING,
        "is 1.9 on the source and will be 1.8|does not have the source's version",
        extensions=(available(),),
        source=source(extensions=(extension(version="1.9"),)),
    ),
    at_target(
        "roles",
        FATAL,
        '"re"ader"|--roles',
        'CREATE ROLE "re""ader";',
        source=source(roles=('re"ader',)),
    ),
    at_target(
        "roles",
        FATAL,
        '"named" do not exist, which policies or user mappings of the source name|--roles',
        'CREATE ROLE "named";',
        source=source(owners=("nobody",), roles=("nobody",), named_roles=("named", "own'er")),
        intent=copying(no_owner=True, no_acl=True),
    ),
    at_target(
        "create-roles",
        FATAL,
        'role "o"dd" may not create roles, and "re"ader" do not exist|leave out --roles',
        'ALTER ROLE "o""dd" CREATEROLE;',
        role_creators=frozenset(),
        source=source(roles=('re"ader',)),
        intent=copying(roles=True),
        status=7,
    ),
    at_target(
        "create-roles",
        WARNING,
        "those that are there are kept",
        'ALTER ROLE "o""dd" CREATEROLE;',
        role_creators=frozenset(),
        intent=copying(roles=True),
        status=7,
    ),
    at_target(
        "ownership",
        FATAL,
        '"own\'er", "postgres"|--no-owner',
        'GRANT "own\'er" TO "o""dd" WITH INHERIT TRUE, SET TRUE;',
        assumable_roles=frozenset(),
        source=source(owners=("own'er", "postgres")),
        status=7,
    ),
    at_target(
        "ownership",
        FATAL,
        "the owner of anything, such as s a.a, s a.b, s a.c, s a.d, s a.e and 2 more|--no-owner",
        'GRANT "own\'er" TO "o""dd" WITH INHERIT TRUE, SET TRUE;',
        assumable_roles=frozenset(),
        source=source(
            owners=("own'er",),
            tables=(
                *(table(name, owner="own'er") for name in "abcdefg"),
                table("h", owner="another"),
            ),
        ),
        status=7,
    ),
    at_target(
        "ownership",
        FATAL,
        "who will own what it has to fill, such as s a.a|--no-owner",
        'GRANT "own\'er" TO "o""dd" WITH INHERIT TRUE, SET TRUE;',
        usable_roles=frozenset(),
        source=source(tables=(table("a", owner="own'er"),)),
        status=7,
    ),
    at_target(
        "ownership",
        FATAL,
        'does not inherit the rights of "own\'er"|--no-owner',
        'GRANT "own\'er" TO "o""dd" WITH INHERIT TRUE, SET TRUE;',
        usable_roles=frozenset(),
        status=7,
    ),
    at_target(
        "ownership",
        FATAL,
        'does not inherit the rights of "own\'er"|--no-owner',
        'GRANT "own\'er" TO "o""dd";',
        'ALTER ROLE "o""dd" INHERIT;',
        source=source(facts={"version_num": 150000}),
        facts={"version_num": 150000},
        usable_roles=frozenset(),
        inherits=False,
        status=7,
    ),
    at_target(
        "new-owners",
        FATAL,
        'creates "new" without getting their rights|--no-owner',
        """ALTER ROLE "o""dd" SET createrole_self_grant = 'set, inherit';""",
        source=source(owners=("new",)),
        intent=copying(roles=True),
        status=7,
    ),
    at_target("tablespaces", FATAL, '"fast"', source=source(tablespaces=("fast",))),
    at_target(
        "superuser-objects",
        FATAL,
        'role "o"dd" is no superuser and may not create event trigger "e e", schema s in'
        " publication p, type s.t|--filters",
        source=source(superuser_objects=SUPERUSERS),
        status=7,
    ),
    at_target(
        "foreign-servers",
        FATAL,
        '"o"dd", "own\'er" may not have servers of the foreign data wrappers "w"r"',
        'GRANT USAGE ON FOREIGN DATA WRAPPER "w""r" TO "o""dd";',
        'GRANT USAGE ON FOREIGN DATA WRAPPER "w""r" TO "own\'er";',
        source=source(right_needs=(SERVED, replace(SERVED, wrapper="new"))),
        wrappers=(ForeignDataWrapper(name='w"r', users=("postgres",)),),
        status=7,
    ),
    at_target(
        "publication-owners",
        FATAL,
        '"own\'er" may not create anything in database "d"b"|--no-owner',
        'GRANT CREATE ON DATABASE "d""b" TO "own\'er";',
        source=source(right_needs=(replace(SERVED, wrapper=None),)),
        status=7,
    ),
    at_target(
        "languages",
        FATAL,
        'role "o"dd" may not use the languages "sql": s.f',
        'GRANT USAGE ON LANGUAGE "sql" TO "o""dd";',
        source=source(routines=(LOGGED, replace(LOGGED, name="g", language="c"))),
        closed_languages=frozenset({"sql", "pl"}),
        status=7,
    ),
    at_target(
        "set-parameters",
        FATAL,
        'role "o"dd" may not create functions that set "log_statement": s.f|RESET',
        'GRANT SET ON PARAMETER "log_statement" TO "o""dd";',
        source=source(routines=(LOGGED, replace(LOGGED, name="g", settings=()))),
        refused_settings=(DENIED,),
        status=7,
    ),
    at_target(
        "set-parameters",
        FATAL,
        "s.f|RESET",
        source=source(routines=(LOGGED,), facts={"version_num": 140000}),
        refused_settings=(DENIED,),
        facts={"version_num": 140000},
        status=7,
    ),
    at_target(
        "function-settings",
        FATAL,
        "the server refuses: s.f (there is no a.b)|RESET",
        source=source(routines=(LOGGED, replace(LOGGED, name="g", settings=()))),
        refused_settings=(UNKNOWN,),
        status=7,
    ),
    at_target(
        "default-privilege-roles",
        FATAL,
        '"later", "new" do not exist|--roles|--no-acl',
        'CREATE ROLE "later";',
        'CREATE ROLE "new";',
        source=source(default_privileges=(GIVEN, replace(GIVEN, role="new", grantees=("later",)))),
    ),
    at_target(
        "default-privileges",
        FATAL,
        '"own\'er", "postgres"|--no-acl',
        'GRANT "own\'er" TO "o""dd" WITH INHERIT TRUE, SET TRUE;',
        source=source(default_privileges=(GIVEN, replace(GIVEN, role="postgres")), owners=()),
        usable_roles=frozenset({'o"dd'}),
        status=7,
    ),
    at_target(
        "future-rights",
        WARNING,
        'role "o"dd" on large objects, tables, types in schema "s"|after the copy',
        'ALTER DEFAULT PRIVILEGES FOR ROLE "o""dd" REVOKE ALL ON TABLES FROM "own\'er", PUBLIC;',
        'ALTER DEFAULT PRIVILEGES FOR ROLE "o""dd" GRANT ALL ON TABLES TO "o""dd";',
        'ALTER DEFAULT PRIVILEGES FOR ROLE "o""dd" IN SCHEMA "s" REVOKE ALL ON TYPES FROM PUBLIC;',
        'ALTER DEFAULT PRIVILEGES FOR ROLE "o""dd" GRANT ALL ON LARGE OBJECTS TO "o""dd";',
        source=source(default_privileges=(LATER,), tables=(table(schema="s"),)),
        default_privileges=(
            LATER,
            replace(LATER, schema="s", kind="TYPES", grantees=()),
            replace(LATER, kind="LARGE OBJECTS", grantees=(), to_public=False),
        ),
    ),
    at_target(
        "grantors",
        FATAL,
        'in the name of "own\'er", who are not the owners of table s.t|--no-acl',
        source=source(
            strange_grants=(GRANTED, replace(GRANTED, name="table s.u", grantors=('o"dd',)))
        ),
        status=7,
    ),
    at_target(
        "schema-owners",
        FATAL,
        '"o\'ther" own objects in the schemas "s x" of "own\'er"|--no-owner',
        'GRANT "own\'er" TO "o\'ther";',
        source=source(shared_schemas=(SHARED, replace(SHARED, schema="y"))),
        closed_schemas=(SHARED,),
        status=7,
    ),
    at_target(
        "languages",
        FATAL,
        'may not use the languages "pl", on which the source has rights that are copied',
        'GRANT USAGE ON LANGUAGE "pl" TO "o""dd";',
        source=source(restricted_languages=frozenset({"pl", "sql"})),
        closed_languages=frozenset({"pl"}),
        status=7,
    ),
    at_target(
        "given-up",
        FATAL,
        "PostgreSQL 18 cannot make operator s.!(integer,NONE) any more|drop them",
        source=source(
            given_up=(
                GivenUp(catalog=1, oid=1, name="operator s.!(integer,NONE)", since=17),
                GivenUp(catalog=1, oid=1, name="aggregate s.a(integer)", since=19),
                GivenUp(catalog=1, oid=1, name="aggregate s.b(integer)", since=14),
            )
        ),
    ),
    at_target(
        "system-rights",
        FATAL,
        'role "o"dd" may not give the rights that the source has on f|--no-acl',
        source=source(system_rights=(RIGHT, replace(RIGHT, name="g"))),
        system_rights=(replace(RIGHT, is_open=False), replace(RIGHT, name="g")),
        status=7,
    ),
    at_target(
        "system-rights",
        WARNING,
        "are not carried: f|superuser",
        source=source(system_rights=(RIGHT,)),
        system_rights=(replace(RIGHT, name="g", is_open=False),),
        status=7,
    ),
    at_target("disk", NOTE, "take about 5 GB on the source", source=source(tables=LARGE)),
    at_target(
        "create-in-public",
        FATAL,
        '"o"dd", "own\'er"',
        'GRANT CREATE ON SCHEMA public TO "o""dd";',
        'GRANT CREATE ON SCHEMA public TO "own\'er";',
        source=source(owners_in_public=frozenset({"own'er"})),
        status=7,
    ),
]

BUSY = source(wal_bytes_per_second=1 << 20)
SAME = target(facts=SERVER)
HERE_CASES = [
    Case(
        "same-database", FATAL, None, Scene(target=target(facts=SERVER)), ('same database "d"b"',)
    ),
    Case(
        "client-tools",
        FATAL,
        None,
        Scene(here=here(tools=(), tools_error=("pg_dump 15 is too old for server 16", "install"))),
        ("pg_dump 15 is too old", "install"),
    ),
    *(
        Case(
            "client-tools",
            WARNING,
            None,
            Scene(here=here(tools=(("pg_dump", version),))),
            (f"pg_dump {version[0]}.{version[1]} lacks", "update"),
        )
        for version in ((17, 5), (16, 9), (15, 13), (14, 18), (13, 21), (12, 22))
    ),
    Case(
        "work-directory",
        FATAL,
        None,
        Scene(source=BUSY, here=here(directory_error=("/w is no directory", "choose another"))),
        ("/w is no directory", "choose another"),
        status=3,
    ),
    Case("disk", NOTE, None, Scene(source=BUSY), ("1.0 TB are free", "4 GB", "12 d")),
    Case(
        "disk",
        WARNING,
        None,
        Scene(source=BUSY, here=here(free_bytes=1 << 30)),
        ("1 GB are free at /w", "17 min"),
    ),
]

CASES = [*SOURCE_CASES, *TARGET_CASES, *HERE_CASES]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_found(case: Case) -> None:
    findings = case.scene.findings()
    (found,) = (one for one in findings if one.check == case.check)
    assert tuple(one.check for one in findings if one is not found) == case.besides
    assert (found.check, found.severity, found.side) == (case.check, case.severity, case.side)
    text = f"{found.message} | {found.advice}"
    for part in case.says:
        assert part in text
    assert tuple(statement_text(one) for one in found.statements) == case.sql
    assert (found.status, found.restart) == (case.status, case.restart)
    if found.severity is FATAL:
        assert remedy(found), "what ends a migration must be said with what mends it"


NOT_FOUND = {
    "nothing": Scene(),
    "a superuser has no limit of connections": Scene(
        source=source(facts={"is_superuser": True}, room={"role_connections": 2})
    ),
    "a superuser has the reserved connections too": Scene(
        source=source(facts={"is_superuser": True}, room={"used_connections": 88})
    ),
    "as many connections as needed": Scene(
        source=source(
            room={"used_connections": 85, "role_connections": 12, "database_connections": 14}
        )
    ),
    "as many locks as there is room for": Scene(
        source=source(tables=MANY, room={"lock_room": 112})
    ),
    "the last slot, walsender and origin": Scene(
        source=source(replication={"used_slots": 9, "used_senders": 9}),
        target=target(replication={"used_origins": 9}),
    ),
    "plugins that are allowed": Scene(
        source=source(replication={"plugin_libraries": ' test_decoding , "pgoutput"'})
    ),
    "a standby that is only copied, by a role that may not replicate": Scene(
        source=source(
            facts={"in_recovery": True, "may_replicate": False, "wal_level": "replica"},
            replication={"max_slots": 0, "max_senders": 0, "may_create": False},
            blockers=(PREPARED,),
            constraints=(constraint(ConstraintKind.EXCLUSION),),
            large_objects=1,
        ),
        target=target(may_use_origins=False, may_silence=False, origin_exists=True),
        intent=COPY,
    ),
    "tables without a key that are only copied": Scene(
        source=source(tables=(keyless(), UNLOGGED), unowned=frozenset({100})), intent=COPY
    ),
    "a capture that is there": Scene(
        source=source(
            tables=(keyless(readable=False), GENERATED),
            slot=SlotState(database="d", active=False),
            replication={"used_slots": 10, "may_create": False},
            unowned=frozenset({100}),
            blockers=(PREPARED, OLD),
        ),
        target=target(tables=(table(),), has_large_objects=True, origin_exists=True),
        intent=CAPTURED,
    ),
    "a receive that was killed, whose walsender is still there": Scene(
        source=source(slot=SlotState(database="d", active=True), replication={"used_senders": 10}),
        intent=CAPTURED,
    ),
    "a target that was prepared when the role had more rights": Scene(
        target=target(
            replication={"may_create": False, "used_origins": 10}, foreign_helper_schema=True
        ),
        intent=replace(CAPTURED, prepared=True),
    ),
    "a capture that is started over": Scene(
        source=source(slot=SlotState(database="d", active=False), replication={"used_slots": 10}),
        target=target(origin_exists=True),
        intent=REPLACED,
    ),
    "an origin that is there needs no room": Scene(
        target=target(origin_exists=True, replication={"used_origins": 10}), intent=CAPTURED
    ),
    "a publication that somebody made as it is needed": Scene(
        source=source(
            publications=(PublicationState(name="pgcopydb", differences=""),),
            replication={"may_create": False},
            unowned=frozenset({100}),
        )
    ),
    "a plugin that needs no publication": Scene(
        source=source(
            tables=(GENERATED,), replication={"may_create": False}, unowned=frozenset({100})
        ),
        intent=following(plugin=Plugin.TEST_DECODING),
    ),
    "partitions that their table's publication stands for": Scene(
        source=source(
            tables=(
                table("root", oid=1, kind=TableKind.PARTITIONED),
                table("leaf", oid=2, is_partition=True, parent_oids=(1,)),
            ),
            unowned=frozenset({2}),
        )
    ),
    "transactions that will end": Scene(source=source(blockers=(replace(OLD, seconds=5),))),
    "a unique constraint that is checked at once": Scene(
        source=source(constraints=(constraint(ConstraintKind.UNIQUE),))
    ),
    "a full identity besides a key": Scene(
        source=source(tables=(table(replica_identity=ReplicaIdentity.FULL),))
    ),
    "collations that are as they were, or do not say": Scene(
        source=source(collations=(collation("2.36", "2.36"), collation(None, "2", "x", "public"))),
        target=target(collation_versions=(collation("2.36", "2.36"),)),
    ),
    "extensions that are there": Scene(
        source=PLAIN,
        target=target(
            extensions=(available(installed_version="1.8", owned=True, creatable=False),)
        ),
    ),
    "extensions that are left out": Scene(source=PLAIN, intent=copying(skip_extensions=True)),
    "collations that are left out": Scene(
        source=source(
            build_needs=(BuildNeed(option=BuildOption.ICU, schema="s", name="c", column=None),)
        ),
        target=target(built_without=frozenset(BuildOption)),
        intent=copying(skip_collations=True),
    ),
    "what only a superuser creates, by one": Scene(
        source=source(superuser_objects=SUPERUSERS), target=target(facts={"is_superuser": True})
    ),
    "owners who may have what they get": Scene(
        source=source(right_needs=(SERVED, replace(SERVED, wrapper=None))),
        target=target(
            creators=frozenset({"own'er"}),
            wrappers=(ForeignDataWrapper(name='w"r', users=('o"dd', "own'er")),),
        ),
    ),
    "rights and owners that no superuser asks for": Scene(
        source=source(
            right_needs=(SERVED, replace(SERVED, wrapper=None)),
            system_rights=(RIGHT,),
            strange_grants=(GRANTED,),
            shared_schemas=(SHARED,),
        ),
        target=target(
            closed_schemas=(SHARED,),
            facts={"is_superuser": True},
            wrappers=(ForeignDataWrapper(name='w"r', users=()),),
            system_rights=(replace(RIGHT, is_open=False),),
        ),
    ),
    "rights of the server's own that are left out, or as they were": Scene(
        source=source(
            right_needs=(replace(SERVED, wrapper=None),),
            system_rights=(RIGHT, replace(RIGHT, name="g", is_changed=False)),
        ),
        target=target(system_rights=(replace(RIGHT, is_open=False),)),
        intent=copying(no_acl=True, no_owner=True),
    ),
    "default privileges, grantors and owners that are left out": Scene(
        source=source(
            default_privileges=(replace(GIVEN, role="new"),),
            strange_grants=(GRANTED,),
            shared_schemas=(SHARED,),
            restricted_languages=frozenset({"pl"}),
        ),
        target=target(closed_schemas=(SHARED,), closed_languages=frozenset({"pl"})),
        intent=copying(no_acl=True, no_owner=True),
    ),
    "default privileges of the target that are not for what is copied": Scene(
        source=source(tables=(table(schema="s"), table(schema="left_out"))),
        target=target(
            default_privileges=(
                replace(LATER, role="own'er"),
                replace(LATER, schema="other"),
                replace(LATER, schema="left_out"),
            )
        ),
        intent=replace(ONLINE, filters=parse_filters("[exclude-schema]\nleft_out\n", origin="f")),
    ),
    "default privileges of the target where none are copied": Scene(
        target=target(default_privileges=(LATER,)), intent=copying(no_acl=True)
    ),
    "default privileges of the target that a follow does not meet": Scene(
        target=target(default_privileges=(LATER,)), intent=CAPTURED
    ),
    "default privileges that are replaced": Scene(
        source=source(default_privileges=(LATER,)),
        target=target(default_privileges=(replace(LATER, oid=7, grantees=()),)),
        intent=copying(drop_if_exists=True),
    ),
    "default privileges of roles that are copied, and of one's own": Scene(
        source=source(default_privileges=(GIVEN, replace(GIVEN, role="new"))),
        target=target(role_creators=frozenset({'o"dd'})),
        intent=copying(roles=True),
    ),
    "what a service lets others create too": Scene(
        source=source(superuser_objects=SUPERUSERS[:1]),
        target=target(creatable_kinds=frozenset({"event trigger"})),
    ),
    "what a follow needs no more": Scene(
        source=source(
            superuser_objects=SUPERUSERS,
            tables=LARGE,
            routines=(LOGGED,),
            default_privileges=(replace(GIVEN, role="new"),),
        ),
        target=target(
            room={"max_parallel_workers": 0},
            refused_settings=(DENIED,),
            closed_languages=frozenset({"sql"}),
        ),
        intent=CAPTURED,
    ),
    "a slot that nobody makes": Scene(
        source=source(replication={"idle_slot_timeout": 60.0}), intent=COPY
    ),
    "large tables whose rows a filter leaves out": Scene(
        source=source(tables=LARGE),
        intent=replace(
            COPY, filters=parse_filters('[exclude-table-data]\n"s a".~/./\n', origin="f")
        ),
    ),
    "owners and rights that are left out": Scene(
        source=source(owners=("nobody",), roles=("nobody",)),
        intent=copying(no_owner=True, no_acl=True),
    ),
    "roles that are copied": Scene(
        source=source(owners=("nobody",), roles=("nobody",), named_roles=("nobody",)),
        target=target(grants_itself=True),
        intent=copying(roles=True),
    ),
    "tablespaces that are left out": Scene(
        source=source(tablespaces=("fast",)), intent=copying(no_tablespaces=True)
    ),
    "large objects that are left out": Scene(
        source=source(large_objects=1, unreadable_large_objects=(7,)),
        target=target(has_large_objects=True),
        intent=copying(skip_large_objects=True),
    ),
    "tables that may be replaced": Scene(
        target=target(tables=(table(),)), intent=copying(drop_if_exists=True)
    ),
    "what an unfinished run left": Scene(
        target=target(tables=(table(),)), intent=replace(ONLINE, left_in="2/5")
    ),
    "rows that a filter leaves out": Scene(
        source=source(tables=(table("t", schema="s", readable=False, row_security_applies=True),)),
        intent=replace(COPY, filters=parse_filters("[exclude-table-data]\ns.t\n", origin="f")),
    ),
    "an object of a schema that a filter leaves out": Scene(
        source=source(named_objects=(NamedObject("s", "function s.f()"),)),
        target=target(named_objects=(NamedObject("s", "function s.f()"),)),
        intent=replace(ONLINE, filters=parse_filters("[exclude-schema]\ns\n", origin="f")),
    ),
    "a role that may create in public": Scene(
        source=source(tables=(table("t", schema="public"),)),
        target=target(creators_in_public=frozenset({'o"dd', "own'er"})),
    ),
    "programs with the fix": Scene(
        here=here(tools=(("pg_dump", (16, 10)), ("pg_restore", (17, 6))))
    ),
    "programs that a follow does not need": Scene(
        here=here(tools=(("pg_dump", (15, 1)),), tools_error=("none", None)), intent=CAPTURED
    ),
    "another database of one server": Scene(
        target=target(facts={"system_identifier": 1, "database_oid": 6})
    ),
    "one locale of ICU, which 16 and later write as a language tag": Scene(
        source=source(facts={"provider": "i", "locale": "@colNumeric=yes", "collation": "de_DE"}),
        target=target(facts={"provider": "i", "locale": "und-u-kn"}),
    ),
}


@pytest.mark.parametrize("scene", NOT_FOUND.values(), ids=NOT_FOUND)
def test_not_found(scene: Scene) -> None:
    assert scene.findings() == []


def test_an_unlogged_table_is_only_said_to_be_unlogged() -> None:
    """It is in no publication, so that neither its owner nor its key matters."""
    odd = replace(UNLOGGED, columns=(column(generated="s"),))
    scene = Scene(source=source(tables=(odd,), unowned=frozenset({odd.oid})))
    assert [found.check for found in scene.findings()] == ["unlogged-tables"]


def test_how_long_the_log_is_kept_is_told_where_the_rate_is_known() -> None:
    limited = source(replication={"max_slot_wal_keep": 1 << 30}, wal_bytes_per_second=1 << 20)
    found = {one.check: one for one in Scene(source=limited).findings()}
    assert "1 GB, which is 17 min of its usual writes:" in found["wal-limit"].message


def test_before_15_no_grant_lets_a_role_silence_triggers() -> None:
    old = Scene(target=target(facts={"version_num": 140010}, may_silence=False))
    (found,) = (one for one in old.findings() if one.check == "silence-triggers")
    assert found.statements == ()
    assert found.advice == "before PostgreSQL 15 only a superuser may"


def test_a_role_that_may_not_see_the_identifier_still_knows_its_own_database() -> None:
    same = replace(SERVER, system_identifier=None)
    other = replace(same, started_at="2026-02-02")
    assert [one.check for one in Scene(target=target(facts=same)).findings()] == ["same-database"]
    assert Scene(target=target(facts=other)).findings() == []


def test_a_promoted_copy_of_the_source_is_another_database_and_a_standby_is_not() -> None:
    promoted = replace(SERVER, started_at="2026-02-02")
    assert Scene(target=target(facts=promoted)).findings() == []
    standby = Scene(source=source(facts={"in_recovery": True}), target=target(facts=promoted))
    assert "same-database" in {one.check for one in standby.findings()}


def test_what_lacks_something_on_the_target_is_told_by_kind() -> None:
    """What is not copied is no matter."""
    gone = SystemName(
        kind="function", schema="pg_catalog", name="f", detail="", least=0, most=0, text="f()"
    )
    column = replace(gone, kind="column", text="pg_class.c")
    users = {(1, 6): [gone], (1, 4): [gone], (1, 5): [gone, column], (2, 7): [gone], (1, 9): [gone]}
    objects = [
        ExpressionObject(catalog=2, oid=7, kind="policy", name="p on s.t"),
        ExpressionObject(catalog=1, oid=6, kind="index", name="s.i"),
        ExpressionObject(catalog=1, oid=4, kind="view", name="s.v"),
        ExpressionObject(catalog=1, oid=5, kind="view", name="s.w"),
    ]
    policies, indexes, views = system_names(users, objects, FIT_TARGET)
    assert (policies.check, policies.severity, policies.side) == ("system-names", FATAL, TARGET)
    assert policies.message == (
        "PostgreSQL 18 does not have what policies of the source use: p on s.t (function f())"
    )
    assert views.message == (
        "PostgreSQL 18 does not have what views of the source use: s.v (function f()),"
        " s.w (column pg_class.c, function f())"
    )
    assert "what indexes of" in indexes.message
    assert "[exclude-table]" in str(views.advice)
    assert "[exclude-index]" in str(indexes.advice)
    assert "[exclude" not in str(policies.advice)
    assert list(system_names(users, [], FIT_TARGET)) == []


def test_features_that_the_target_is_too_old_for_are_told_one_by_one() -> None:
    index = NewFeature(feature="NULLS NOT DISTINCT", since=15, catalog=1, oid=1, name="index s.i")
    found = [
        index,
        replace(index, oid=2, name="index s.j"),
        replace(index, feature="NOT ENFORCED", since=18, oid=3, name="table constraint c on s.t"),
    ]
    old = target(facts={"version_num": 140010})
    nulls, ignored = new_features(found, old)
    assert (nulls.check, nulls.severity, nulls.side) == ("new-features", FATAL, TARGET)
    assert nulls.message == "PostgreSQL 14 does not know NULLS NOT DISTINCT: index s.i, index s.j"
    assert ignored.message == "PostgreSQL 14 does not know NOT ENFORCED: table constraint c on s.t"
    assert str(ignored.advice).startswith("use a target of PostgreSQL 18 or later, or ")
    assert list(new_features([], old)) == []


RULES: list[tuple[Callable[..., Iterable[Finding]], Callable[[Scene], tuple[object, ...]]]] = [
    *((check, lambda one: (one.source,)) for check in readiness.SOURCE_CHECKS),
    *((check, lambda one: (one.target,)) for check in readiness.TARGET_CHECKS),
    *((check, lambda one: (one.source, one.target)) for check in readiness.PAIR_CHECKS),
    *((check, lambda one: (one.here, one.source)) for check in readiness.MACHINE_CHECKS),
]
"""Every rule, and what it is asked about."""


def test_every_rule_is_provoked_and_silent_elsewhere() -> None:
    for check, facts in RULES:
        assert not list(check(*facts(Scene()), ONLINE)), check
        assert any(list(check(*facts(case.scene), case.scene.intent)) for case in CASES), check


@pytest.mark.parametrize(
    ("statuses", "expected"), [((), 0), ((3,), 3), ((7, 7), 7), ((3, 7), 2), ((2, 6), 2)]
)
def test_the_status_is_what_all_fatal_findings_agree_on(
    statuses: Iterable[int], expected: int
) -> None:
    fatal = [
        Finding(severity=FATAL, side=None, check="x", message="x", status=status)
        for status in statuses
    ]
    calm = Finding(severity=WARNING, side=None, check="x", message="x", status=6)
    assert Report(findings=(*fatal, calm)).status == expected
