"""What the schema of the source needs to be there on the target's server before it is restored."""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from pgcopydb.errors import some_of
from pgcopydb.model.endpoint import Side
from pgcopydb.model.findings import Finding, Name, Severity, Statement
from pgcopydb.model.options import CopyOptions
from pgcopydb.model.readiness import (
    BuildOption,
    Collation,
    Intent,
    SourceFacts,
    TargetFacts,
)
from pgcopydb.rules.readiness.rights import FIRST_WITH_OPTIONS, grant_roles, missing_roles
from pgcopydb.rules.readiness.wording import quoted

_SYSTEM = "pg_catalog"

_REFRESHED = (
    "REINDEX what uses it, then ALTER COLLATION or ALTER DATABASE ... REFRESH COLLATION VERSION"
)

_WITHOUT: Final = {
    BuildOption.ICU: ("cannot make the collations", "or leave them out with --skip-collations"),
    BuildOption.LZ4: (
        "cannot compress the columns",
        "or first change them on the source: ALTER TABLE ... ALTER COLUMN ... SET COMPRESSION pglz",
    ),
    BuildOption.LIBXML: ("refuses every value of the columns", "unless there are only nulls"),
}
"""What a server built without something cannot do, and what there is to do instead."""

_KINDS: Final = {"publication namespace": "schema"}
"""What a person calls what pg_identify_object calls otherwise."""


def extensions(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the target has the source's extensions, or could create them."""
    if intent.copy is None or intent.copy.skip_extensions:
        return
    known = {extension.name: extension for extension in target.extensions}
    missing = [one.name for one in source.extensions if one.name not in known]
    if missing:
        yield Finding(
            severity=Severity.FATAL,
            side=Side.TARGET,
            check="extensions",
            message=f"the server does not have the extensions {quoted(missing)}",
            advice="install their packages on the target's machine, or leave them out with"
            " --skip-extensions",
        )
    forbidden = [
        one.name
        for one in source.extensions
        if one.name in known
        and known[one.name].installed_version is None
        and not known[one.name].creatable
    ]
    if forbidden:
        yield Finding(
            severity=Severity.FATAL,
            side=Side.TARGET,
            check="create-extensions",
            message=f'role "{target.facts.role}" may not create the extensions {quoted(forbidden)}',
            statements=tuple(
                Statement("CREATE EXTENSION IF NOT EXISTS {} CASCADE;", Name(name))
                for name in forbidden
            ),
            advice="a superuser creates them beforehand",
            status=7,
        )


def extension_comments(
    source: SourceFacts, target: TargetFacts, intent: Intent
) -> Iterator[Finding]:
    """Whether the role may comment on the extensions that somebody else has created."""
    copy = intent.copy
    if copy is None or copy.skip_extensions or copy.skip_ext_comments or copy.no_comments:
        return
    known = {extension.name: extension for extension in target.extensions}
    foreign = [
        one.name
        for one in source.extensions
        if one.name in known
        and known[one.name].installed_version is not None
        and not known[one.name].owned
    ]
    if foreign:
        yield Finding(
            severity=Severity.FATAL,
            side=Side.TARGET,
            check="extension-comments",
            message=f'role "{target.facts.role}" does not own the extensions {quoted(foreign)} and'
            " may not comment on them",
            advice="leave their comments out with --skip-ext-comments",
            status=7,
        )


def extension_versions(
    source: SourceFacts, target: TargetFacts, intent: Intent
) -> Iterator[Finding]:
    """Which extensions come to the target in another version.

    Newer packages keep the way to older versions, so that one which is not there is most likely
    newer than the target's.
    """
    if intent.copy is None or intent.copy.skip_extensions:
        return
    known = {extension.name: extension for extension in target.extensions}
    for one in source.extensions:
        other = known.get(one.name)
        if other is None:
            continue
        version = other.installed_version or other.default_version
        if version == one.version:
            continue
        to_be_had = one.version in other.versions
        yield Finding(
            severity=Severity.NOTE if to_be_had else Severity.WARNING,
            side=Side.TARGET,
            check="extension-version",
            message=f'extension "{one.name}" is {one.version} on the source and will be {version}'
            " on the target" + ("" if to_be_had else ", which does not have the source's version"),
            advice=f"with --requirements the version can be chosen; there are"
            f" {some_of(other.versions)}"
            if to_be_had
            else "what the schema uses of the source's version may not be there: install the same"
            " version's package on the target's machine",
        )


def roles(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the roles that own something, or have rights, are there."""
    copy = intent.copy
    if copy is None or copy.roles:
        return
    owners = () if copy.no_owner else source.owners
    others = () if copy.no_acl else source.roles
    there = set(target.roles)
    wanted = sorted({*owners, *others} - there)
    if wanted:
        yield missing_roles(
            wanted,
            "own objects of the source or have rights on them",
            "or create them with --roles, or do without: --no-owner --no-acl",
        )
    named = sorted(set(source.named_roles) - {*wanted, *there})
    if named:
        yield missing_roles(
            named,
            "policies or user mappings of the source name",
            "or create them with --roles",
        )


def role_rights(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the role may create the roles that are to be copied, as far as they are needed."""
    role = target.facts.role
    if intent.copy is None or not intent.copy.roles or role in target.role_creators:
        return
    needed = {*source.owners, *source.roles, *source.named_roles}
    wanted = sorted(needed - set(target.roles))
    yield Finding(
        severity=Severity.FATAL if wanted else Severity.WARNING,
        side=Side.TARGET,
        check="create-roles",
        message=f'role "{role}" may not create roles'
        + (f", and {quoted(wanted)} do not exist" if wanted else ": those that are there are kept"),
        statements=(Statement("ALTER ROLE {} CREATEROLE;", Name(role)),),
        advice="or have the roles created by somebody else, and leave out --roles",
        status=7,
    )


def ownership(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the role may give what it creates to the owners, and fill and index it then."""
    if intent.copy is None or intent.copy.no_owner:
        return
    there = [name for name in source.owners if name in target.roles]
    strange = [name for name in there if name not in target.assumable_roles]
    if strange:
        yield _ownership(
            f"may not make {quoted(strange)} the owner of anything{_such_as(source, strange)}",
            [name for name in strange if name not in target.superusers],
            target,
        )
    unlike = [
        name for name in there if name in target.assumable_roles and name not in target.usable_roles
    ]
    if unlike:
        yield _ownership(
            f"does not inherit the rights of {quoted(unlike)}, who will own what it has to fill"
            + _such_as(source, unlike),
            unlike,
            target,
        )


def _such_as(source: SourceFacts, owners: Collection[str]) -> str:
    """Name tables of these owners, which may own nothing but other things."""
    names = [f"{one.schema}.{one.name}" for one in source.tables if one.owner in owners]
    return f", such as {some_of(names)}" if names else ""


def _ownership(what: str, granted: Iterable[str], target: TargetFacts) -> Finding:
    role = target.facts.role
    return Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="ownership",
        message=f'role "{role}" {what}',
        statements=grant_roles(granted, target),
        advice="or leave the owners out with --no-owner",
        status=7,
    )


def new_owners(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the role will have the rights of the owners that it creates itself."""
    copy, role = intent.copy, target.facts.role
    if copy is None or not copy.roles or copy.no_owner or target.facts.is_superuser:
        return
    wanted = [name for name in source.owners if name not in target.roles]
    if not wanted or target.grants_itself or role not in target.role_creators:
        return
    yield Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="new-owners",
        message=f'role "{role}" creates {quoted(wanted)} without getting their rights, and may not'
        " make them the owners of anything",
        statements=(
            (Statement("ALTER ROLE {} SET createrole_self_grant = 'set, inherit';", Name(role)),)
            if target.facts.major >= FIRST_WITH_OPTIONS
            else ()
        ),
        advice="or create them beforehand and grant them to the role, or leave the owners out with"
        " --no-owner",
        status=7,
    )


def tablespaces(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the tablespaces are there."""
    if intent.copy is None or intent.copy.no_tablespaces:
        return
    missing = sorted(set(source.tablespaces) - set(target.tablespaces))
    if missing:
        yield Finding(
            severity=Severity.FATAL,
            side=Side.TARGET,
            check="tablespaces",
            message=f"the tablespaces {quoted(missing)} do not exist",
            advice="create them (CREATE TABLESPACE ... LOCATION ...), or do without:"
            " --no-tablespaces",
        )


def superuser_objects(
    source: SourceFacts, target: TargetFacts, intent: Intent
) -> Iterator[Finding]:
    """Whether the role may create what servers keep for superusers.

    The restore ends at the first that is refused: at most kinds before there are rows, at a
    publication or an event trigger when all the others are done.
    """
    if intent.copy is None or target.facts.is_superuser:
        return
    wanted = [one for one in source.superuser_objects if one.kind not in target.creatable_kinds]
    if not wanted:
        return
    yield Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="superuser-objects",
        message=f'role "{target.facts.role}" is no superuser and may not create '
        + some_of([f"{_KINDS.get(one.kind, one.kind)} {one.name}" for one in wanted]),
        advice="use a superuser, or leave them out: event triggers and schemas with --filters,"
        " anything else by dropping it on the source",
        status=7,
    )


def given_up(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the target's version can still make what the source's could."""
    if intent.copy is None:
        return
    gone = [one for one in source.given_up if source.facts.major < one.since <= target.facts.major]
    if not gone:
        return
    yield Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="given-up",
        message=f"PostgreSQL {target.facts.major} cannot make {some_of([o.name for o in gone])}"
        " any more",
        advice="first drop them on the source; columns of partitions keep their values with ALTER"
        " COLUMN ... DROP IDENTITY, those that are generated in a child only with DROP EXPRESSION"
        " between NO INHERIT and INHERIT (DETACH and ATTACH of a partition); aggregates and"
        " operators on arrays can be made anew"
        " on the target with anycompatiblearray and anycompatible, operators that follow their"
        " operand as functions",
    )


def foreign_servers(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the role, and those who own foreign servers, may use their wrappers.

    A wrapper that the target lacks comes with the copy, and belongs to the role.
    """
    if intent.copy is None or target.facts.is_superuser:
        return
    users = {one.name: one.users for one in target.wrappers}
    lacking = sorted(
        {
            (need.wrapper, role)
            for need in source.right_needs
            if need.wrapper is not None and need.wrapper in users
            for role in {target.facts.role, *_new_owner(need.owner, target, intent.copy)}
            if role not in users[need.wrapper]
        }
    )
    if not lacking:
        return
    names = sorted({wrapper for wrapper, _ in lacking})
    roles = sorted({role for _, role in lacking})
    yield Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="foreign-servers",
        message=f"the roles {quoted(roles)} may not have servers of the foreign data wrappers"
        f" {quoted(names)}",
        statements=tuple(
            Statement("GRANT USAGE ON FOREIGN DATA WRAPPER {} TO {};", Name(wrapper), Name(role))
            for wrapper, role in lacking
        ),
        status=7,
    )


def publication_owners(
    source: SourceFacts, target: TargetFacts, intent: Intent
) -> Iterator[Finding]:
    """Whether publications may be given to their owners; they are, when all rows are there."""
    if intent.copy is None or target.facts.is_superuser:
        return
    owners = {
        role
        for need in source.right_needs
        if need.wrapper is None
        for role in _new_owner(need.owner, target, intent.copy)
    }
    wanted = sorted(owners - target.creators - {target.facts.role})
    if not wanted:
        return
    database = Name(target.facts.database)
    yield Finding(
        severity=Severity.FATAL,
        side=Side.TARGET,
        check="publication-owners",
        message=f"the roles {quoted(wanted)} may not create anything in database"
        f' "{target.facts.database}", which owners of publications must be allowed to',
        statements=tuple(
            Statement("GRANT CREATE ON DATABASE {} TO {};", database, Name(name)) for name in wanted
        ),
        advice="or leave the owners out with --no-owner",
        status=7,
    )


def _new_owner(owner: str, target: TargetFacts, copy: CopyOptions) -> set[str]:
    """Return the owner that an object is given, where there is such a role already."""
    return set() if copy.no_owner else {owner} & set(target.roles)


def system_rights(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether rights on functions and relations of the server and extensions can be carried over.

    A server refuses a GRANT by somebody who has no right at all on the object, and to others says
    that nothing was granted.
    """
    copy = intent.copy
    if copy is None or copy.no_acl or target.facts.is_superuser:
        return
    own = {one.name for one in target.extensions if one.owned}
    copied = {None} if copy.skip_extensions else {None, *(one.name for one in source.extensions)}
    changed = [
        one.name for one in source.system_rights if one.is_changed and one.extension in copied - own
    ]
    closed = {one.name for one in target.system_rights if not one.is_open}
    refused = [name for name in changed if name in closed]
    if not changed:
        return
    yield Finding(
        severity=Severity.FATAL if refused else Severity.WARNING,
        side=Side.TARGET,
        check="system-rights",
        message=f'role "{target.facts.role}" may not give the rights that the source has on'
        f" {some_of(refused)}"
        if refused
        else "the rights that the source has on what belongs to the server or to others' extensions"
        " are not carried:"
        f" {some_of(changed)}",
        advice="use a superuser" + (", or leave all rights out with --no-acl" if refused else ""),
        status=7,
    )


def collations(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the collations that the server brings along are there."""
    if intent.copy is None:
        return
    missing = [
        one.name
        for one in source.collations
        if one.schema == _SYSTEM and one.name not in target.collations
    ]
    if missing:
        yield Finding(
            severity=Severity.FATAL,
            side=Side.TARGET,
            check="collations",
            message=f"the server does not know the collations {quoted(missing)}",
            statements=(Statement("SELECT pg_catalog.pg_import_system_collations('pg_catalog');"),),
            advice="first install the locales on the target's machine; collations of ICU need a"
            " server that is built with it",
        )


def build(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the server is built with what the source's collations and columns want.

    Without libxml a column of type xml is made, and takes nothing but nulls.
    """
    copy = intent.copy
    if copy is None:
        return
    for option in BuildOption:
        needs = [
            need
            for need in source.build_needs
            if need.option is option and not (need.column is None and copy.skip_collations)
        ]
        if not needs or option not in target.built_without:
            continue
        names = some_of([f"{one.schema}.{one.name}{_of_column(one.column)}" for one in needs])
        cannot, advice = _WITHOUT[option]
        yield Finding(
            severity=Severity.WARNING if option is BuildOption.LIBXML else Severity.FATAL,
            side=Side.TARGET,
            check="build",
            message=f"the server is built without {option.value} and {cannot} {names}",
            advice=f"use a server that is built with it, {advice}",
        )


def _of_column(column: str | None) -> str:
    return "" if column is None else f".{column}"


def collation_versions(
    source: SourceFacts, target: TargetFacts, intent: Intent
) -> Iterator[Finding]:
    """Which collations have changed under what was sorted by them, and what sorts otherwise."""
    for one in filter(_has_changed, source.collations):
        yield Finding(
            severity=Severity.WARNING,
            side=Side.SOURCE,
            check="collation-version",
            message=f"{_change(one)}: indexes on text may be out of order, and unique ones may have"
            " duplicates, which the target refuses",
            advice=_REFRESHED,
        )
    built_anew = intent.copy is not None and not target.tables
    for one in filter(_has_changed, target.collation_versions):
        yield Finding(
            severity=Severity.NOTE if built_anew else Severity.WARNING,
            side=Side.TARGET,
            check="collation-version",
            message=f"{_change(one)}: "
            + (
                "the copy builds its indexes anew, by the server's"
                if built_anew
                else "indexes on text that are there may be out of order, so that rows are not"
                " found by them"
            ),
            advice=_REFRESHED,
        )
    theirs = {(one.schema, one.name): one.actual_version for one in target.collation_versions}
    for one in source.collations:
        here, there = one.actual_version, theirs.get((one.schema, one.name))
        if here and there and here != there:
            yield Finding(
                severity=Severity.NOTE,
                side=Side.TARGET,
                check="collation-version",
                message=f"the {_called(one)} sorts by version {there} of its library, on the source"
                f" by {here}; indexes are built anew and are right on both",
            )


def _has_changed(one: Collation) -> bool:
    return (
        None not in (one.recorded_version, one.actual_version)
        and one.recorded_version != one.actual_version
    )


def _change(one: Collation) -> str:
    return (
        f"the {_called(one)} was made with version {one.recorded_version} of its library and the"
        f" server has {one.actual_version}"
    )


def _called(one: Collation) -> str:
    return f"collation {one.schema}.{one.name}" if one.name else "collation of the database"
