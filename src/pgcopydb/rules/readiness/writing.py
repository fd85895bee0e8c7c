"""Whether the target is there for the taking: writable, empty, and open to the role."""

from collections.abc import Iterator
from typing import Final

from pgcopydb.errors import some_of
from pgcopydb.model.endpoint import Side
from pgcopydb.model.findings import Finding, Name, Severity, Statement
from pgcopydb.model.readiness import Intent, SourceFacts, TargetFacts, TargetServer
from pgcopydb.rules.readiness.reading import copied
from pgcopydb.rules.readiness.wording import bytes_text, quoted, table_names

_MUCH: Final = 1 << 30
"""Bytes from which the room on a disk is worth a thought."""


def standby(target: TargetServer, _: Intent) -> Iterator[Finding]:
    """Whether the target takes writes at all."""
    if target.facts.in_recovery:
        yield Finding(
            severity=Severity.FATAL,
            side=Side.TARGET,
            check="standby",
            message="the server is a standby and takes no writes",
            statements=(Statement("SELECT pg_catalog.pg_promote();"),),
            advice="or give the primary as --target",
            status=7,
        )


def create_right(target: TargetServer, intent: Intent) -> Iterator[Finding]:
    """Whether the role may create schemas, this program's own first of all."""
    if target.replication.may_create or intent.prepared:
        return
    role, database = target.facts.role, target.facts.database
    yield Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="create-schemas",
        message=f'role "{role}" has no permission to create schemas in database "{database}"',
        statements=(Statement("GRANT CREATE ON DATABASE {} TO {};", Name(database), Name(role)),),
        advice="or use the database's owner",
        status=7,
    )


def helper_schema(target: TargetServer, intent: Intent) -> Iterator[Finding]:
    """Whether this program's own schema would meet another of its name."""
    if target.foreign_helper_schema and not intent.prepared:
        yield Finding(
            severity=Severity.FATAL,
            side=Side.TARGET,
            check="helper-schema",
            message="the schema pgcopydb is there already and not of this program's making",
            statements=(Statement("ALTER SCHEMA pgcopydb RENAME TO pgcopydb_before;"),),
            advice="pgcopydb keeps its own state under that name",
            status=7,
        )


def not_empty(target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the target holds tables, whose rows must not be mixed with the copy."""
    copy = intent.copy
    if copy is None or not must_be_empty(target, intent):
        return
    if target.tables:
        yield _not_empty(table_names(target.tables))
    elif target.has_large_objects and not copy.skip_large_objects:
        yield _not_empty("large objects")


def taken_names(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the target has a function, type, view or the like of the source's without a table.

    A schema dump that was interrupted in another work directory leaves such objects.
    """
    if target.tables or not must_be_empty(target, intent):
        return
    wanted = set(source.named_objects)
    taken = [
        one.text
        for one in target.named_objects
        if one in wanted and (one.schema is None or intent.filters.selects_schema(one.schema))
    ]
    if taken:
        yield _not_empty(some_of(taken))


def room(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """How much the target has to store; how much its disk can no server be asked."""
    del target
    size = sum(table.bytes for table in copied(source, intent))
    if intent.copy is None or size < _MUCH:
        return
    yield Finding(
        severity=Severity.NOTE,
        side=Side.TARGET,
        check="disk",
        message=f"the tables take about {bytes_text(size)} on the source, their indexes not"
        " counted: see that there is room for both",
    )


def must_be_empty(target: TargetFacts, intent: Intent) -> bool:
    """Tell whether what the target holds is neither to be replaced nor this run's own."""
    copy = intent.copy
    return copy is not None and not copy.drop_if_exists and intent.left_in != target.facts.identity


def _not_empty(what: str) -> Finding:
    return Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="not-empty",
        message=f"the database is not empty: it has {what}",
        advice="give an empty database as --target, or --drop-if-exists to replace what both sides"
        " have, or --resume to go on with a copy that was interrupted",
        status=7,
    )


def public_schema(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the role may create in the schema public, and the owners of what is created there.

    Who makes somebody else an owner and is no superuser can do so only where the other one might
    have created the object.
    """
    copy, role = intent.copy, target.facts.role
    if copy is None or not source.owners_in_public or target.facts.is_superuser:
        return
    owners = set() if copy.no_owner else source.owners_in_public & set(target.roles)
    wanted = sorted(({role} | owners) - target.creators_in_public)
    if not wanted:
        return
    yield Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="create-in-public",
        message=f"the roles {quoted(wanted)} may not create anything in the schema public",
        statements=tuple(
            Statement("GRANT CREATE ON SCHEMA public TO {};", Name(name)) for name in wanted
        ),
        advice="or use the database's owner, with --no-owner",
        status=7,
    )
