"""What of a database can be without what else: rows of ``postgres.selection``."""

from typing import Final, TypeAlias

from msgspec import Struct

PG_CLASS: Final = 1259
PG_CONSTRAINT: Final = 2606
"""Oids of the catalogs that list relations and constraints."""

Key: TypeAlias = tuple[int, int]
"""Catalog and oid of an object, as pg_depend names it."""


class CatalogObject(Struct, frozen=True):
    """An object that filters can name, or that lives in a schema.

    ``kind`` is pg_class.relkind for a relation, else ``schema``, ``extension``, ``event trigger``
    or ``other``. ``is_key`` marks an index that is a primary key or the replica identity.
    """

    catalog: int
    oid: int
    kind: str
    schema: str | None
    name: str
    is_partition: bool = False
    is_key: bool = False

    @property
    def key(self) -> Key:
        """Its catalog and oid."""
        return self.catalog, self.oid

    @property
    def qualified(self) -> tuple[str, str]:
        """Its schema ("" where it has none) and name."""
        return self.schema or "", self.name


class Need(Struct, frozen=True):
    """``dependent`` cannot be without ``needed``.

    ``kind`` is pg_depend.deptype. With ``is_part`` the two are one thing: ``needed`` cannot be
    without ``dependent`` either (a view and its rule, a table and its default).
    """

    dependent: Key
    needed: Key
    kind: str
    is_part: bool = False
