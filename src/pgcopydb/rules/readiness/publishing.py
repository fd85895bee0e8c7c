"""Which publications a capture needs, and whether the changes of every table can be carried."""

from collections.abc import Iterator, Set

from pgcopydb.model.endpoint import Side
from pgcopydb.model.findings import Finding, Name, Severity, Statement
from pgcopydb.model.objects import ReplicaIdentity, Table, TableKind
from pgcopydb.model.options import NoIdentity, Plugin
from pgcopydb.model.readiness import Intent, SourceFacts
from pgcopydb.rules.publication import is_followed, plan_publication, wanted_publications
from pgcopydb.rules.readiness.capture import new_capture
from pgcopydb.rules.readiness.wording import table_names


def publications(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Whether publications of the wanted names are what is needed (ruling 16)."""
    if new_capture(intent) is None or intent.replaces_capture:
        return
    for found in source.publications:
        if not found.differences:
            continue
        yield Finding(
            severity=Severity.FATAL,
            side=Side.SOURCE,
            check="publication",
            message=f'publication "{found.name}" exists and is not what is needed:'
            f" {found.differences}",
            statements=(Statement("DROP PUBLICATION {};", Name(found.name)),),
            advice="or choose another name with --publication",
            status=3,
        )


def publication_rights(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the role may publish the tables."""
    follow = new_capture(intent)
    if follow is None or follow.plugin is not Plugin.PGOUTPUT:
        return
    there = {found.name for found in source.publications if not found.differences}
    wanted = [
        one
        for one in wanted_publications(source.publishable, follow.publication, follow.no_identity)
        if one.name not in there  # one that somebody made for this is used as it is
    ]
    if not wanted:
        return
    role, database = source.facts.role, source.facts.database
    if not source.replication.may_create:
        yield Finding(
            severity=Severity.FATAL,
            side=Side.SOURCE,
            check="create-publication",
            message=f'role "{role}" may not create a publication in database "{database}"',
            statements=(
                Statement("GRANT CREATE ON DATABASE {} TO {};", Name(database), Name(role)),
            ),
            advice="or use --plugin test_decoding or wal2json, which need none",
        )
    named = frozenset[tuple[str, str]]().union(*(one.tables for one in wanted))
    foreign = [
        table
        for table in source.publishable
        if table.oid in source.unowned and (table.schema, table.name) in named
    ]
    if foreign:
        owners = {table.owner for table in foreign}
        yield Finding(
            severity=Severity.FATAL,
            side=Side.SOURCE,
            check="publish-tables",
            message=f'role "{role}" does not own {table_names(foreign)}, and only owners may'
            " publish",
            statements=_shares(source, owners),
            advice=("use a superuser, or " if owners & source.superusers else "or use ")
            + "--plugin test_decoding or wal2json, which need no publication",
        )


def _shares(source: SourceFacts, owners: Set[str]) -> tuple[Statement, ...]:
    """Return the GRANTs that give the role these owners' rights; a superuser's are not given."""
    role = Name(source.facts.role)
    return tuple(
        Statement("GRANT {} TO {};", Name(owner), role)
        for owner in sorted(owners - source.superusers)
    )


def identity_rights(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the role may give tables the replica identity that is asked for."""
    follow = new_capture(intent)
    if follow is None or follow.no_identity is not NoIdentity.FULL:
        return
    keyless = plan_publication(source.publishable).keyless
    foreign = [table for table in keyless if table.oid in source.unowned]
    if not foreign:
        return
    owners = {table.owner for table in foreign}
    yield Finding(
        severity=Severity.FATAL,
        side=Side.SOURCE,
        check="alter-identity",
        message=f'role "{source.facts.role}" does not own {table_names(foreign)}, and only owners'
        " may set a replica identity",
        statements=_shares(source, owners),
        advice="or let their owner set REPLICA IDENTITY FULL beforehand",
    )


def identities(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Whether updates and deletes of every table can be carried, leaves and roots (ruling 17)."""
    follow = new_capture(intent)
    keyless = plan_publication(source.publishable).keyless
    if follow is None or not keyless:
        return
    count, names = len(keyless), table_names(keyless)
    if follow.no_identity is NoIdentity.INSERT_ONLY:
        yield Finding(
            severity=Severity.WARNING,
            side=Side.SOURCE,
            check="identity",
            message=f"updates and deletes of {count} tables are not carried, because they have no"
            f" usable replica identity: {names}",
        )
    elif follow.no_identity is NoIdentity.FULL:
        yield Finding(
            severity=Severity.NOTE,
            side=Side.SOURCE,
            check="identity",
            message=f"{count} tables get REPLICA IDENTITY FULL: {names}",
        )
    else:
        yield Finding(
            severity=Severity.FATAL,
            side=Side.SOURCE,
            check="identity",
            message=f"{count} tables have no usable replica identity, so that their updates and"
            f" deletes cannot be followed: {names}",
            statements=tuple(
                Statement("ALTER TABLE {} REPLICA IDENTITY FULL;", Name(table.schema, table.name))
                for table in keyless
            ),
            advice="better add primary keys; or pass --no-identity full (the same for all of them)"
            " or insert-only (their updates and deletes are not carried)",
        )


def generated_identities(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Tables whose identity pgoutput does not send whole, so that it names no row.

    It leaves generated columns out (before PostgreSQL 18 always); the other plugins do not.
    """
    follow = new_capture(intent)
    if follow is None or follow.plugin is not Plugin.PGOUTPUT:
        return
    tables = [table for table in source.publishable if _has_generated_identity(table)]
    if not tables:
        return
    yield Finding(
        severity=Severity.FATAL,
        side=Side.SOURCE,
        check="generated-identity",
        message="pgoutput does not send the generated columns in the replica identity of"
        f" {table_names(tables)}",
        statements=tuple(
            Statement("ALTER TABLE {} REPLICA IDENTITY FULL;", Name(table.schema, table.name))
            for table in tables
        ),
        advice="or use --plugin test_decoding or wal2json",
    )


def _has_generated_identity(table: Table) -> bool:
    generated = {column.name for column in table.columns if column.is_generated}
    if table.kind is TableKind.TABLE and not is_followed(table):
        return False
    return bool(generated & set(table.identity_columns))


def full_identities(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Tables whose rows are looked for by all their columns."""
    full = [
        table
        for table in source.publishable
        if is_followed(table)
        and table.replica_identity is ReplicaIdentity.FULL
        and not table.key_columns
    ]
    if intent.follow is None or not full:
        return
    yield Finding(
        severity=Severity.NOTE,
        side=Side.SOURCE,
        check="full-identity",
        message="each update and delete looks for its row by all columns, which reads the whole"
        f" table where no index helps: {table_names(full)}",
        advice="a primary key would make it fast",
    )
