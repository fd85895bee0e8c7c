"""Roles and their memberships become SQL."""

from collections.abc import Container, Iterable, Iterator
from typing import Final

from msgspec.structs import replace

from pgcopydb.model.roles import Membership, ParameterRight, Role
from pgcopydb.sql.quote import quote_identifier, quote_literal
from pgcopydb.sql.settings import set_clause

FIRST_WITH_OPTIONS: Final = 160000
"""The first version that knows more of a membership than ADMIN OPTION."""

FIRST_WITH_PARAMETER_RIGHTS: Final = 150000
"""The first version that gives others than superusers rights on parameters."""


def create_role(role: Role) -> str:
    """Return the statement that creates ``role`` with its attributes and its password, if any.

    Only what differs from the defaults is said: to deny an attribute that only a superuser may
    give needs no superuser.
    """
    attributes = {
        "SUPERUSER": role.is_superuser,
        "NOINHERIT": not role.inherits,
        "CREATEROLE": role.creates_roles,
        "CREATEDB": role.creates_databases,
        "LOGIN": role.logs_in,
        "REPLICATION": role.replicates,
        "BYPASSRLS": role.bypasses_row_security,
    }
    clauses = [name for name, given in attributes.items() if given]
    if role.connection_limit != -1:
        clauses.append(f"CONNECTION LIMIT {role.connection_limit:d}")
    if role.password is not None:
        clauses.append(f"PASSWORD {quote_literal(role.password)}")
    if role.valid_until is not None:
        clauses.append(f"VALID UNTIL {quote_literal(role.valid_until)}")
    return " ".join([f"CREATE ROLE {quote_identifier(role.name)}", *clauses])


def set_of_role(role: str, setting: str, *, database: str | None = None) -> str:
    """Return the statement that gives ``role`` a stored ``name=value``, in one database or all."""
    where = "" if database is None else f" IN DATABASE {quote_identifier(database)}"
    return f"ALTER ROLE {quote_identifier(role)}{where} {set_clause(setting)}"


def comment_on_role(role: Role) -> str:
    """Return the statement that sets the role's comment."""
    return f"COMMENT ON ROLE {quote_identifier(role.name)} IS {quote_literal(role.comment or '')}"


def grant_membership(membership: Membership, *, version_num: int) -> str:
    """Return the GRANT for a server of that version, with every option that it knows."""
    grant = f"GRANT {quote_identifier(membership.role)} TO {quote_identifier(membership.member)}"
    if version_num < FIRST_WITH_OPTIONS or membership.may_set is None:
        return grant + (" WITH ADMIN OPTION" if membership.may_admin else "")
    options = {
        "ADMIN": membership.may_admin,
        "INHERIT": bool(membership.inherits),
        "SET": membership.may_set,
    }
    grant += " WITH " + ", ".join(f"{name} {given}".upper() for name, given in options.items())
    if membership.grantor is not None:
        grant += f" GRANTED BY {quote_identifier(membership.grantor)}"
    return grant


def grant_parameter(right: ParameterRight) -> str:
    """Return the GRANT of a right on a parameter, whose name may have a prefix."""
    parameter = ".".join(quote_identifier(part) for part in right.parameter.split("."))
    return f"GRANT {right.privilege} ON PARAMETER {parameter} TO {quote_identifier(right.role)}" + (
        " WITH GRANT OPTION" if right.may_grant else ""
    )


def by_one_grantor(
    memberships: Iterable[Membership], *, role: str, created: Container[str], version_num: int
) -> Iterator[Membership]:
    """Yield ``memberships`` as ``role`` may grant them, no superuser, after it ``created`` roles.

    It grants as itself: to do so as another it would need that one's rights. Who has a role from
    several grantors gets all that they gave. From server 16 on it administers what it created, and
    nobody may grant that back to it.
    """
    joined: dict[tuple[str, str], Membership] = {}
    for one in memberships:
        other = joined.get((one.role, one.member), one)
        joined[one.role, one.member] = replace(
            one,
            may_admin=one.may_admin or other.may_admin,
            inherits=_either(one.inherits, other.inherits),
            may_set=_either(one.may_set, other.may_set),
            grantor=None,
        )
    for one in joined.values():
        if version_num < FIRST_WITH_OPTIONS or one.member != role or one.role not in created:
            yield one
        elif one.may_set is None or one.inherits or one.may_set:
            yield replace(one, may_admin=False)


def _either(one: bool | None, other: bool | None) -> bool | None:
    return None if one is None else one or bool(other)


def in_order(
    memberships: Iterable[Membership], admins: Iterable[tuple[str, str]] = ()
) -> Iterator[Membership]:
    """Yield ``memberships`` so that a grantor may administer the role before granting it.

    ``admins`` are those who may already, each a role and its member. One that never may comes last,
    as granted by a superuser.
    """
    waiting = list(memberships)
    may = set(admins)
    while waiting:
        ready = [one for one in waiting if one.grantor is None or (one.role, one.grantor) in may]
        for one in ready:
            yield one
            if one.may_admin:
                may.add((one.role, one.member))
        if not ready:
            yield from (replace(one, grantor=None) for one in waiting)
            return
        waiting = [one for one in waiting if one not in ready]
