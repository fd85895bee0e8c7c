"""One phase of a base copy at a time, into tables that are on the target already.

::

    dump schema ─► restore pre-data ─► copy table-data ─► copy indexes ─► copy constraints
      ─► restore post-data          (see ``schema_phases`` for the first two and the last)

Each is made of the steps that a clone is made of, in the same work directory, one after another.
All read under the snapshot that the options or a running ``pgcopydb snapshot`` of the directory
name; without one, each reads the source as it is when it begins.
"""

from functools import partial
from time import monotonic, sleep
from typing import Final

from msgspec.structs import replace

from pgcopydb.clone import indexes, into_tables, large_objects, plans, rows, verify
from pgcopydb.clone.constraints import create_foreign_keys, refuse_unvalidated
from pgcopydb.clone.context import (
    BUILD,
    CONSTRAINTS_BUILT,
    COPY,
    FOREIGN_KEYS,
    INDEXES_BUILT,
    LARGE_OBJECTS,
    Copying,
    require_finished,
)
from pgcopydb.clone.planning.jobs import Making, Remainder
from pgcopydb.clone.prepare import leave_target, prepare_phase
from pgcopydb.clone.resume import note_remainder, without_views
from pgcopydb.clone.schema_phases import fill_views
from pgcopydb.clone.statements import run_pool
from pgcopydb.clone.summary import summarize
from pgcopydb.errors import StateError, some_of
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CopyOptions
from pgcopydb.model.results import CloneSummary, PhaseSummary
from pgcopydb.postgres import discover, sequences
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.copy_lock import copying_alone
from pgcopydb.postgres.selection import read_selection
from pgcopydb.postgres.snapshot import exported_snapshot
from pgcopydb.runtime import signals
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.jobs import JobQueue

_LOOK_EVERY: Final = 0.02


def copy_table_data(
    work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions
) -> CloneSummary:
    """Copy the rows of all tables into the empty ones of the target, and vacuum them."""
    with signals.stop_on_signals():
        return _copy_rows(work, source, target, copy, rows.TABLE_DATA)


def copy_data(
    work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions
) -> CloneSummary:
    """Copy rows and large objects, build indexes and constraints, and set the sequences.

    Raises SqlError after everything is copied when rows of the source violate a foreign key.
    """
    with signals.stop_on_signals():
        return _copy_rows(work, source, target, copy, rows.DATA)


def _copy_rows(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    copy: CopyOptions,
    scope: rows.Scope,
) -> CloneSummary:
    started = monotonic()
    copying = prepare_phase(work, source, target, copy)
    complete = Making.FOREIGN_KEYS in scope.making
    with copying_alone(copying.target, copying.header.run_id) as lock:
        copying = replace(copying, watch=lock.check)
        rows.copy_rows(copying, copy.snapshot or copying.header.snapshot, scope)
        if complete:
            create_foreign_keys(copying, unchecked=False)
            copying.mark_done(INDEXES_BUILT)
            copying.mark_done(CONSTRAINTS_BUILT)
        fill_views(copying)
    summary = summarize(copying.work, monotonic() - started)
    rows.refuse_emptied(copying)
    if complete:
        refuse_unvalidated(copying)
    if copying.header.consistent_point is None:
        leave_target(copying)
    return summary


def copy_large_objects(
    work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions
) -> PhaseSummary:
    """Copy the large objects that the target has not, with --drop-if-exists those it has, too."""
    with signals.stop_on_signals():
        copying = prepare_phase(work, source, target, copy)
        snapshot = copy.snapshot or copying.header.snapshot
        with exported_snapshot(copying.source, snapshot, purpose="large objects") as held:
            jobs = large_objects.jobs(copying, held.connection)
            with copying.work.store() as store, copying.timed("large objects"):
                queue = JobQueue(store)
                queue.clear(LARGE_OBJECTS)
                queue.add(jobs)
                with large_objects.pool(
                    copying, held.id, replacing=copy.drop_if_exists, resumed=True
                ) as pool:
                    while pool.alive:
                        pool.poll()
                        held.check()
                        signals.raise_if_stopped()
                        sleep(_LOOK_EVERY)
                    pool.poll()
                require_finished(queue, LARGE_OBJECTS)
        count = sum(job.weight for job in jobs)
        return _done(copying, f"{count:,} large objects are on the target")


def copy_sequences(
    work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions
) -> PhaseSummary:
    """Set the target's sequences to where the source's stand now.

    Raises StateError, after it has set the others, for sequences that the target lacks.
    """
    with signals.stop_on_signals():
        copying = prepare_phase(work, source, target, copy)
        with copying.timed("sequences"):
            result = sequences.synchronize_sequences(
                copying.source, copying.target, copying.filters
            )
        done = [f"{result.set:,} sequences set"]
        if result.ahead:
            done.append(f"left as they are, being further on the target: {some_of(result.ahead)}")
        if result.lacks:
            raise StateError(
                f"target: sequences are not there: {some_of(result.lacks)}",
                hint="make them first: pgcopydb dump schema, then pgcopydb restore pre-data",
            )
        return _done(copying, *done)


def copy_indexes(
    work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions
) -> PhaseSummary:
    """Build all indexes, also those that key constraints are to be made from."""
    with signals.stop_on_signals():
        copying = prepare_phase(work, source, target, copy)
        remainder = _plan(copying, frozenset({Making.INDEXES}))
        with copying.timed("indexes", copy.index_jobs):
            run_pool(copying, BUILD, partial(indexes.build, copying.target, None))
        plain = [one for one in without_views(remainder) if one.constraint is None]
        verify.verify_indexes(copying, plain)
        copying.mark_done(INDEXES_BUILT)
        count = len(without_views(remainder))
        return _done(copying, f"{count:,} indexes are on the target")


def copy_constraints(
    work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions
) -> PhaseSummary:
    """Make key and exclusion constraints of the indexes that are there, then the foreign keys.

    Raises StateError when indexes are missing, SqlError after everything is made when rows of the
    source violate a foreign key.
    """
    with signals.stop_on_signals():
        copying = prepare_phase(work, source, target, copy)
        remainder = _plan(copying, frozenset({Making.CONSTRAINTS, Making.FOREIGN_KEYS}))
        _refuse_missing_indexes(copying, remainder)
        with copying.timed("constraints", copy.index_jobs):
            run_pool(copying, BUILD, partial(indexes.build, copying.target, None))
        create_foreign_keys(copying, unchecked=False)
        verify.verify_indexes(copying, without_views(remainder))
        copying.mark_done(CONSTRAINTS_BUILT)
        keys = [one for one in without_views(remainder) if one.constraint is not None]
        with copying.work.store() as store:
            foreign = len(JobQueue(store).jobs(FOREIGN_KEYS))
        refuse_unvalidated(copying)
        return _done(
            copying,
            f"{len(keys):,} key and exclusion constraints and {foreign:,} foreign keys"
            " are on the target",
        )


# -- what they have in common -------------------------------------------------------------------


def _done(copying: Copying, *what: str) -> PhaseSummary:
    return PhaseSummary(done=what, steps=tuple(copying.steps))


def _plan(copying: Copying, making: frozenset[Making]) -> Remainder:
    """Plan what is to be made under the snapshot; raise StateError where its tables lack."""
    with copying.work.store() as store:
        queue = JobQueue(store)
        if not queue.is_finished(COPY):
            raise StateError(
                "the rows of the tables are not all copied yet",
                hint="go on with what copies them, with --resume, then build on the tables",
            )
        queue.clear(BUILD, FOREIGN_KEYS)
    snapshot = copying.options.snapshot or copying.header.snapshot
    with exported_snapshot(copying.source, snapshot, purpose="clone") as held:
        with reporting(copying.source, "reading the list of tables"):
            tables = [
                table
                for table in discover.list_tables(
                    held.connection, estimate_sizes=copying.options.estimate_table_sizes
                )
                if copying.filters.selects_table(table.schema, table.name)
            ]
        into_tables.refuse_missing(copying, tables)
        selection = read_selection(copying.source, held.connection, copying.filters)
        remainder = plans.Builds(copying, tables, making, selection).add(held.connection)
    note_remainder(copying, remainder)
    return remainder


def _refuse_missing_indexes(copying: Copying, remainder: Remainder) -> None:
    target = copying.target
    with connect(target, purpose="clone") as session, reporting(target, "listing the indexes"):
        present = {(one.schema, one.name) for one in discover.list_indexes(session)}
    missing = [
        f"{one.schema}.{one.name}"
        for one in without_views(remainder)
        if one.created and (one.schema, one.name) not in present
    ]
    if missing:
        raise StateError(
            f"target: indexes are not there yet: {some_of(missing)}",
            hint="build them first: pgcopydb copy indexes",
        )
