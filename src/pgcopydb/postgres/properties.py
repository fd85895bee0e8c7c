"""What is set for a database as a whole: its settings, its comment and who may use it.

None of it is part of a dump of the database. Its owner stays who it is: whoever made the target's
database has decided that, and a copy that gave it away could not go on with it.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import Struct
from psycopg import Connection

from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.readiness import Refusal, SettingRefusal
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.queries import query
from pgcopydb.postgres.roles import try_setting
from pgcopydb.postgres.setting_rights import refusal_of
from pgcopydb.sql.quote import quote_identifier, quote_literal
from pgcopydb.sql.roles import set_of_role
from pgcopydb.sql.settings import set_clause

Session = Connection[tuple[Any, ...]]


class Grant(Struct, frozen=True, order=True):
    """A privilege on the database; ``role`` is None for PUBLIC."""

    role: str | None
    privilege: str
    grantable: bool


class DatabaseProperties(Struct, frozen=True):
    """Of one database; ``settings`` are pairs of a role, None for all, and ``name=value``.

    ``connection_limit`` is -1 where there is none.
    """

    name: str
    owner: str
    connection_limit: int
    comment: str | None
    settings: tuple[tuple[str | None, str], ...]
    grants: frozenset[Grant]


class Statement(Struct, frozen=True):
    """One thing to set; ``setting`` is the ``name=value`` of a parameter, None for other things.

    ``role`` is the one for which it is set, None for all.
    """

    text: str
    setting: str | None = None
    role: str | None = None


def read_properties(endpoint: Endpoint, connection: Session) -> DatabaseProperties:
    """Return the properties of the connected database; raises the side's error."""
    with reporting(endpoint, "reading the properties of the database"):
        row = connection.execute(query("database_properties")).fetchone()
    assert row is not None
    name, owner, connection_limit, comment, settings, grants = row
    return DatabaseProperties(
        name,
        owner,
        connection_limit,
        comment,
        tuple((role, setting) for role, setting in settings),
        frozenset(Grant(role, privilege, given == "true") for role, privilege, given in grants),
    )


def is_owner(target: Endpoint, connection: Session) -> bool:
    """Tell whether the role may set the properties of the connected database."""
    with reporting(target, "reading the owner of the database"):
        row = connection.execute(
            "select pg_catalog.pg_has_role(datdba, 'usage') from pg_catalog.pg_database"
            " where datname = pg_catalog.current_database()"
        ).fetchone()
    return row is not None and bool(row[0])


def missing(
    target: Endpoint,
    connection: Session,
    wanted: DatabaseProperties,
    *,
    comment: bool,
    acl: bool,
    left_out: Callable[[str], None],
) -> list[Statement]:
    """Return what gives the target's database what ``wanted`` has more or otherwise.

    What names a role that the target lacks is left out, and ``left_out`` is told so. The connection
    limit is :func:`missing_limit`.
    """
    present = read_properties(target, connection)
    with reporting(target, "reading the roles"):
        roles = {row[0] for row in connection.execute("select rolname from pg_catalog.pg_roles")}
    return [
        *_of_settings(wanted, present, roles, left_out),
        *(_of_comment(wanted, present) if comment else ()),
        *(_of_grants(wanted, present, roles, left_out) if acl else ()),
    ]


def missing_limit(
    target: Endpoint, connection: Session, wanted: DatabaseProperties
) -> list[Statement]:
    """Return what gives the target's database the connection limit of ``wanted``, if that has one.

    It holds for whoever runs the copy too, who wants it set when nothing is left to be done.
    """
    present = read_properties(target, connection)
    if wanted.connection_limit in {-1, present.connection_limit}:
        return []
    name = quote_identifier(present.name)
    return [Statement(f"ALTER DATABASE {name} CONNECTION LIMIT {wanted.connection_limit:d}")]


def run(target: Endpoint, connection: Session, statements: Iterable[Statement]) -> None:
    """Run what ``missing`` gave; a parameter that the target does not know is left out, and said.

    Raises the target's error where the role may not.
    """
    for statement in statements:
        if statement.setting is not None:
            try_setting(target, connection, statement.text, statement.setting)
            continue
        with reporting(target, "setting the properties of the database"):
            connection.execute(statement.text.encode())


def refused(
    target: Endpoint, connection: Session, statements: Iterable[Statement]
) -> Iterator[tuple[Statement, SettingRefusal]]:
    """Give those settings among ``statements`` at which ``run`` would end; changes nothing."""
    with reporting(target, "trying the settings of the database"):
        for statement in statements:
            if statement.setting is None:
                continue
            refusal = refusal_of(connection, statement.text, statement.setting)
            if refusal is not None and refusal.reason is not Refusal.NAME:
                yield statement, refusal


def _of_settings(
    wanted: DatabaseProperties,
    present: DatabaseProperties,
    roles: set[str],
    left_out: Callable[[str], None],
) -> Iterator[Statement]:
    for role, setting in wanted.settings:
        if (role, setting) in present.settings:
            continue
        if role is None:
            database = quote_identifier(present.name)
            yield Statement(f"ALTER DATABASE {database} {set_clause(setting)}", setting)
        elif role in roles:
            yield Statement(set_of_role(role, setting, database=present.name), setting, role)
        else:
            name = setting.partition("=")[0]
            left_out(f'role "{role}" is not there, its setting {name} is left out')


def _of_comment(wanted: DatabaseProperties, present: DatabaseProperties) -> Iterator[Statement]:
    if wanted.comment not in {None, present.comment}:
        text = quote_literal(wanted.comment or "")
        yield Statement(f"COMMENT ON DATABASE {quote_identifier(present.name)} IS {text}")


def _of_grants(
    wanted: DatabaseProperties,
    present: DatabaseProperties,
    roles: set[str],
    left_out: Callable[[str], None],
) -> Iterator[Statement]:
    """Grant what the target lacks, and take from PUBLIC what the source does not give it."""
    database = quote_identifier(present.name)
    for grant in sorted(wanted.grants - present.grants, key=_place):
        if grant.role is not None and grant.role not in roles:
            left_out(
                f'role "{grant.role}" is not there, its right to {grant.privilege} is left out'
            )
            continue
        option = " WITH GRANT OPTION" if grant.grantable else ""
        text = f"GRANT {grant.privilege} ON DATABASE {database} TO {_grantee(grant)}{option}"
        yield Statement(text)
    kept = {grant.privilege for grant in wanted.grants if grant.role is None}
    for grant in sorted(present.grants, key=_place):
        if grant.role is None and grant.privilege not in kept:
            yield Statement(f"REVOKE {grant.privilege} ON DATABASE {database} FROM PUBLIC")


def _grantee(grant: Grant) -> str:
    return "PUBLIC" if grant.role is None else quote_identifier(grant.role)


def _place(grant: Grant) -> tuple[str, str]:
    return grant.role or "", grant.privilege
