"""Large objects: their bytes, piece by piece, in the snapshot of the copy."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from psycopg import Connection

from pgcopydb.clone.context import Copying
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.snapshot import import_snapshot

Session = Connection[tuple[Any, ...]]

_PIECE: Final = 1 << 20
_OBJECTS_AT_ONCE: Final = 500


def copy(copying: Copying, snapshot: str, look: Callable[[], None]) -> int:
    """Copy every large object that is not on the target yet; return how many were copied.

    ``look`` is called between batches and may raise to end the copy.

    An object is committed whole, with others of its batch, so one that is there is complete.
    Raises the side's error.
    """
    if copying.options.skip_large_objects:
        return 0
    source, target = copying.source, copying.target
    with connect(source, purpose="large objects") as reading:
        import_snapshot(source, reading, snapshot)
        with reporting(source, "reading the list of large objects"):
            wanted = _oids(reading)
        if not wanted:
            return 0
        with connect(target, purpose="large objects") as writing:
            with reporting(target, "reading the list of large objects"):
                missing = sorted(wanted - _oids(writing))
            for start in range(0, len(missing), _OBJECTS_AT_ONCE):
                _copy_batch(copying, reading, writing, missing[start : start + _OBJECTS_AT_ONCE])
                look()
    return len(missing)


def _copy_batch(copying: Copying, reading: Session, writing: Session, oids: list[int]) -> None:
    with reporting(copying.target, "writing large objects"), writing.transaction():
        for oid in oids:
            writing.execute("select pg_catalog.lo_create(%s)", (oid,))
            for offset, piece in _pieces(copying, reading, oid):
                writing.execute("select pg_catalog.lo_put(%s, %s, %s)", (oid, offset, piece))


def _pieces(copying: Copying, reading: Session, oid: int) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while True:
        with reporting(copying.source, f"reading large object {oid}"):
            row = reading.execute(
                "select pg_catalog.lo_get(%s, %s, %s)", (oid, offset, _PIECE), binary=True
            ).fetchone()
        piece = bytes(row[0]) if row else b""
        if piece:
            yield offset, piece
        if len(piece) < _PIECE:
            return
        offset += len(piece)


def _oids(connection: Session) -> set[int]:
    rows = connection.execute("select oid from pg_catalog.pg_largeobject_metadata")
    return {row[0] for row in rows}
