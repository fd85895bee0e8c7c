"""Whether the role may give the target's database the settings that the source's has."""

from collections.abc import Iterator

from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.findings import Finding, Name, Severity, Statement
from pgcopydb.model.options import CopyOptions
from pgcopydb.model.readiness import TargetFacts
from pgcopydb.postgres import properties
from pgcopydb.postgres.connect import connect


def judge_properties(
    source: Endpoint, target: Endpoint, facts: TargetFacts, copy: CopyOptions
) -> Iterator[Finding]:
    """Give a finding when there is something to set and the role does not own the database."""
    with connect(target, purpose="check") as writing:
        if properties.is_owner(target, writing):
            return
        with connect(source, purpose="check") as reading:
            wanted = properties.read_properties(source, reading)
        lacking = properties.missing(
            target, writing, wanted, comment=not copy.no_comments, acl=not copy.no_acl
        )
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
