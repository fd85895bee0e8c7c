"""Rights that the restore needs on the target for what functions set and are written in, and for
what is given on objects of the future.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from pgcopydb.errors import some_of
from pgcopydb.model.endpoint import Side
from pgcopydb.model.findings import Finding, Name, Severity, Statement
from pgcopydb.model.readiness import (
    Intent,
    Refusal,
    Routine,
    SettingRefusal,
    SourceFacts,
    TargetFacts,
)
from pgcopydb.rules.default_privileges import listed, put_back
from pgcopydb.rules.readiness.wording import quoted
from pgcopydb.rules.readiness.writing import must_be_empty

_FIRST_WITH_PARAMETER_RIGHTS: Final = 15
"""Before, only a superuser stores what is kept for superusers."""

FIRST_WITH_OPTIONS: Final = 16
"""Before, who is a member of a role may become it, and inherits its rights by an attribute."""


def languages(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the role may create functions in the languages of the source's.

    To one without any right on a language the server refuses to restore the rights of others too.
    """
    if intent.copy is None:
        return
    restricted = frozenset[str]() if intent.copy.no_acl else source.restricted_languages
    written_in = {one.language for one in source.routines}
    wanted = sorted((written_in | restricted) & target.closed_languages)
    if not wanted:
        return
    role = target.facts.role
    names = _names([one for one in source.routines if one.language in wanted])
    yield Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="languages",
        message=f'role "{role}" may not use the languages {quoted(wanted)}'
        + (f": {names}" if names else ", on which the source has rights that are copied"),
        statements=tuple(
            Statement("GRANT USAGE ON LANGUAGE {} TO {};", Name(name), Name(role))
            for name in wanted
        ),
        status=7,
    )


def function_settings(
    source: SourceFacts, target: TargetFacts, intent: Intent
) -> Iterator[Finding]:
    """Whether functions may set, and can, what the source's do."""
    if intent.copy is None:
        return
    refused = [one for one in target.refused_settings if _that_set(source.routines, [one.setting])]
    denied = [one for one in refused if one.reason is Refusal.RIGHT]
    if denied:
        names = sorted({one.parameter for one in denied})
        setting = _that_set(source.routines, [one.setting for one in denied])
        yield Finding(
            severity=Severity.FATAL,
            side=Side.TARGET,
            check="set-parameters",
            message=f'role "{target.facts.role}" may not create functions that set'
            f" {quoted(names)}: {_names(setting)}",
            statements=grant_parameters(names, target),
            advice="or take the settings from the functions of the source:"
            " ALTER FUNCTION ... RESET ...",
            status=7,
        )
    impossible = [one for one in refused if one.reason is not Refusal.RIGHT]
    if impossible:
        setting = _that_set(source.routines, [one.setting for one in impossible])
        yield Finding(
            severity=Severity.FATAL,
            side=Side.TARGET,
            check="function-settings",
            message=f"functions set what the server refuses: {_names(setting)}"
            f" ({_reasons(impossible)})",
            advice="first take the settings from the functions of the source:"
            " ALTER FUNCTION ... RESET ...",
            status=7,
        )


def default_privileges(
    source: SourceFacts, target: TargetFacts, intent: Intent
) -> Iterator[Finding]:
    """Whether the role may say which rights others have on what a role creates in future."""
    if intent.copy is None or intent.copy.no_acl:
        return
    concerned = {one.role for one in source.default_privileges}
    named = concerned | {name for one in source.default_privileges for name in one.grantees}
    wanted = set() if intent.copy.roles else named - set(target.roles)
    if wanted:
        yield missing_roles(
            sorted(wanted),
            "default privileges of the source name",
            "or create them with --roles, or do without any privileges: --no-acl",
            check="default-privilege-roles",
        )
    new = target.facts.major >= FIRST_WITH_OPTIONS
    alterable = target.usable_roles if new else target.assumable_roles
    strange = sorted((concerned & set(target.roles)) - alterable)
    if strange:
        role = target.facts.role
        yield Finding(
            severity=Severity.FATAL,
            side=Side.TARGET,
            check="default-privileges",
            message=f'role "{role}" may not alter the default privileges of {quoted(strange)}',
            statements=grant_roles(
                [name for name in strange if name not in target.superusers], target
            ),
            advice="or do without any privileges: --no-acl; or first take them away on the source:"
            " ALTER DEFAULT PRIVILEGES FOR ROLE ... REVOKE ...",
            status=7,
        )


def future_rights(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the target gives or takes rights on what the role is about to create there.

    Whoever the copy gives its objects to, it is this role that creates them. What the source has
    too is put back by a copy that replaces another.
    """
    if intent.copy is None or intent.copy.no_acl:
        return
    replaces = not must_be_empty(target, intent)
    replaced = set(map(listed, source.default_privileges)) if replaces else set()
    schemas = {one.schema for one in source.tables} | {one.schema for one in source.named_objects}
    applying = [
        one
        for one in target.default_privileges
        if one.role == target.facts.role
        and listed(one) not in replaced
        and (one.schema is None or one.schema in schemas)
        and (one.schema is None or intent.filters.selects_schema(one.schema))
    ]
    if not applying:
        return
    places = sorted(
        one.kind.lower() + (f' in schema "{one.schema}"' if one.schema is not None else "")
        for one in applying
    )
    yield Finding(
        severity=Severity.WARNING,
        side=Side.TARGET,
        check="future-rights",
        message="what the copy creates gets rights, or loses some, by the default privileges of"
        f' role "{target.facts.role}" on {", ".join(places)}',
        statements=tuple(statement for one in applying for statement in put_back(one)),
        advice="which can be set again after the copy, for what is created later",
    )


def grantors(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether rights can be given as the roles that gave them, which is a superuser's session."""
    role = target.facts.role
    if intent.copy is None or intent.copy.no_acl or target.facts.is_superuser:
        return
    strange = [one for one in source.strange_grants if set(one.grantors) != {role}]
    if not strange:
        return
    given_by = sorted({name for one in strange for name in one.grantors} - {role})
    yield Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="grantors",
        message=f'role "{role}" is no superuser and may not give rights in the name of'
        f" {quoted(given_by)}, who are not the owners of {some_of([one.name for one in strange])}",
        advice="use a superuser, or do without any privileges: --no-acl; or first let the owners"
        " give these rights on the source, and the others revoke them",
        status=7,
    )


def schema_owners(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether objects may be given to others than the owner of their schema.

    What rights these have on the schema is restored when everything is in it.
    """
    copy = intent.copy
    if copy is None or copy.no_owner or target.facts.is_superuser:
        return
    closed = [one for one in source.shared_schemas if one in target.closed_schemas]
    if not closed:
        return
    owners = [one.owner for one in closed]
    others = sorted({(one.owner, one.other) for one in closed})
    yield Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="schema-owners",
        message=f"the roles {quoted(sorted({other for _, other in others}))} own objects in the"
        f" schemas {quoted(sorted({one.schema for one in closed}))} of"
        f" {quoted(sorted(set(owners)))}, and may not create anything there",
        statements=tuple(
            Statement("GRANT {} TO {};", Name(owner), Name(other))
            for owner, other in others
            if owner not in target.superusers
        ),
        advice="which can be revoked after the copy; or use a superuser, or leave the owners out"
        " with --no-owner",
        status=7,
    )


def missing_roles(names: Sequence[str], why: str, advice: str, *, check: str = "roles") -> Finding:
    """Return the finding that roles are to be created, and ``why``."""
    return Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check=check,
        message=f"the roles {quoted(names)} do not exist, which {why}",
        statements=tuple(Statement("CREATE ROLE {};", Name(name)) for name in names),
        advice=advice,
    )


def grant_roles(names: Iterable[str], target: TargetFacts) -> tuple[Statement, ...]:
    """Return the statements after which the role may become others, and has their rights."""
    role = Name(target.facts.role)
    if target.facts.major >= FIRST_WITH_OPTIONS:
        grant = "GRANT {} TO {} WITH INHERIT TRUE, SET TRUE;"
        return tuple(Statement(grant, Name(name), role) for name in names)
    inherit = () if target.inherits else (Statement("ALTER ROLE {} INHERIT;", role),)
    return (*(Statement("GRANT {} TO {};", Name(name), role) for name in names), *inherit)


def grant_parameters(names: Iterable[str], target: TargetFacts) -> tuple[Statement, ...]:
    """Return the GRANTs that let the role store settings, on a server that has such rights."""
    if target.facts.major < _FIRST_WITH_PARAMETER_RIGHTS:
        return ()
    return tuple(
        Statement(
            "GRANT SET ON PARAMETER {} TO {};", Name(*name.split(".")), Name(target.facts.role)
        )
        for name in names
    )


def _that_set(routines: Iterable[Routine], settings: Iterable[str]) -> list[Routine]:
    wanted = set(settings)
    return [one for one in routines if not wanted.isdisjoint(one.settings)]


def _names(routines: Iterable[Routine]) -> str:
    return some_of([f"{one.schema}.{one.name}" for one in routines])


def _reasons(refused: Iterable[SettingRefusal]) -> str:
    return some_of([one.message for one in refused])
