"""What an object of a database is, told so that two servers can be compared."""

from collections.abc import Mapping

from msgspec import Struct

from pgcopydb.model.dependencies import Key


class Privileges(Struct, frozen=True, kw_only=True):
    """Who may do what with an object: entries as PostgreSQL prints them, ``grantee=rw/grantor``.

    ``default`` is what holds where nothing was granted or revoked, for an object of ``owner``.
    """

    granted: tuple[str, ...]
    default: tuple[str, ...]
    owner: str


class Definition(Struct, frozen=True, kw_only=True):
    """An object, known by ``kind`` and ``name``, with the properties that are not the usual ones.

    ``key`` tells it from all that was read by the same query. ``schema`` and ``table`` are where it
    belongs, for filters; the names after them those of an object that filters can name itself.
    ``privileges`` is None where nothing was granted or revoked.
    """

    kind: str
    name: str
    key: str
    properties: Mapping[str, str]
    schema: str | None = None
    table: str | None = None
    index: str | None = None
    extension: str | None = None
    event_trigger: str | None = None
    publication: str | None = None
    address: Key | None = None
    """Catalog and oid on its own server, where filters decide by what depends on what."""
    referenced: int | None = None
    """Oid of the table that a foreign key refers to, on its own server."""
    privileges: Privileges | None = None
