"""A database becomes the statement that makes one like it."""

from typing import Final

from pgcopydb.model.objects import Database
from pgcopydb.sql.quote import quote_identifier, quote_literal

_PROVIDERS: Final = {"i": ("icu", "ICU_LOCALE"), "b": ("builtin", "BUILTIN_LOCALE")}

_FIRST_WITH_PROVIDERS: Final = 150000


def create_database(database: Database, *, owner: bool, version_num: int) -> str:
    """Return the statement for a server of that version: encoding and locale as on the source.

    Its template is template0, which is empty and takes any of them. The tablespace and the
    connection limit are the target's own.
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
    return f"CREATE DATABASE {quote_identifier(database.name)} {' '.join(options)}"
