"""Large objects: what there is, and moving some of them from one session to another.

Many small ones are read by one statement and written by another, so that none costs a round trip; a
large one goes piece by piece. Only a superuser may read pg_largeobject, so how large one is shows
when it is read. Measured with 20,000 objects of 16 to 960 bytes on 2 cores, servers included:
55,000 a second through one pair of sessions, 59,000 through four, asyncpg and psycopg alike.

The functions that list raise psycopg's errors: callers wrap them in ``connect.reporting``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final

from msgspec import Struct
from psycopg import Connection, sql
from psycopg.rows import class_row

from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import Grant, LargeObject
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.queries import query
from pgcopydb.sql import ddl

Session = Connection[tuple[Any, ...]]

Side = tuple[Endpoint, Session]
"""A server and a session on it."""

_TOGETHER: Final = 250
"""Objects in one transaction of the target. Unlinking or commenting on one takes a lock that is
kept to its end, and a server has room for a few thousand locks."""

_FIRST: Final = 32 << 10
"""Bytes of each object that are read with others: _TOGETHER times this is the most that is held."""

_PIECE: Final = 1 << 20
"""Bytes of a large object that are read and written by one statement."""


class ObjectRange(Struct, frozen=True):
    """Oids from ``first`` to ``last``, both of objects that are there; ``count`` of them are."""

    first: int
    last: int
    count: int


class Properties(Struct, frozen=True, kw_only=True):
    """What is copied with the bytes: owners, privileges (ACLs) and comments."""

    owners: bool = True
    privileges: bool = True
    comments: bool = True


def list_ranges(connection: Session, together: int) -> list[ObjectRange]:
    """Return all large objects as ranges of oids with ``together`` objects each at most."""
    with connection.cursor(row_factory=class_row(ObjectRange)) as cursor:
        return cursor.execute(query("large_object_ranges"), {"together": together}).fetchall()


def list_objects(connection: Session, found_in: ObjectRange) -> list[LargeObject]:
    """Return the large objects of a range, by oid."""
    bounds = {"first": found_in.first, "last": found_in.last}
    return [
        LargeObject(
            oid=oid,
            owner=owner,
            comment=comment,
            grants=None if grants is None else tuple(Grant(*grant) for grant in grants),
        )
        for oid, owner, comment, grants in connection.execute(query("large_objects"), bounds)
    ]


def list_oids(connection: Session, found_in: ObjectRange) -> set[int]:
    """Return the oids of a range that are taken by large objects."""
    rows = connection.execute(
        "select oid from pg_catalog.pg_largeobject_metadata where oid between %s and %s",
        (found_in.first, found_in.last),
    )
    return {row[0] for row in rows}


def any_there(connection: Session) -> bool:
    """Tell whether the database has a large object."""
    statement = "select from pg_catalog.pg_largeobject_metadata limit 1"
    return connection.execute(statement).rowcount > 0


def missing_roles(reading: Session, writing: Session, properties: Properties) -> list[str]:
    """Return the roles that the source's large objects name and the target has not."""
    chosen = {"owners": properties.owners, "privileges": properties.privileges}
    named = {row[0] for row in reading.execute(query("large_object_roles"), chosen)}
    known = {row[0] for row in writing.execute("select rolname::text from pg_catalog.pg_roles")}
    return sorted(named - known)


def unlink(writing: Session, oids: Iterable[int]) -> None:
    """Remove those of ``oids`` that are large objects, some at a time."""
    for some in _batches(sorted(oids), _TOGETHER):
        writing.execute(
            "select pg_catalog.count(pg_catalog.lo_unlink(oid))"
            " from pg_catalog.pg_largeobject_metadata where oid = any (%s::pg_catalog.oid[])",
            (some,),
        )


def move(
    source: Side,
    target: Side,
    objects: Sequence[LargeObject],
    properties: Properties,
    *,
    look: Callable[[], None],
) -> int:
    """Copy ``objects``, which the target has not, and return how many bytes they hold.

    One that is on the target afterwards is there whole, with its properties, and on disk. An owner
    is set by creating as that role. ``look`` is called between pieces and may raise to end the
    copy. Raises the side's error.
    """
    moved = 0
    to, writing = target
    by_owner = sorted(objects, key=lambda one: (one.owner, one.oid))
    for owner, owned in groupby(by_owner, key=lambda one: one.owner):
        for some in _batches(list(owned), _TOGETHER):
            look()
            with reporting(to, "writing large objects"), writing.transaction():
                writing.execute("set local synchronous_commit to local")
                if properties.owners:
                    writing.execute(sql.SQL("set local role {}").format(sql.Identifier(owner)))
                moved += _move_contents(source, writing, [one.oid for one in some], look)
                for statement in _describing(some, properties):
                    writing.execute(statement.encode())
    return moved


def _move_contents(
    source: Side, writing: Session, oids: list[int], look: Callable[[], None]
) -> int:
    endpoint, reading = source
    with reporting(endpoint, "reading large objects"):
        found = reading.execute(
            "select o.oid, pg_catalog.lo_get(o.oid, 0, %s)"
            " from pg_catalog.unnest(%s::pg_catalog.oid[]) as o (oid)",
            (_FIRST, oids),
            binary=True,
        ).fetchall()
    writing.execute(
        "select pg_catalog.count(pg_catalog.lo_from_bytea(o.oid, o.content)) from rows from"
        " (pg_catalog.unnest(%s::pg_catalog.oid[]), pg_catalog.unnest(%b::pg_catalog.bytea[]))"
        " as o (oid, content)",
        ([oid for oid, _ in found], [content for _, content in found]),
    )
    moved = sum(len(content) for _, content in found)
    large = [oid for oid, content in found if len(content) == _FIRST]
    del found
    for oid in large:
        for offset, piece in _pieces(endpoint, reading, oid):
            look()
            writing.execute("select pg_catalog.lo_put(%s, %s, %b)", (oid, offset, piece))
            moved += len(piece)
    return moved


def _pieces(source: Endpoint, reading: Session, oid: int) -> Iterator[tuple[int, bytes]]:
    offset = _FIRST
    while True:
        with reporting(source, f"reading large object {oid}"):
            row = reading.execute(
                "select pg_catalog.lo_get(%s, %s, %s)", (oid, offset, _PIECE), binary=True
            ).fetchone()
        piece: bytes = row[0] if row else b""
        if piece:
            yield offset, piece
        if len(piece) < _PIECE:
            return
        offset += len(piece)


def _describing(objects: Sequence[LargeObject], properties: Properties) -> Iterator[str]:
    """Yield the statements that set privileges and comments; objects of one owner."""
    granted = [one for one in objects if one.grants is not None and properties.privileges]
    alike: dict[tuple[Grant, ...], list[int]] = {}
    for one in granted:
        alike.setdefault(one.grants or (), []).append(one.oid)
    owner = objects[0].owner if properties.owners else None
    for grants, oids in alike.items():
        yield from ddl.large_object_privileges(oids, owner, grants)
    for one in objects:
        if one.comment is not None and properties.comments:
            yield ddl.comment_on_large_object(one.oid, one.comment)


def _batches(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
