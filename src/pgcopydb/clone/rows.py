"""What needs the snapshot: rows, large objects, sequences, and the indexes built beside them."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from time import monotonic
from typing import Final

from pgcopydb.clone import indexes, large_objects, schema, tables, verify
from pgcopydb.clone.context import BUILD, COPY, LARGE_OBJECTS, Copying, require_finished
from pgcopydb.clone.plan import Plan, plan_copy
from pgcopydb.clone.prepare import REPLACES
from pgcopydb.clone.resume import (
    View,
    count_markers,
    note_remainder,
    note_view,
    read_remainder,
    snapshot_again,
    start_tables_over,
    views,
    without_views,
)
from pgcopydb.clone.statements import StatementPool
from pgcopydb.model.objects import Table
from pgcopydb.model.results import StepSummary
from pgcopydb.postgres import discover, sequences
from pgcopydb.postgres.connect import reporting, resolve
from pgcopydb.postgres.snapshot import LockedSnapshot, locked_snapshot
from pgcopydb.postgres.transfer import LaneRoute
from pgcopydb.runtime.workers import WorkerGroup
from pgcopydb.workdir.jobs import JobQueue

log = logging.getLogger(__name__)

_LOOK_EVERY: Final = 0.02

_LOCKED_BY_LANES: Final = 200

_RESTORING: Final = "schema before the data begun"
_PLANNED: Final = "jobs planned"
_VERIFIED: Final = "rows and indexes verified"


def copy_rows(copying: Copying, snapshot: str | None) -> None:
    """Everything that needs the snapshot, and the indexes; done once, and proved.

    Afterwards the rows may change (by the captured changes), and no part is ever copied again.
    """
    if copying.is_done(_VERIFIED):
        return
    with copying.work.store() as store:
        queue = JobQueue(store)
        queue.reset()
        if not copying.is_done(_PLANNED):
            _begin_copy(copying, queue, snapshot)
        else:
            _resume_copy(copying, queue)
    with copying.timed("verify"):
        verify.make_durable(copying)
        verify.verify_parts(copying, [view.snapshot for view in views(copying)])
        verify.verify_indexes(copying, without_views(read_remainder(copying)))
    copying.mark_done(_VERIFIED)


def _begin_copy(copying: Copying, queue: JobQueue, snapshot: str | None) -> None:
    queue.clear()
    with ExitStack() as holding:
        with copying.timed("lock tables, read catalogue"):
            locked = holding.enter_context(locked_snapshot(copying.source, snapshot))
            plan = _plan(copying, locked)
            objects = large_objects.jobs(copying, locked.connection)
            note_view(copying, View(locked.origin, given=snapshot is not None))
        log.info(
            "copying %d tables in %d parts under snapshot %s",
            sum(table.has_rows for table in locked.tables),
            plan.parts,
            locked.id,
        )
        lanes = tables.lane_count(plan.parts, plan.bytes, copying.options.table_jobs)
        with _lanes(copying, locked, lanes) as group:
            with copying.timed("dump schema"):
                schema.dump(copying, locked.id)
            with copying.timed("restore pre-data"):
                _restore_before_data(copying)
            note_remainder(copying, plan.remainder)
            _wait_for_lanes(copying, group, locked, lanes)
            queue.add((*plan.jobs, *objects))
            copying.mark_done(_PLANNED)
            _copy_and_build(
                copying, queue, group, lanes=lanes, locked=locked, holding=holding, resumed=False
            )


def _resume_copy(copying: Copying, queue: JobQueue) -> None:
    """Go on with a copy whose jobs are planned; what the target has is not done again."""
    count_markers(copying, queue)
    unfinished = [job for job in queue.jobs(COPY) if job.state != "done"]
    with ExitStack() as holding:
        if not unfinished and queue.is_finished(LARGE_OBJECTS):
            group = holding.enter_context(WorkerGroup())
            _copy_and_build(
                copying, queue, group, lanes=0, locked=None, holding=holding, resumed=True
            )
            return
        locked = holding.enter_context(snapshot_again(copying))
        if locked.origin != views(copying)[-1].snapshot:
            note_view(copying, View(locked.origin, given=False))
            start_tables_over(copying, queue, sorted({job.oid or 0 for job in unfinished}))
        size = sum(job.weight for job in unfinished)
        lanes = tables.lane_count(len(unfinished), size, copying.options.table_jobs)
        with _lanes(copying, locked, lanes) as group:
            _copy_and_build(
                copying, queue, group, lanes=lanes, locked=locked, holding=holding, resumed=True
            )


def _copy_and_build(
    copying: Copying,
    queue: JobQueue,
    group: WorkerGroup,
    *,
    lanes: int,
    locked: LockedSnapshot | None,
    holding: ExitStack,
    resumed: bool,
) -> None:
    """Run lanes and builders until both are done; ``holding`` lets go of the locked tables."""
    threads = copying.options.index_jobs
    started = monotonic()
    with (
        StatementPool(
            copying,
            BUILD,
            threads=threads,
            perform=partial(indexes.build, copying.target),
            resumed=resumed,
        ) as pool,
        large_objects.pool(
            copying,
            None if locked is None else locked.id,
            replacing=_replaces(copying),
            resumed=resumed,
        ) as objects,
    ):

        def look() -> None:
            group.poll()
            pool.poll()
            objects.poll()
            if locked is not None:
                locked.check()
            copying.watch()

        def wait_while(busy: Callable[[], bool]) -> None:
            while busy():
                group.poll(_LOOK_EVERY)
                look()

        with copying.timed("copy table data", lanes):
            wait_while(lambda: group.alive() or objects.alive)
            objects.poll()
            require_finished(queue, COPY)
            require_finished(queue, LARGE_OBJECTS)
            if locked is not None:
                locked.confirm()
        with copying.timed("sequences"):
            sequences.synchronize_sequences(copying.source, copying.target)
        locked = None
        holding.pop_all().close()
        wait_while(lambda: pool.alive)
        pool.poll()
        require_finished(queue, BUILD)
    copying.steps.append(
        StepSummary(
            name="indexes, constraints, vacuum",
            seconds=monotonic() - started,
            concurrency=threads,
        )
    )


@contextmanager
def _lanes(copying: Copying, locked: LockedSnapshot, count: int) -> Iterator[WorkerGroup]:
    """Start the lanes, which find their first job when the tables are there."""
    with WorkerGroup() as group:
        if count:
            route = LaneRoute(
                source=resolve(copying.source),
                target=resolve(copying.target),
                snapshot=locked.id,
                run_id=copying.header.run_id,
                marker_snapshot=locked.origin,
                locked=_largest(locked.tables),
            )
            for worker in tables.lanes(copying.work.catalogue, route, count):
                group.start(worker)
        yield group


def _wait_for_lanes(
    copying: Copying, group: WorkerGroup, locked: LockedSnapshot, count: int
) -> None:
    """Wait until every lane has the snapshot and its locks, before the first row is read."""
    while not tables.are_ready(copying.work, locked.id, count):
        group.poll(_LOOK_EVERY)
        locked.check()
        copying.watch()


def _largest(candidates: Iterable[Table]) -> tuple[tuple[str, str], ...]:
    """Return the tables whose copy takes long enough for an ALTER TABLE to come between."""
    with_rows = sorted(filter(lambda one: one.has_rows, candidates), key=lambda one: -one.bytes)
    return tuple((table.schema, table.name) for table in with_rows[:_LOCKED_BY_LANES])


def _plan(copying: Copying, locked: LockedSnapshot) -> Plan:
    source = copying.source
    with reporting(source, "reading indexes and constraints"):
        all_indexes = discover.list_indexes(locked.connection)
        constraints = discover.list_constraints(locked.connection)
    return plan_copy(
        locked.tables,
        all_indexes,
        constraints,
        source=locked.facts,
        target=copying.target_facts,
        options=copying.options,
        key_bounds=partial(tables.key_bounds, source, locked.connection),
    )


def _restore_before_data(copying: Copying) -> None:
    replacing = _replaces(copying) or copying.is_done(_RESTORING)
    copying.mark_done(_RESTORING)
    schema.restore_before_data(copying, replacing=replacing)


def _replaces(copying: Copying) -> bool:
    """Tell whether what is on the target under the same names may be dropped."""
    return copying.options.drop_if_exists or copying.is_done(REPLACES)
