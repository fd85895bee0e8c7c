"""The proof that a copy is complete: looked up on the target, not in this program's memory."""

from collections.abc import Iterable
from typing import Final

from pgcopydb.clone.context import COPY, MARKERS_DROPPED, Copying
from pgcopydb.clone.planning.jobs import BuiltIndex
from pgcopydb.errors import PgcopydbError, TargetError, some_of
from pgcopydb.postgres import helper_schema
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.short_sessions import short_session
from pgcopydb.workdir.jobs import JobQueue

_VALID_INDEXES: Final = (
    "select n.nspname::text, x.relname::text, k.conname::text"
    " from pg_catalog.pg_index as i"
    " join pg_catalog.pg_class as x on x.oid = i.indexrelid"
    " join pg_catalog.pg_namespace as n on n.oid = x.relnamespace"
    " left join pg_catalog.pg_constraint as k"
    " on k.conindid = i.indexrelid and k.conrelid = i.indrelid and k.contype in ('p', 'u', 'x')"
    " where i.indisvalid and x.relpersistence <> 't'"
)
"""With their constraints; their definitions, which take most of the time, are not compared here."""


def verify_parts(copying: Copying, snapshots: Iterable[str]) -> None:
    """Raise TargetError unless the marker of every part that had rows is on the target."""
    missing = missing_rows(copying, snapshots)
    if missing:
        raise _lacks(missing, "rows")


def missing_rows(copying: Copying, snapshots: Iterable[str]) -> list[str]:
    """Return the tables of which the target has not the marker of every part that had rows."""
    with (
        short_session(copying.target, purpose="verify") as connection,
        reporting(copying.target, "reading the copy markers"),
    ):
        copied = {
            (marker.table_oid, marker.part): marker.rows
            for snapshot in snapshots
            for marker in helper_schema.copied_parts(connection, copying.header.run_id, snapshot)
        }
    with copying.work.store() as store:
        missing = {
            f"{job.schema}.{job.name}"
            for job in JobQueue(store).each(COPY)
            if job.rows and copied.get((job.oid or 0, job.part or 0)) != job.rows
        }
    return sorted(missing)


def refuse_emptied(copying: Copying, snapshots: Iterable[str]) -> None:
    """Raise TargetError when a crash of the target has emptied tables since they were verified."""
    found = emptied(copying, snapshots)
    if found:
        raise _lacks(found, "rows")


def emptied(copying: Copying, snapshots: Iterable[str]) -> list[str]:
    """Return the unlogged tables that a crash of the target has emptied since they were verified.

    That is known until the markers are dropped, with which a copy ends. When changes are followed
    nothing is emptied by this measure: unlogged tables are not followed, and are the user's.
    """
    if copying.header.consistent_point is not None or copying.is_done(MARKERS_DROPPED):
        return []
    with (
        short_session(copying.target, purpose="verify") as connection,
        reporting(copying.target, "looking for the copy markers"),
    ):
        if not helper_schema.owns_helper_schema(connection, copying.header.run_id):
            return []
    missing = missing_rows(copying, snapshots)
    # A marker of any other table is gone with all of them, and says nothing of its rows.
    return missing if missing and set(missing) <= _unlogged_tables(copying) else []


def _unlogged_tables(copying: Copying) -> set[str]:
    with (
        short_session(copying.target, purpose="verify") as connection,
        reporting(copying.target, "listing the unlogged tables"),
    ):
        rows = connection.execute(
            "select n.nspname::text, c.relname::text from pg_catalog.pg_class as c"
            " join pg_catalog.pg_namespace as n on n.oid = c.relnamespace"
            " where c.relkind = 'r' and c.relpersistence = 'u'"
        ).fetchall()
    return {f"{schema}.{name}" for schema, name in rows}


def verify_indexes(copying: Copying, wanted: Iterable[BuiltIndex]) -> None:
    """Raise TargetError unless every index and key constraint of ``wanted`` is there and valid."""
    missing = missing_indexes(copying, wanted)
    if missing:
        raise _lacks([f"{index.schema}.{index.name}" for index in missing], "indexes")


def missing_indexes(copying: Copying, wanted: Iterable[BuiltIndex]) -> list[BuiltIndex]:
    """Return those of ``wanted`` that the target has not, or not valid, or without their key."""
    with (
        short_session(copying.target, purpose="verify") as connection,
        reporting(copying.target, "reading the list of indexes"),
    ):
        present = {
            (schema, name): constraint
            for schema, name, constraint in connection.execute(_VALID_INDEXES)
        }
    return [
        index for index in wanted if present.get((index.schema, index.name), "") != index.constraint
    ]


def _lacks(names: list[str], what: str) -> PgcopydbError:
    return TargetError(
        f"target: {what} that were written are not there any more: {some_of(names)}",
        hint="did the server crash meanwhile? run again with --resume",
    )
