"""What needs the snapshot: rows, large objects, sequences, and the indexes built beside them."""

import logging
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from pgcopydb.clone import (
    extensions,
    into_tables,
    large_objects,
    plans,
    schema,
    schema_dump,
    tables,
    verify,
)
from pgcopydb.clone.beginning import Beginning, Begun
from pgcopydb.clone.beside import wait_for
from pgcopydb.clone.context import (
    COPY,
    LARGE_OBJECTS,
    PLANNED,
    TABLES,
    Copying,
    Restoring,
)
from pgcopydb.clone.dumping import dumping
from pgcopydb.clone.lanes import (
    copy_and_build,
    lanes_at_work,
    look_on,
    stopping_together,
    wait_for_lanes,
)
from pgcopydb.clone.planning.jobs import EVERYTHING, Making, Remainder, RowsPlan, copy_unit
from pgcopydb.clone.prepare import claim_target
from pgcopydb.clone.resume import (
    View,
    count_markers,
    note_remainder,
    note_view,
    read_remainder,
    repeat_lost_builds,
    snapshot_again,
    start_tables_over,
    views,
    without_views,
)
from pgcopydb.clone.selected import refuse_changed_selection
from pgcopydb.errors import StateError, some_of
from pgcopydb.model.objects import ServerFacts, Table, TableKind
from pgcopydb.postgres.durability import make_durable
from pgcopydb.postgres.selection import read_selection
from pgcopydb.postgres.snapshot import LockedSnapshot, locked_snapshot
from pgcopydb.rules.selection import Selection
from pgcopydb.runtime.workers import WorkerGroup
from pgcopydb.workdir.jobs import JobQueue, NewJob
from pgcopydb.workdir.store import read_fact, write_fact

log = logging.getLogger(__name__)

_UNLOGGED: Final = "u"  # pg_class.relpersistence

_SCOPE: Final = "rows of"
_MAKING_TABLES: Final = NewJob(pool=TABLES, kind="make", unit=TABLES, items=0)
"""Stands for making all tables; nobody claims it."""

_VERIFIED: Final = "rows and indexes verified"


class Scope(Struct, frozen=True):
    """How much of a base copy is made at once: the jobs, and what goes beside them.

    Without ``schema`` the empty tables must be on the target already.
    """

    name: str
    making: frozenset[Making]
    schema: bool = True
    large_objects: bool = True
    sequences: bool = True


WHOLE: Final = Scope("clone", EVERYTHING)
DATA: Final = Scope("copy data", EVERYTHING, schema=False)
TABLE_DATA: Final = Scope(
    "copy table-data",
    frozenset({Making.ROWS, Making.VACUUM}),
    schema=False,
    large_objects=False,
    sequences=False,
)


def are_copied(copying: Restoring) -> bool:
    """Tell whether the rows of this migration are all on the target."""
    return copying.is_done(_VERIFIED)


def copy_rows(
    copying: Copying,
    snapshot: str | None,
    scope: Scope = WHOLE,
    beginning: Beginning | None = None,
) -> None:
    """Everything that needs the snapshot, and the indexes; done once, and proved.

    ``beginning`` is what has begun already, if anything has.
    Afterwards the rows may change (by the captured changes), and no part is ever copied again but
    of an unlogged table that a crash of the target has emptied before any change was applied.
    """
    _settle_scope(copying, scope)
    if copying.is_done(_VERIFIED) and not verify.emptied(copying, _snapshots(copying)):
        return
    with copying.work.store() as store:
        queue = JobQueue(store)
        queue.reset()
        if not copying.is_done(PLANNED):
            begun = None if beginning is None else beginning.take()
            _begin_copy(copying, queue, snapshot, scope, begun)
        else:
            _resume_copy(copying, queue, scope)
    with copying.timed("verify"):
        # Lanes and builders commit without waiting for the disk.
        make_durable(copying.target)
        verify.verify_parts(copying, _snapshots(copying))
        if Making.INDEXES in scope.making:
            verify.verify_indexes(copying, without_views(read_remainder(copying)))
    copying.mark_done(_VERIFIED)


def refuse_emptied(copying: Copying) -> None:
    """Raise TargetError when a crash of the target has emptied tables since they were verified."""
    verify.refuse_emptied(copying, _snapshots(copying))


def _snapshots(copying: Copying) -> list[str]:
    return [view.snapshot for view in views(copying)]


def _settle_scope(copying: Copying, scope: Scope) -> None:
    """Write down what is copied together; raise StateError where another command began that."""
    with copying.work.store() as store:
        begun = read_fact(store, _SCOPE, str)
        if begun not in {None, scope.name}:
            raise StateError(
                f"{copying.work.path} holds the rows of pgcopydb {begun}",
                hint=f"go on with pgcopydb {begun} --resume and the commands for what it leaves"
                " out, or use another --dir",
            )


def _lock_tables(copying: Copying, snapshot: str | None, holding: ExitStack) -> LockedSnapshot:
    with copying.timed("lock tables"):
        return holding.enter_context(
            locked_snapshot(
                copying.source,
                snapshot,
                copying.filters,
                estimate_sizes=copying.options.estimate_table_sizes,
            )
        )


class _Planned(Struct, frozen=True, kw_only=True):
    """A copy whose rows are planned; ``remainder`` is None while the rest of it is not.

    ``wanted`` are the oids of the tables with rows; ``finish_dump`` is as :func:`_dump` gives it.
    """

    rows: RowsPlan
    wanted: tuple[int, ...]
    builds: plans.Builds
    remainder: Remainder | None
    objects: list[NewJob]
    silenced: bool
    finish_dump: Callable[[Callable[[], None]], None] | None


def _begin_copy(
    copying: Copying,
    queue: JobQueue,
    snapshot: str | None,
    scope: Scope,
    begun: Begun | None,
) -> None:
    queue.clear()
    with ExitStack() as holding:
        if begun is not None:
            holding.push(begun.holding.pop_all())
        locked = _lock_tables(copying, snapshot, holding) if begun is None else begun.locked
        with copying.timed("read catalogue, plan"):
            planned = _plan(copying, queue, locked, scope, begun=begun, holding=holding)
            note_view(copying, View(locked.origin, given=snapshot is not None))
        _tell_left_out(copying.source_facts, locked.tables)
        log.info(
            "copying %d tables in %d parts under snapshot %s",
            sum(
                table.has_rows and copying.filters.copies_data(table.schema, table.name)
                for table in locked.tables
            ),
            planned.rows.parts,
            locked.id,
        )
        lanes = tables.lane_count(
            planned.rows.parts, planned.rows.bytes, copying.options.table_jobs
        )
        with lanes_at_work(copying, locked, lanes, silenced=planned.silenced) as group:
            wait_ready = partial(wait_for_lanes, copying, group, locked, lanes)
            look = partial(look_on, copying, group, locked)
            remainder = _make_tables(
                copying, queue, locked, planned, group, wait_ready=wait_ready, look=look
            )
            extensions.fill(copying, locked)
            note_remainder(copying, remainder)
            if planned.objects:
                queue.add(planned.objects)
            with copying.work.store() as store:
                write_fact(store, _SCOPE, scope.name)
            copying.mark_done(PLANNED)
            wait_ready()
            _let_all_be_copied(queue)
            copy_and_build(
                copying,
                queue,
                group,
                lanes=lanes,
                locked=locked,
                holding=holding,
                resumed=not scope.schema,
                sequences=scope.sequences,
            )


def _plan(
    copying: Copying,
    queue: JobQueue,
    locked: LockedSnapshot,
    scope: Scope,
    *,
    begun: Begun | None,
    holding: ExitStack,
) -> _Planned:
    """Queue the rows of all tables, which wait until these are made, and what is built on them.

    Where some tables are made first, what is built is left for :func:`_make_tables`.
    """
    selection = read_selection(copying.source, locked.connection, copying.filters)
    if scope.schema:
        refuse_changed_selection(selection, copying.filters)
    else:
        into_tables.refuse_unready(copying, locked.tables)
        claim_target(copying)
    finish_dump = _dump(copying, locked, selection, begun, holding) if scope.schema else None
    filled = {(table.schema, table.name) for table in locked.tables}
    silenced = _silenced(copying, scope, filled)
    truncating = not silenced and (scope.schema or into_tables.may_truncate(copying, filled))
    rows = plans.rows_under(
        copying, locked, locked.tables, same_types=scope.schema, freezing=truncating
    )
    queue.add((_MAKING_TABLES, *map(_when_made, rows.jobs)))
    wanted = tuple(dict.fromkeys(job.oid or 0 for job in rows.jobs if not job.done))
    builds = plans.Builds(
        copying, locked.tables, scope.making, selection, rows.frozen, same_types=scope.schema
    )
    later = scope.schema and schema.are_some_made_first(copying, wanted)
    return _Planned(
        rows=replace(rows, jobs=()),  # they are in the queue
        wanted=wanted,
        builds=builds,
        remainder=None if later else builds.add(locked.connection),
        objects=large_objects.jobs(copying, locked.connection) if scope.large_objects else [],
        silenced=silenced,
        finish_dump=finish_dump,
    )


def _make_tables(
    copying: Copying,
    queue: JobQueue,
    locked: LockedSnapshot,
    planned: _Planned,
    lanes: WorkerGroup,
    *,
    wait_ready: Callable[[], None],
    look: Callable[[], None],
) -> Remainder:
    """Make the tables of the dumped schema; return the remainder of the plan.

    Where they are many the first are made by themselves. Once the ``lanes``, for which
    ``wait_ready`` waits, copy rows into these, the rest is planned while the other tables are made.
    """
    if planned.finish_dump is not None:
        planned.finish_dump(look)
    with ExitStack() as beside:
        adding: list[Future[Remainder]] = []

        def begin(first: frozenset[int]) -> None:
            wait_ready()
            queue.release(map(copy_unit, first), TABLES)
            adding.append(beside.enter_context(planned.builds.adding(locked)))
            # Left first: what is added may wait for a lock that a lane holds.
            beside.enter_context(stopping_together(lanes))

        if planned.finish_dump is not None:
            made = begin if planned.remainder is None else None
            with copying.timed("restore pre-data"):
                schema.restore_before_data(copying, wanted=planned.wanted, made=made)
        if planned.remainder is not None:
            return planned.remainder
        return wait_for(adding[0], look)


def _dump(
    copying: Copying,
    locked: LockedSnapshot,
    selection: Selection,
    begun: Begun | None,
    holding: ExitStack,
) -> Callable[[Callable[[], None]], None]:
    """Return what waits for the schema dump, begun here if need be, and notes what is in it.

    It calls its argument meanwhile, and raises what that or the dump raises.
    """
    work, facts = copying.work, copying.source_facts
    found = schema_dump.read_dumpable(work, copying.source, locked.connection)
    dump = (
        begun.dump
        if begun is not None
        else holding.enter_context(
            dumping(
                work,
                locked,
                copying.tools,
                major=facts.major,
                exclude_tables=schema_dump.excluded_tables(found, selection),
            )
        )
    )

    def finish(look: Callable[[], None]) -> None:
        copying.steps.append(dump.wait(look))
        schema_dump.note_dump(work, facts, found, selection)

    return finish


def _let_all_be_copied(queue: JobQueue) -> None:
    """Let the lanes have the tables that are not made first, now that all are there."""
    for job in queue.jobs(TABLES, state="pending"):
        queue.finish(job)


def _resume_copy(copying: Copying, queue: JobQueue, scope: Scope) -> None:
    """Go on with a copy whose jobs are planned; what the target has is not done again."""
    _let_all_be_copied(queue)
    count_markers(copying, queue)
    if Making.INDEXES in scope.making:
        repeat_lost_builds(
            queue, verify.missing_indexes(copying, without_views(read_remainder(copying)))
        )
    unfinished = [job for job in queue.jobs(COPY) if job.state != "done"]
    with ExitStack() as holding:
        go_on = partial(
            copy_and_build,
            copying,
            queue,
            holding=holding,
            resumed=True,
            sequences=scope.sequences,
        )
        if not unfinished and queue.is_finished(LARGE_OBJECTS):
            group = holding.enter_context(WorkerGroup())
            go_on(group, lanes=0, locked=None)
            return
        locked = holding.enter_context(snapshot_again(copying))
        filled = {(job.schema or "", job.name or "") for job in unfinished}
        silenced = _silenced(copying, scope, filled)
        if locked.origin != views(copying)[-1].snapshot:
            note_view(copying, View(locked.origin, given=False))
            oids = sorted({job.oid or 0 for job in unfinished})
            truncating = not silenced and into_tables.may_truncate(copying, filled)
            start_tables_over(copying, queue, oids, silenced=silenced, truncating=truncating)
        size = sum(job.weight for job in unfinished)
        lanes = tables.lane_count(len(unfinished), size, copying.options.table_jobs)
        with lanes_at_work(copying, locked, lanes, silenced=silenced) as group:
            go_on(group, lanes=lanes, locked=locked)


def _when_made(job: NewJob) -> NewJob:
    """Return ``job`` so that rows are copied only into tables that are there."""
    if job.pool != COPY or job.done:
        return job
    return replace(job, waits_for=(*job.waits_for, TABLES))


def _tell_left_out(source: ServerFacts, listed: Iterable[Table]) -> None:
    """Name the tables whose rows another server keeps, or that a standby has nothing of."""
    listed = list(listed)
    foreign = [
        f"{table.schema}.{table.name}" for table in listed if table.kind is TableKind.FOREIGN
    ]
    if foreign:
        log.info("rows of foreign tables stay where they are: %s", some_of(foreign))
    unlogged = [f"{one.schema}.{one.name}" for one in listed if one.persistence == _UNLOGGED]
    if unlogged and source.in_recovery:
        log.warning(
            "source: the server is a standby, where unlogged tables cannot be read: %s",
            some_of(unlogged),
        )


def _silenced(copying: Copying, scope: Scope, filled: Collection[tuple[str, str]]) -> bool:
    """Tell whether the tables have triggers or foreign keys by now, which are to keep still."""
    bare = scope.schema and not copying.is_done(_VERIFIED)
    return not bare and into_tables.must_silence(copying, filled)
