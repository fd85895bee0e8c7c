"""Default privileges: what a dump calls them, and the statements that take them back.

What a role creates gets these rights at once, so that those of the server apply to a copy that is
made there. A dump gives its own last of all.
"""

from collections.abc import Iterator
from typing import Final

from pgcopydb.model.findings import Name, Statement
from pgcopydb.model.readiness import DefaultPrivilege
from pgcopydb.rules.toc import one_line

LISTED_AS: Final = "DEFAULT ACL"
"""The kind of their entries in a dump."""

_OF_EVERYBODY: Final = {"FUNCTIONS": "EXECUTE", "TYPES": "USAGE"}
"""Rights that PUBLIC has on what is created, where nothing else is said."""


def listed(privilege: DefaultPrivilege) -> tuple[str | None, str, str]:
    """Return schema, name and owner of the entry that a dump's table of contents has for it."""
    schema = None if privilege.schema is None else one_line(privilege.schema)
    return schema, f"DEFAULT PRIVILEGES FOR {privilege.kind}", one_line(privilege.role)


def put_back(privilege: DefaultPrivilege) -> Iterator[Statement]:
    """Give the statements after which the server's own rights apply in place of ``privilege``.

    What is set for one schema is added to what is set for all, and only taken away.
    """
    of = [Name(privilege.role)]
    alter = "ALTER DEFAULT PRIVILEGES FOR ROLE {} "
    if privilege.schema is not None:
        of.append(Name(privilege.schema))
        alter += "IN SCHEMA {} "
    given = [Name(grantee) for grantee in privilege.grantees]
    to = ", ".join(["{}"] * len(given) + ["PUBLIC"] * privilege.to_public)
    if to:
        yield Statement(f"{alter}REVOKE ALL ON {privilege.kind} FROM {to};", *of, *given)
    if privilege.schema is not None:
        return
    yield Statement(f"{alter}GRANT ALL ON {privilege.kind} TO {{}};", *of, Name(privilege.role))
    right = _OF_EVERYBODY.get(privilege.kind)
    if right is not None:
        yield Statement(f"{alter}GRANT {right} ON {privilege.kind} TO PUBLIC;", *of)
