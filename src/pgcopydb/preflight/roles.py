"""Whether the role may create the source's roles on the target, with their attributes."""

from collections.abc import Iterator

from pgcopydb.errors import some_of
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.findings import Finding, Severity
from pgcopydb.model.readiness import TargetFacts
from pgcopydb.postgres.roles import read_roles, refused_roles
from pgcopydb.postgres.short_sessions import short_session


def judge_roles(source: Endpoint, target: Endpoint, facts: TargetFacts) -> Iterator[Finding]:
    """Give a finding when roles of the source cannot be created by one who may create others."""
    if facts.facts.is_superuser or facts.facts.role not in facts.role_creators:
        return
    with short_session(source, purpose="check") as reading:
        wanted = read_roles(source, reading, passwords=False)
    with short_session(target, purpose="check") as writing:
        refused = refused_roles(target, writing, wanted)
    if not refused:
        return
    yield Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="role-attributes",
        message=f'role "{facts.facts.role}" may not create all roles of the source:'
        f" {some_of(refused)}",
        advice="let a superuser create these beforehand, with the attributes that they are to have:"
        " roles that are there are kept; or leave out --roles",
        status=7,
    )
