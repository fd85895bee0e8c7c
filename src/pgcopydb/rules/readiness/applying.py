"""How changes will be applied to the target: what is recorded, silenced, and done row by row."""

from collections.abc import Iterator
from typing import Final

from pgcopydb.errors import some_of
from pgcopydb.model.endpoint import Side
from pgcopydb.model.findings import Finding, Name, Severity, Statement
from pgcopydb.model.objects import ConstraintKind
from pgcopydb.model.readiness import Intent, SourceFacts, TargetFacts, TargetServer
from pgcopydb.rules.readiness.wording import set_setting

ORIGIN_FUNCTIONS: Final = (
    "pg_replication_origin_create(text)",
    "pg_replication_origin_drop(text)",
    "pg_replication_origin_oid(text)",
    "pg_replication_origin_advance(text,pg_lsn)",
    "pg_replication_origin_progress(text,boolean)",
    "pg_replication_origin_session_setup(text)",
    "pg_replication_origin_session_reset()",
    "pg_replication_origin_xact_setup(pg_lsn,timestamptz)",
    "pg_replication_origin_xact_reset()",
)
"""Functions of pg_catalog that a role must be allowed to call to record progress in an origin."""

_SPARE: Final = 10

_KEYS: Final = {ConstraintKind.PRIMARY_KEY, ConstraintKind.UNIQUE}


def origin_room(target: TargetServer, intent: Intent) -> Iterator[Finding]:
    """Whether the server can keep another replication origin."""
    settings = target.replication
    if intent.follow is None or intent.prepared:
        return
    if not target.may_use_origins or target.origin_exists:
        return
    if settings.used_origins < settings.max_origins:
        return
    name = "max_active_replication_origins" if target.facts.major >= 18 else "max_replication_slots"
    yield Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="origins",
        message=f"{name} is {settings.max_origins}, and the server has {settings.used_origins}"
        " replication origins already",
        statements=set_setting(name, settings.max_origins + _SPARE),
        restart=True,
    )


def origin_name(target: TargetServer, intent: Intent) -> Iterator[Finding]:
    """Whether the origin's name is free: names are those of the whole server (ruling 22)."""
    if intent.follow is None or intent.captured or intent.replaces_capture:
        return
    if not target.origin_exists:
        return
    name = intent.follow.origin
    yield Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="origin-name",
        message=f'replication origin "{name}" exists and belongs to another run',
        statements=(Statement("SELECT pg_catalog.pg_replication_origin_drop({});", name),),
        advice="only if that migration is over; else choose another with --origin",
        status=3,
    )


def origin_rights(target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether progress is kept in an origin, or in a row of a table."""
    if intent.follow is None or target.may_use_origins:
        return
    role = Name(target.facts.role)
    yield Finding(
        severity=Severity.NOTE,
        side=Side.TARGET,
        check="origin-rights",
        message=f'role "{target.facts.role}" may not use replication origins: progress is kept in a'
        " table, and commits wait for the disk",
        statements=tuple(
            Statement(f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {{}};", role)
            for function in ORIGIN_FUNCTIONS
        ),
    )


def silencing(target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether foreign keys and triggers can be silenced while changes are applied (ruling 21)."""
    if intent.follow is None or target.may_silence:
        return
    since_15 = target.facts.major >= 15
    role = Name(target.facts.role)
    yield Finding(
        severity=Severity.NOTE,
        side=Side.TARGET,
        check="silence-triggers",
        message=f'role "{target.facts.role}" may not set session_replication_role: foreign keys and'
        " triggers are created after the last change, which makes the cut-over longer",
        statements=(
            (Statement("GRANT SET ON PARAMETER session_replication_role TO {};", role),)
            if since_15
            else ()
        ),
        advice=None if since_15 else "before PostgreSQL 15 only a superuser may",
    )


def strict_tables(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Tables whose constraints make changes go row by row (ruling 19)."""
    strict = sorted(
        {
            f"{constraint.table_schema}.{constraint.table_name}"
            for constraint in source.constraints
            if constraint.kind is ConstraintKind.EXCLUSION
            or (constraint.kind in _KEYS and constraint.is_deferrable)
        }
    )
    if intent.follow is None or not strict:
        return
    yield Finding(
        severity=Severity.NOTE,
        side=Side.SOURCE,
        check="strict-tables",
        message="changes of tables with deferrable keys or exclusion constraints are applied row by"
        f" row: {some_of(strict)}",
    )


def firing_triggers(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Triggers that would write what the stream brings as well."""
    if intent.follow is None or not source.triggers:
        return
    names = some_of([f"{one.name} on {one.schema}.{one.table}" for one in source.triggers])
    yield Finding(
        severity=Severity.NOTE,
        side=Side.SOURCE,
        check="always-triggers",
        message="triggers that fire in replicas too stay disabled on the target until the end of"
        f" the follow: {names}",
    )
