"""What filters make of a database: its catalogue is read, and what depends on what is worked out.

Called in a transaction with an imported snapshot, it answers for that snapshot.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

from msgspec import Struct
from psycopg import Connection

from pgcopydb.model.dependencies import CatalogObject, Key, Need
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import Filters
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.queries import query
from pgcopydb.rules.selection import NOTHING_LEFT_OUT, Dependent, Selection, select

log = logging.getLogger(__name__)

Session = Connection[tuple[Any, ...]]

_SHOWN: Final = 50

_DESCRIBE: Final = (
    "select pg_catalog.pg_describe_object(d.catalog, d.oid, 0),"
    " pg_catalog.pg_describe_object(n.catalog, n.oid, 0)"
    " from rows from (pg_catalog.unnest(%s::pg_catalog.oid[]), pg_catalog.unnest(%s::"
    "pg_catalog.oid[])) with ordinality as d (catalog, oid, place)"
    " join rows from (pg_catalog.unnest(%s::pg_catalog.oid[]), pg_catalog.unnest(%s::"
    "pg_catalog.oid[])) with ordinality as n (catalog, oid, place) using (place)"
    " order by d.place"
)


def resolve_filters(
    source: Endpoint, connection: Session, filters: Filters, *, tell: bool = True
) -> Filters:
    """Return ``filters`` with the names that follow from the source's catalogue.

    Those that are complete already are given back as they are. What a person should know is
    logged, unless somebody else will ``tell`` it. Raises ConfigurationError for a rule whose name
    the source does not have, and for one that cannot be followed.
    """
    if filters.selects_all or filters.is_resolved:
        return filters
    selection = read_selection(source, connection, filters)
    if tell:
        _tell(source, connection, selection)
    return selection.filters


def read_selection(source: Endpoint, connection: Session, filters: Filters) -> Selection:
    """Return what follows from the rules of ``filters``; raises as ``resolve_filters`` does."""
    if filters.selects_all:
        return NOTHING_LEFT_OUT
    with reporting(source, "reading what depends on what"):
        objects = [CatalogObject(*row) for row in connection.execute(query("selectable"))]
        needs = [
            Need((row[0], row[1]), (row[2], row[3]), row[4], row[5])
            for row in connection.execute(query("needs"))
        ]
    return select(filters, objects, needs)


class Addressed(Protocol):
    """What pg_depend knows by catalog and oid."""

    @property
    def catalog(self) -> int:
        """The oid of its catalog."""

    @property
    def oid(self) -> int:
        """Its own oid."""


_A = TypeVar("_A", bound=Addressed)


def kept(objects: Iterable[_A], selection: Selection) -> tuple[_A, ...]:
    """Return those of ``objects`` that ``selection`` does not leave out."""
    return tuple(one for one in objects if (one.catalog, one.oid) not in selection.left_out)


def read_kept(
    source: Endpoint, connection: Session, filters: Filters, objects: Sequence[_A]
) -> tuple[_A, ...]:
    """Return those of ``objects`` that are copied; only where there are any the source is asked.

    Raises as ``resolve_filters`` does.
    """
    return kept(objects, read_selection(source, connection, filters)) if objects else ()


class Dependency(Struct, frozen=True):
    """An object and what it cannot be without, both described as pg_describe_object does."""

    object: str
    needs: str


def list_dependencies(source: Endpoint, connection: Session, filters: Filters) -> list[Dependency]:
    """Return what is left out only because of what ``filters`` leave out, and why.

    Without filters return all dependencies between users' objects, but for the parts that one
    object is made of. Raises as ``resolve_filters`` does.
    """
    if filters.selects_all:
        pairs = [
            Dependent((row[0], row[1]), (row[2], row[3]))
            for row in connection.execute(query("needs"))
            if not row[5]
        ]
    else:
        pairs = list(read_selection(source, connection, filters).dependents)
    return [Dependency(*row) for row in _describe(connection, pairs)]


def _tell(source: Endpoint, connection: Session, selection: Selection) -> None:
    for remark in selection.remarks:
        log.warning("%s", remark)
    if not selection.dependents:
        return
    with reporting(source, "describing what is left out"):
        described = _describe(connection, selection.dependents[:_SHOWN])
    more = len(selection.dependents) - len(described)
    log.warning(
        "left out too, because it cannot be without what the filters leave out: %s%s",
        "; ".join(f"{name} (needs {needed})" for name, needed in described),
        f"; and {more} more" if more else "",
    )


def _describe(connection: Session, dependents: Iterable[Dependent]) -> list[tuple[str, str]]:
    listed = list(dependents)
    columns = (
        *_columns(one.key for one in listed),
        *_columns(one.needed for one in listed),
    )
    return [(row[0], row[1]) for row in connection.execute(_DESCRIBE, columns)]


def _columns(keys: Iterable[Key]) -> tuple[list[int], list[int]]:
    listed = list(keys)
    return [catalog for catalog, _ in listed], [oid for _, oid in listed]
