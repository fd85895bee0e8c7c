"""Whether the source's roles can be read, and the target's role may create and grant them."""

from collections.abc import Iterator, Sequence

from pgcopydb.errors import some_of
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.findings import Finding, Name, Severity, Statement
from pgcopydb.model.options import CopyOptions
from pgcopydb.model.readiness import TargetFacts
from pgcopydb.model.roles import Membership
from pgcopydb.postgres.roles import (
    may_read_passwords,
    read_roles,
    refused_grants,
    refused_roles,
)
from pgcopydb.postgres.short_sessions import short_session


def judge_roles(
    source: Endpoint, target: Endpoint, facts: TargetFacts, copy: CopyOptions
) -> Iterator[Finding]:
    """Give what keeps roles of the source from being read, created or granted, and given rights.

    All but the first are tried where the target's role is no superuser, and may create any.
    """
    role = facts.facts.role
    tried = not facts.facts.is_superuser and role in facts.role_creators
    with short_session(source, purpose="check") as reading:
        if not copy.no_role_passwords and not may_read_passwords(reading):
            yield _hidden_passwords()
        wanted = read_roles(source, reading, passwords=False) if tried else None
    if wanted is None:
        return
    with short_session(target, purpose="check") as writing:
        refused = refused_roles(target, writing, wanted)
        ungranted = refused_grants(target, writing, wanted)
    if refused:
        yield _refused_roles(role, refused)
    if ungranted.memberships:
        yield _refused_memberships(ungranted.memberships, facts)
    if ungranted.parameter_rights:
        yield _left_out_rights(role, ungranted.parameter_rights)


def _hidden_passwords() -> Finding:
    return Finding(
        severity=Severity.FATAL,
        side=Side.SOURCE,
        check="role-passwords",
        message="the role may not read the passwords of the roles",
        advice="use a superuser as --source, or copy the roles without their passwords:"
        " --no-role-passwords; then give those that log in new ones",
    )


def _refused_roles(role: str, refused: list[str]) -> Finding:
    return Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="role-attributes",
        message=f'role "{role}" may not create all roles of the source: {some_of(refused)}',
        advice="let a superuser create these beforehand, with the attributes that they are to have:"
        " roles that are there are kept; or leave out --roles",
        status=7,
    )


def _left_out_rights(role: str, left_out: Sequence[str]) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        side=Side.TARGET,
        check="role-parameters",
        message=f'role "{role}" may not give roles their rights on parameters, which are left out:'
        f" {some_of(left_out)}",
        advice="let a superuser give them after the copy",
    )


def _refused_memberships(refused: Sequence[tuple[Membership, str]], facts: TargetFacts) -> Finding:
    role = Name(facts.facts.role)
    administered = sorted({one.role for one, _ in refused} - facts.superusers)
    return Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="role-memberships",
        message=f'role "{facts.facts.role}" may not grant all memberships of the source:'
        f" {some_of([why for _, why in refused])}",
        statements=tuple(
            Statement("GRANT {} TO {} WITH ADMIN OPTION;", Name(name), role)
            for name in administered
        ),
        advice="or let a superuser create the members beforehand, and grant them these: roles that"
        " are there are kept, with what they are members of; or leave out --roles",
        status=7,
    )
