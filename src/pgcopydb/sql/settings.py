"""Settings of roles and databases become SQL."""

from typing import Final

from pgcopydb.sql.quote import quote_identifier, quote_literal

_LISTS: Final = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    }
)
"""Settings whose stored value is a list of quoted identifiers (GUC_LIST_QUOTE in PostgreSQL)."""


def set_clause(setting: str) -> str:
    """Return ``SET name TO value`` for a stored ``name=value`` of a role or database."""
    name, _, value = setting.partition("=")
    # A name may have a prefix: the parameter of an extension.
    quoted = ".".join(quote_identifier(part) for part in name.split("."))
    if name not in _LISTS:
        return f"SET {quoted} TO {quote_literal(value)}"
    return (
        f"SET {quoted} TO {', '.join(map(quote_literal, split_list(value))) or quote_literal('')}"
    )


def split_list(value: str) -> list[str]:
    """Return the members of a list of identifiers that may be in double quotes."""
    members: list[str] = []
    text, quoted, place = "", False, 0
    while place < len(value):
        char = value[place]
        if char == '"' and quoted and value[place + 1 : place + 2] == '"':
            text += '"'
            place += 1
        elif char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            members.append(text)
            text = ""
        elif quoted or not char.isspace():
            text += char
        place += 1
    return [*members, text] if text or members else []
