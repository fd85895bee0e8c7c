"""Whether the role may give the target's database the settings that the source's has."""

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Final

from pgcopydb.errors import some_of
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.findings import Finding, Name, Severity, Statement
from pgcopydb.model.options import CopyOptions
from pgcopydb.model.readiness import Refusal, TargetFacts
from pgcopydb.postgres import properties
from pgcopydb.postgres.setting_rights import refused_settings
from pgcopydb.postgres.short_sessions import short_session
from pgcopydb.rules.readiness.rights import grant_parameters
from pgcopydb.rules.readiness.wording import quoted

_LEFT_OUT: Final = "or leave them out with --skip-db-properties"
_FIRST_WITH_ADMINISTRATORS: Final = 16


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
        left_out: list[str] = []
        lacking = properties.missing(
            target,
            writing,
            wanted,
            comment=not copy.no_comments,
            acl=not copy.no_acl,
            left_out=left_out.append,
        )
        if left_out and not copy.roles:
            yield _without_roles(left_out)
        if properties.is_owner(target, writing):
            yield from _settings(target, writing, lacking, facts)
            return
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
        advice=_LEFT_OUT,
        status=7,
    )


def _settings(
    target: Endpoint,
    connection: properties.Session,
    lacking: Iterable[properties.Statement],
    facts: TargetFacts,
) -> Iterator[Finding]:
    """Give findings for what the database's owner may not set: for all, or for another role."""
    refused = list(properties.refused(target, connection, lacking))
    kept = {
        one.parameter
        for one in refused_settings(connection, [refusal.setting for _, refusal in refused])
        if one.reason is Refusal.RIGHT
    }
    roles = {
        str(statement.role)
        for statement, refusal in refused
        if refusal.reason is Refusal.RIGHT and refusal.parameter not in kept
    }
    impossible = [one.message for _, one in refused if one.reason is Refusal.VALUE]
    if kept:
        yield _kept_parameters(sorted(kept), facts)
    if roles:
        yield _settings_of_others(roles, facts)
    if impossible:
        yield _impossible_settings(impossible)


def _kept_parameters(parameters: Sequence[str], facts: TargetFacts) -> Finding:
    return Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="database-parameters",
        message=f'role "{facts.facts.role}" may not set {quoted(parameters)} for a database,'
        " as the source's has it",
        statements=grant_parameters(parameters, facts),
        advice=_LEFT_OUT,
        status=7,
    )


def _settings_of_others(roles: Set[str], facts: TargetFacts) -> Finding:
    return Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="role-settings",
        message=f'role "{facts.facts.role}" may not alter the roles {quoted(sorted(roles))},'
        " which have settings of their own in the source's database",
        statements=tuple(_alterable(sorted(roles - facts.superusers), facts)),
        advice=_LEFT_OUT,
        status=7,
    )


def _impossible_settings(refusals: Sequence[str]) -> Finding:
    return Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="database-settings",
        message=f"the source's database has settings that the server refuses: {some_of(refusals)}",
        advice=f"first ALTER DATABASE ... RESET them on the source, {_LEFT_OUT}",
        status=7,
    )


def _alterable(roles: Iterable[str], facts: TargetFacts) -> Iterator[Statement]:
    """Give what lets the role alter others; from 16 on it has to be an administrator of each."""
    role = facts.facts.role
    if role not in facts.role_creators:
        yield Statement("ALTER ROLE {} CREATEROLE;", Name(role))
    if facts.facts.major >= _FIRST_WITH_ADMINISTRATORS:
        for name in roles:
            yield Statement("GRANT {} TO {} WITH ADMIN OPTION;", Name(name), Name(role))


def _without_roles(left_out: list[str]) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        side=Side.TARGET,
        check="database-roles",
        message=f"what the source's database has for roles is not all carried: {some_of(left_out)}",
        advice="create the roles, or have them created with --roles",
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
