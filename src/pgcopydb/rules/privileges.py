"""Access control lists as text that does not depend on the server's version.

What a list grants is told as its difference to the default of the object. So a list that nobody
touched equals one that says the default, a new privilege of a newer server is not seen as long as
it is given by default, and the owner may have another name.
"""

import re
from collections.abc import Iterable

from pgcopydb.model.definition import Privileges

_ITEM = re.compile(r'("(?:[^"]|"")*"|[^=]*)=([^/]*)/(.*)', re.DOTALL)

SINCE_17 = frozenset({"MAINTAIN"})
"""What version 17 has brought: GRANT ALL of an older server gives it there."""

_NAMES = {
    "r": "SELECT",
    "w": "UPDATE",
    "a": "INSERT",
    "d": "DELETE",
    "D": "TRUNCATE",
    "x": "REFERENCES",
    "t": "TRIGGER",
    "m": "MAINTAIN",
    "X": "EXECUTE",
    "U": "USAGE",
    "C": "CREATE",
    "c": "CONNECT",
    "T": "TEMPORARY",
    "s": "SET",
    "A": "ALTER SYSTEM",
}


def privileges_text(privileges: Privileges, *, without: frozenset[str] = frozenset()) -> str:
    """Return what was granted and revoked: ``bob SELECT, UPDATE*; revoked: PUBLIC EXECUTE``.

    A star marks what the grantee may grant on. Empty for the default. The privileges ``without``
    are passed over.
    """
    granted = _entries(privileges.granted, privileges.owner, without)
    default = _entries(privileges.default, privileges.owner, without)
    given = _grouped(granted - default)
    taken = _grouped(default - granted)
    return "; ".join([*given, *([f"revoked: {', '.join(taken)}"] if taken else [])])


def _entries(items: Iterable[str], owner: str, without: frozenset[str]) -> set[tuple[str, str]]:
    """Return pairs of grantee and privilege."""
    found = set()
    for item in items:
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"not an entry of an access control list: {item!r}")
        grantee = _unquoted(match.group(1))
        name = "PUBLIC" if not grantee else "the owner" if grantee == owner else grantee
        found |= {
            (name, _NAMES.get(letter, letter) + star)
            for letter, star in re.findall(r"(\w)(\*?)", match.group(2))
            if _NAMES.get(letter) not in without
        }
    return found


def _grouped(entries: Iterable[tuple[str, str]]) -> list[str]:
    by_grantee: dict[str, list[str]] = {}
    for grantee, privilege in sorted(entries):
        by_grantee.setdefault(grantee, []).append(privilege)
    return [f"{grantee} {', '.join(names)}" for grantee, names in by_grantee.items()]


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
