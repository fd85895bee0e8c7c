"""A database becomes the statement that makes one like it."""

from typing import Final

from pgcopydb.model.objects import Database
from pgcopydb.sql.quote import quote_identifier, quote_literal

_PROVIDERS: Final = {"i": ("icu", "ICU_LOCALE"), "b": ("builtin", "BUILTIN_LOCALE")}

_FIRST_WITH_PROVIDERS: Final = 150000


DEFAULT_TABLESPACE: Final = "pg_default"


def create_database(database: Database, *, owner: bool, tablespace: bool, version_num: int) -> str:
    """Return the statement for a server of that version: encoding and locale as on the source.

    Its template is template0, which is empty and takes any of them. ``owner`` and ``tablespace``
    tell whether these are the source's too. The connection limit is set when the copy is done.
    """
    options = [
        "TEMPLATE template0",
        f"ENCODING {quote_literal(database.encoding)}",
        f"LC_COLLATE {quote_literal(database.collation)}",
        f"LC_CTYPE {quote_literal(database.ctype)}",
    ]
    if database.provider in _PROVIDERS and database.locale is not None:
        provider, keyword = _PROVIDERS[database.provider]
        options += [f"LOCALE_PROVIDER {provider}", f"{keyword} {quote_literal(database.locale)}"]
    elif version_num >= _FIRST_WITH_PROVIDERS:
        options.append("LOCALE_PROVIDER libc")
    if owner:
        options.append(f"OWNER {quote_identifier(database.owner)}")
    if tablespace and database.tablespace != DEFAULT_TABLESPACE:
        options.append(f"TABLESPACE {quote_identifier(database.tablespace)}")
    return f"CREATE DATABASE {quote_identifier(database.name)} {' '.join(options)}"
