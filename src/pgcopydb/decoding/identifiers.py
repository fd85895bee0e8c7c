"""SQL identifiers as PostgreSQL prints them: quoted only where they must be."""

import re

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")


def quote_identifier(name: str) -> str:
    """Return ``name`` as SQL, for showing and comparing; reserved words are not looked at."""
    if _PLAIN.match(name):
        return name
    return always_quoted(name)


def always_quoted(name: str) -> str:
    """Return ``name`` in double quotes, as lists of identifiers in an option's value want it."""
    return '"' + name.replace('"', '""') + '"'
