"""Reads the roles of a server, and creates those that another server lacks.

A role belongs to the whole server, and one that is there already is somebody's: it is kept as it
is. Password hashes are read, sent and forgotten; they are in no message and no log, and where the
role may say so, not in the target server's log either.
"""

import logging
from collections.abc import Iterator, Set
from typing import Any, Final

import psycopg
from msgspec import Struct
from psycopg import Connection

from pgcopydb.errors import ConfigurationError, SqlError, TargetError
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.roles import Membership, ParameterRight, Role, Roles
from pgcopydb.postgres import discover
from pgcopydb.postgres.connect import reporting
from pgcopydb.sql import roles as statements

log = logging.getLogger(__name__)

Session = Connection[tuple[Any, ...]]

_KEEP_OUT_OF_LOGS: Final = (
    "select pg_catalog.set_config(s.name, v.value, true)"
    " from (values ('log_statement', 'none'), ('log_min_duration_statement', '-1'),"
    "  ('log_min_error_statement', 'panic'), ('log_min_duration_sample', '-1'))"
    "  as v (name, value)"
    " join pg_catalog.pg_settings as s on s.name = v.name"
    " join pg_catalog.pg_roles as r on r.rolname = current_user and r.rolsuper"
)


_ADMINS: Final = (
    "select g.rolname::text, u.rolname::text from pg_catalog.pg_auth_members as m"
    " join pg_catalog.pg_roles as g on g.oid = m.roleid"
    " join pg_catalog.pg_roles as u on u.oid = m.member where m.admin_option"
)


def read_roles(source: Endpoint, connection: Session, *, passwords: bool) -> Roles:
    """Return the roles of the source. Raises ConfigurationError where passwords may not be read."""
    hashes = _passwords(source, connection) if passwords else {}
    with reporting(source, "reading the roles"):
        return Roles(
            roles=tuple(
                Role(**record, password=hashes.get(record["name"]))
                for record in discover.records(connection, "role_definitions")
            ),
            memberships=tuple(
                Membership(**record) for record in discover.records(connection, "role_memberships")
            ),
            parameter_rights=_parameter_rights(connection),
        )


def _parameter_rights(connection: Session) -> tuple[ParameterRight, ...]:
    if connection.info.server_version < statements.FIRST_WITH_PARAMETER_RIGHTS:
        return ()
    found = discover.records(connection, "parameter_rights")
    return tuple(ParameterRight(**record) for record in found)


def create_roles(
    target: Endpoint, connection: Session, wanted: Roles, *, comments: bool
) -> list[str]:
    """Create the roles that the target lacks, all or none; return their names.

    Memberships are granted where one of the two roles is new, rights on parameters to those that
    are. Raises the target's error, naming the role.
    """
    known = _known(target, connection)
    created = [role for role in wanted.roles if role.name not in known]
    names = {role.name for role in created}
    with connection.transaction():
        with reporting(target, "keeping passwords out of the server's log"):
            connection.execute(_KEEP_OUT_OF_LOGS)
        for role in created:
            with reporting(target, f'creating role "{role.name}"'):
                connection.execute(statements.create_role(role).encode())
        for role in created:
            _describe(target, connection, role, comments=comments)
        for one in _to_grant(target, connection, wanted, names):
            _grant(target, connection, one, known | names)
        for right in wanted.parameter_rights:
            refusal = _refusal(target, connection, right) if right.role in names else None
            if refusal is not None:  # nothing that is copied needs it
                log.warning("%s: left out: %s", target.side, refusal)
    return sorted(names)


def refused_roles(target: Endpoint, connection: Session, wanted: Roles) -> list[str]:
    """Return why those roles cannot be created at which ``create_roles`` would end.

    Each is tried, with its settings, in a transaction that is rolled back.
    """
    known = _known(target, connection)
    refused = []
    for role in wanted.roles:
        if role.name in known:
            continue
        try:
            with connection.transaction(force_rollback=True):
                with reporting(target, f'creating role "{role.name}"'):
                    connection.execute(statements.create_role(role).encode())
                _describe(target, connection, role, comments=False)
        except (TargetError, SqlError) as error:
            refused.append(error.message.removeprefix(f"{target.side}: "))
    return refused


class RefusedGrants(Struct, frozen=True):
    """At which memberships ``create_roles`` would end, each with why; and what it would leave out.

    ``parameter_rights`` tell each right on a parameter that is left out, and why.
    """

    memberships: tuple[tuple[Membership, str], ...]
    parameter_rights: tuple[str, ...]


def refused_grants(target: Endpoint, connection: Session, wanted: Roles) -> RefusedGrants:
    """Return what ``create_roles`` could not give to the roles that can be created.

    Everything is tried in a transaction that is rolled back.
    """
    known = _known(target, connection)
    with connection.transaction(force_rollback=True):
        created = {
            role.name
            for role in wanted.roles
            if role.name not in known and _tried(target, connection, role)
        }
        memberships = []
        for one in _to_grant(target, connection, wanted, created):
            if not {one.role, one.member} <= known | created:
                continue  # which is told with a warning, or is what cannot be created
            try:
                with connection.transaction():
                    _grant(target, connection, one, known | created)
            except (TargetError, SqlError) as error:
                memberships.append((one, error.message.removeprefix(f"{target.side}: ")))
        tried = (
            _refusal(target, connection, right)
            for right in wanted.parameter_rights
            if right.role in created
        )
        left_out = tuple(refusal for refusal in tried if refusal is not None)
    return RefusedGrants(tuple(memberships), left_out)


def may_read_passwords(connection: Session) -> bool:
    """Tell whether the role may read the passwords of the others."""
    row = connection.execute(
        "select pg_catalog.has_column_privilege('pg_catalog.pg_authid', 'rolname', 'select')"
        " and pg_catalog.has_column_privilege('pg_catalog.pg_authid', 'rolpassword', 'select')"
    ).fetchone()
    return row is not None and bool(row[0])


def statements_for(wanted: Roles, *, version_num: int) -> Iterator[str]:
    """Yield what would create ``wanted`` on a server of that version that has none of them."""
    yield from (statements.create_role(role) for role in wanted.roles)
    for role in wanted.roles:
        yield from (statements.set_of_role(role.name, setting) for setting in role.settings)
        if role.comment is not None:
            yield statements.comment_on_role(role)
    for one in statements.in_order(wanted.memberships):
        yield statements.grant_membership(one, version_num=version_num)
    yield from (statements.grant_parameter(right) for right in wanted.parameter_rights)


def try_setting(target: Endpoint, connection: Session, statement: str, setting: str) -> None:
    """Run an ALTER ... SET; a parameter that the target does not know is left out, and said."""
    name = setting.partition("=")[0]
    try:
        with reporting(target, f"setting {name}"), connection.transaction():
            connection.execute(statement.encode())
    except Exception as error:
        if not isinstance(error.__cause__, psycopg.errors.UndefinedObject):
            raise
        log.warning("target: there is no parameter %s, its setting is left out", name)


def _known(target: Endpoint, connection: Session) -> set[str]:
    with reporting(target, "reading the roles"):
        rows = connection.execute("select rolname::text from pg_catalog.pg_roles")
        return {name for (name,) in rows}


def _tried(target: Endpoint, connection: Session, role: Role) -> bool:
    """Create a role, if that is possible."""
    try:
        with connection.transaction(), reporting(target, f'creating role "{role.name}"'):
            connection.execute(statements.create_role(role).encode())
    except (TargetError, SqlError):
        return False
    return True


def _to_grant(
    target: Endpoint, connection: Session, wanted: Roles, created: Set[str]
) -> list[Membership]:
    """Return the memberships of ``created`` roles as this session may grant them, in order."""
    with reporting(target, "reading the roles"):
        admins = connection.execute(_ADMINS).fetchall()
        row = connection.execute(
            "select rolname::text, rolsuper from pg_catalog.pg_roles where rolname = current_user"
        ).fetchone()
    role, is_superuser = row or ("", False)
    chosen = (one for one in wanted.memberships if one.member in created or one.role in created)
    if is_superuser:
        return list(statements.in_order(chosen, [(name, member) for name, member in admins]))
    version = connection.info.server_version
    return list(statements.by_one_grantor(chosen, role=role, created=created, version_num=version))


def _describe(target: Endpoint, connection: Session, role: Role, *, comments: bool) -> None:
    for setting in role.settings:
        statement = statements.set_of_role(role.name, setting)
        try_setting(target, connection, statement, setting)
    if comments and role.comment is not None:
        with reporting(target, f'describing role "{role.name}"'):
            connection.execute(statements.comment_on_role(role).encode())


def _grant(target: Endpoint, connection: Session, one: Membership, known: set[str]) -> None:
    version = connection.info.server_version
    if one.role not in known or one.member not in known:
        log.warning('target: "%s" cannot be granted to "%s": it is not there', one.role, one.member)
        return
    if version < statements.FIRST_WITH_OPTIONS and one.may_set is False:
        log.warning(
            'target: before PostgreSQL 16 "%s" cannot be granted to "%s" without the right to SET'
            " ROLE, and is not granted",
            one.role,
            one.member,
        )
        return
    with reporting(target, f'granting role "{one.role}" to "{one.member}"'):
        connection.execute(statements.grant_membership(one, version_num=version).encode())


def _refusal(target: Endpoint, connection: Session, right: ParameterRight) -> str | None:
    """Give a role a right on a parameter; return why the target refuses that, if it does."""
    statement = statements.grant_parameter(right)
    if connection.info.server_version < statements.FIRST_WITH_PARAMETER_RIGHTS:
        return f"{statement}: before PostgreSQL 15 there are no rights on parameters"
    try:
        with connection.transaction(), reporting(target, statement):
            connection.execute(statement.encode())
    except (TargetError, SqlError) as error:
        return error.message.removeprefix(f"{target.side}: ")
    return None


def _passwords(source: Endpoint, connection: Session) -> dict[str, str]:
    try:
        with reporting(source, "reading the passwords of the roles"):
            rows = connection.execute(
                "select rolname, rolpassword from pg_catalog.pg_authid"
                " where rolpassword is not null"
            ).fetchall()
    except Exception as error:
        if not isinstance(error.__cause__, psycopg.errors.InsufficientPrivilege):
            raise
        raise ConfigurationError(
            "source: the role may not read the passwords of the roles",
            hint="use a superuser as --source, or --no-role-passwords",
        ) from error
    return dict(rows)
