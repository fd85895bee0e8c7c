"""Roles of a server, as its catalogue describes them."""

from dataclasses import dataclass, field

from msgspec import Struct


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role. ``settings`` are ``name=value``; ``password`` is the hash that the server keeps."""

    name: str
    is_superuser: bool
    inherits: bool
    creates_roles: bool
    creates_databases: bool
    logs_in: bool
    replicates: bool
    bypasses_row_security: bool
    connection_limit: int
    valid_until: str | None
    settings: tuple[str, ...]
    comment: str | None
    password: str | None = field(default=None, repr=False)


class Membership(Struct, frozen=True, kw_only=True):
    """``member`` has ``role``. Before server 16 there is only ``may_admin``; the rest is None.

    ``grantor`` is None where it is the server's first superuser, too.
    """

    role: str
    member: str
    may_admin: bool
    inherits: bool | None
    may_set: bool | None
    grantor: str | None


class ParameterRight(Struct, frozen=True, kw_only=True):
    """``role`` may do with a parameter what ``privilege`` says: SET or ALTER SYSTEM."""

    role: str
    parameter: str
    privilege: str
    may_grant: bool


class Roles(Struct, frozen=True, kw_only=True):
    """All roles of a server that users created, and their memberships in any role.

    ``parameter_rights`` are what superusers of servers from 15 on gave them on parameters.
    """

    roles: tuple[Role, ...]
    memberships: tuple[Membership, ...]
    parameter_rights: tuple[ParameterRight, ...] = ()
