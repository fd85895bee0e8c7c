"""Names and values become SQL text, without a driver and without a connection.

The rules are those of PostgreSQL's own ``quote_ident`` and ``quote_literal``, save that every
identifier is quoted: a list of reserved words differs between servers, quotes never do.
"""

from pgcopydb.errors import UsageError


def quote_identifier(name: str) -> str:
    """Return ``name`` as a quoted SQL identifier.

    Raises UsageError for an empty name or one with a NUL, which no server can hold.
    """
    if not name:
        raise UsageError("an SQL identifier cannot be empty")
    return '"' + _without_nul(name).replace('"', '""') + '"'


def qualified_name(schema: str, name: str) -> str:
    """Return ``schema.name``, both quoted."""
    return quote_identifier(schema) + "." + quote_identifier(name)


def quote_literal(text: str) -> str:
    """Return ``text`` as an SQL string literal that means the same whatever the session says.

    A backslash makes it an E string, so that ``standard_conforming_strings`` does not matter.
    Raises UsageError for a NUL.
    """
    quoted = "'" + _without_nul(text).replace("'", "''") + "'"
    if "\\" not in text:
        return quoted
    # The space keeps the E apart from a word that stands directly before it.
    return " E" + quoted.replace("\\", "\\\\")


def column_list(columns: tuple[str, ...] | list[str]) -> str:
    """Return the quoted names separated by commas, without parentheses."""
    return ", ".join(quote_identifier(column) for column in columns)


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise UsageError("a name or value with a NUL character cannot be sent to a server")
    return text
