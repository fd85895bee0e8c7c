"""What a run that was interrupted left, and how it goes on: which rows are copied is asked of the
target, whose markers were committed together with the rows."""

import logging
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from typing import Any, Final

import msgspec
from msgspec import Struct
from psycopg import Connection, sql

from pgcopydb.clone.context import BUILD, COPY, Copying, Restoring
from pgcopydb.clone.planning.jobs import Build, BuiltIndex, Remainder, Step
from pgcopydb.errors import StateError, TargetError
from pgcopydb.postgres import helper_schema
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.snapshot import LockedSnapshot, locked_snapshot
from pgcopydb.workdir.jobs import JobQueue
from pgcopydb.workdir.store import read_fact, write_fact

log = logging.getLogger(__name__)

_VIEWS_FACT: Final = "copy snapshots"
_REMAINDER_FACT: Final = "copy remainder"


class View(Struct, frozen=True):
    """The snapshot that parts were copied from: ``given`` when another session exported it."""

    snapshot: str
    given: bool


def views(copying: Restoring) -> list[View]:
    """Return the snapshots that parts were copied from, the newest last."""
    with copying.work.store() as store:
        known: list[View] | None = read_fact(store, _VIEWS_FACT, list[View])
    return known or []


def note_view(copying: Copying, view: View) -> None:
    """Write down which snapshot the parts that follow are copied from."""
    known = [other for other in views(copying) if other.snapshot != view.snapshot]
    with copying.work.store() as store:
        write_fact(store, _VIEWS_FACT, [*known, view])


def note_remainder(copying: Copying, remainder: Remainder) -> None:
    """Write down what later steps have to know of the catalogue."""
    with copying.work.store() as store:
        write_fact(store, _REMAINDER_FACT, remainder)


def find_remainder(copying: Restoring) -> Remainder | None:
    """Return what ``note_remainder`` wrote, None when no copy was begun here."""
    with copying.work.store() as store:
        remainder: Remainder | None = read_fact(store, _REMAINDER_FACT, Remainder)
    return remainder


def read_remainder(copying: Restoring) -> Remainder:
    """Return what ``note_remainder`` wrote; raises StateError when no copy was begun here."""
    remainder = find_remainder(copying)
    if remainder is None:
        raise StateError(
            f"{copying.work.path} holds no copy whose constraints could be finished",
            hint="run clone first",
        )
    return remainder


def without_views(remainder: Remainder) -> list[BuiltIndex]:
    """Return the indexes of tables: those of materialised views come later."""
    of_views = {(index.schema, index.name) for index in remainder.view_indexes}
    return [one for one in remainder.indexes if (one.schema, one.name) not in of_views]


def count_markers(copying: Copying, queue: JobQueue) -> None:
    """Make the queue agree with the target, which alone knows what is copied."""
    target = copying.target
    with connect(target, purpose="clone") as connection, reporting(target, "reading the markers"):
        if not helper_schema.owns_helper_schema(connection, copying.header.run_id):
            raise StateError(
                "target: the schema pgcopydb, which says what is copied, is not there any more",
                hint="start over with --restart, with an empty target database",
            )
        copied = {
            (marker.table_oid, marker.part): marker
            for view in views(copying)
            for marker in helper_schema.copied_parts(
                connection, copying.header.run_id, view.snapshot
            )
        }
    redo = []
    for job in queue.jobs(COPY):
        marker = copied.get((job.oid or 0, job.part or 0))
        if marker is not None and job.state != "done":
            queue.finish(job, rows=marker.rows, bytes=marker.bytes)
        elif marker is None and job.state == "done" and job.rows:
            redo.append(job)
    queue.repeat(redo)


def repeat_lost_builds(queue: JobQueue, missing: Sequence[BuiltIndex]) -> None:
    """Have the indexes and key constraints among ``missing`` made again whose jobs count as done.

    They were committed without waiting for the disk, and a crash of the target took them.
    """
    lost = {(index.schema, index.name) for index in missing}
    if not lost:
        return
    queue.repeat(
        job
        for job in queue.jobs(BUILD, state="done")
        if job.kind == "attach"
        or any(_makes(step, lost) for step in msgspec.json.decode(job.parameters, type=Build).steps)
    )


def _makes(step: Step, lost: AbstractSet[tuple[str, str]]) -> bool:
    """Tell whether ``step`` makes one of the indexes ``lost``, or a constraint of its name."""
    if step.index is not None:
        return step.index in lost
    if step.constraint is None:
        return False
    schema, _, name = step.constraint
    return (schema, name) in lost


def snapshot_again(copying: Copying) -> AbstractContextManager[LockedSnapshot]:
    """Return the locked snapshot of the run that is resumed, or a new one where that is allowed.

    Raises StateError when the old one is gone and a new one was not asked for, or would make the
    captured changes meet rows that have them already (ruling 13).
    """
    last = views(copying)[-1]
    captured = copying.header.consistent_point is not None
    if last.given and not copying.work.not_consistent:
        return locked_snapshot(copying.source, last.snapshot, copying.filters)
    if captured:
        raise StateError(
            "the copy was not complete and its snapshot belongs to a replication slot: a newer one"
            " would not fit the changes that the slot has kept",
            hint="start over with --restart",
        )
    if not copying.work.not_consistent:
        raise StateError(
            "the copy was not complete when it was interrupted, and its snapshot is gone with it",
            hint="start over with --restart, or accept that the tables that are still missing are"
            " copied as they are now: --resume --not-consistent",
        )
    return locked_snapshot(copying.source, filters=copying.filters)


def _is_partitioned(connection: Connection[Any], name: sql.Identifier) -> bool:
    row = connection.execute(
        "select relkind = 'p' from pg_catalog.pg_class where oid = pg_catalog.to_regclass(%s)",
        (name.as_string(connection),),
    ).fetchone()
    return row is not None and row[0]


def start_tables_over(
    copying: Copying,
    queue: JobQueue,
    oids: Sequence[int],
    *,
    silenced: bool,
    truncating: bool,
) -> None:
    """Empty the tables that are not complete, and forget their parts: they follow a new snapshot.

    Parts of one table from different snapshots would miss rows, or have them twice. ``silenced``
    says that the target has foreign keys or triggers, which are kept from acting: a table that
    another one references cannot be truncated then. ``truncating`` says that they can be.
    """
    target = copying.target
    jobs = [job for job in queue.jobs(COPY) if job.oid in set(oids)]
    names = {job.oid: sql.Identifier(job.schema or "", job.name or "") for job in jobs}
    emptying = sql.SQL("truncate {}{}" if truncating else "delete from {}{}")
    looking = sql.SQL("select exists (select from {}{})")
    with connect(target, purpose="clone") as connection:
        for oid, name in names.items():
            with reporting(target, "emptying incomplete tables"), connection.transaction():
                if silenced:
                    connection.execute("set local session_replication_role to replica")
                partitioned = _is_partitioned(connection, name)
                rows = (sql.SQL("" if partitioned else "only "), name)
                connection.execute(emptying.format(*rows))
                (left,) = connection.execute(looking.format(*rows)).fetchone() or (True,)
                if left:  # a rule may have done something else
                    raise TargetError(
                        f"target: {name.as_string(connection)} still has rows after it was emptied",
                        hint="empty it yourself, then run this again",
                    )
                connection.execute(
                    "delete from pgcopydb.copy_marker where run_id = %s and table_oid = %s",
                    (copying.header.run_id, oid),
                )
    queue.repeat(jobs)
    log.warning("%d tables are copied again, as they are now", len(names))
