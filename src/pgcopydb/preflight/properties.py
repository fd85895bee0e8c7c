"""Whether the role may give the target's database the settings that the source's has."""

from collections.abc import Iterator

from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.findings import Finding, Name, Severity, Statement
from pgcopydb.model.options import CopyOptions
from pgcopydb.model.readiness import TargetFacts
from pgcopydb.postgres import properties
from pgcopydb.postgres.short_sessions import short_session


def judge_properties(
    source: Endpoint, target: Endpoint, facts: TargetFacts, copy: CopyOptions
) -> Iterator[Finding]:
    """Give findings when another role owns the database, or the role may not set what is to be."""
    with short_session(target, purpose="check") as writing:
        with short_session(source, purpose="check") as reading:
            wanted = properties.read_properties(source, reading)
        present = properties.read_properties(target, writing)
        if not copy.no_owner and wanted.owner != present.owner:
            yield _other_owner(wanted.owner, present)
        if properties.is_owner(target, writing):
            return
        lacking = properties.missing(
            target, writing, wanted, comment=not copy.no_comments, acl=not copy.no_acl
        )
        lacking += properties.missing_limit(target, writing, wanted)
    if not lacking:
        return
    role, database = facts.facts.role, facts.facts.database
    yield Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="database-properties",
        message="the database has to be given settings of the source's, which only its owner may",
        statements=(Statement("ALTER DATABASE {} OWNER TO {};", Name(database), Name(role)),),
        advice="or leave them out with --skip-db-properties",
        status=7,
    )


def _other_owner(wanted: str, present: properties.DatabaseProperties) -> Finding:
    return Finding(
        severity=Severity.NOTE,
        side=Side.TARGET,
        check="database-owner",
        message=f'the database belongs to "{present.owner}", on the source to "{wanted}";'
        " a copy leaves that as it is",
        statements=(Statement("ALTER DATABASE {} OWNER TO {};", Name(present.name), Name(wanted)),),
        advice="best when the migration is done: only a role with the owner's rights may set the"
        " properties of the database",
    )
