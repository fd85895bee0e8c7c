"""The steps of a base copy, in their order.

::

    checks ─► lock and read the catalogue ─► dump schema ─► restore what comes before the data
      ─► table data ∥ indexes, constraints, vacuum ∥ large objects, sequences ─► verify
      ─► what comes after the data ─► materialised views ─► foreign keys ─► triggers, comments

Every step can be repeated or says that it is done, so that a run that was interrupted is resumed by
running it again; which rows are copied is asked of the target (its copy markers).
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic, sleep
from typing import Final

import msgspec
from psycopg import sql

from pgcopydb.clone import (
    foreign_keys,
    indexes,
    large_objects,
    matviews,
    preflight,
    schema,
    tables,
    verify,
)
from pgcopydb.clone.context import BUILD, COPY, FOREIGN_KEYS, Copying, identity, is_done, open_run
from pgcopydb.clone.plan import BuiltIndex, ForeignKey, Plan, Remainder, plan_copy
from pgcopydb.clone.schema import After
from pgcopydb.clone.statements import StatementPool
from pgcopydb.clone.summary import summarize
from pgcopydb.errors import ConfigurationError, StateError, WorkerError
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import ServerFacts, Table
from pgcopydb.model.options import CopyOptions
from pgcopydb.model.results import CloneSummary, StepSummary
from pgcopydb.pgtools.find import Tools, find_tools
from pgcopydb.postgres import discover, helper_schema, sequences
from pgcopydb.postgres.connect import connect, pin, reporting, resolve
from pgcopydb.postgres.snapshot import LockedSnapshot, locked_snapshot
from pgcopydb.postgres.transfer import LaneRoute
from pgcopydb.runtime import signals
from pgcopydb.runtime.workers import WorkerGroup
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.jobs import JobQueue
from pgcopydb.workdir.store import read_fact, write_fact

log = logging.getLogger(__name__)

Watch = Callable[[], None]

_LOOK_EVERY: Final = 0.02

_LOCKED_BY_LANES: Final = 200

_VIEWS_FACT: Final = "copy snapshots"
_REMAINDER_FACT: Final = "copy remainder"

_CHECKED: Final = "target checked"
_RESTORING: Final = "schema before the data begun"
_PLANNED: Final = "jobs planned"
_VERIFIED: Final = "rows and indexes verified"
_FILLED: Final = "materialized views"
_REPLACES: Final = "target left by the run that is started over"


@dataclass(frozen=True, slots=True)
class _View:
    """The snapshot that parts were copied from: ``given`` when another session exported it."""

    snapshot: str
    given: bool


def clone(
    work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions
) -> CloneSummary:
    """Copy a whole database; ``pgcopydb clone`` without ``--follow``.

    Reads under the snapshot that the options or an earlier command of the same directory name, or
    else under its own. Raises the errors of the steps; SqlError after everything is copied when
    rows of the source violate a foreign key.
    """
    with signals.stop_on_signals():
        started = monotonic()
        copying = _prepare(work, source, target, copy)
        _copy_base(copying, copy.snapshot or copying.header.snapshot)
        _finish(copying, unchecked=False)
        summary = summarize(copying, monotonic() - started)
        _refuse_unvalidated(copying)
        if copying.header.consistent_point is None:
            _drop_helper_schema(copying)
    return summary


def _drop_helper_schema(copying: Copying) -> None:
    """Drop the markers of a copy that is complete. A capture's state stays: it is read later."""
    with (
        connect(copying.target, purpose="clone") as connection,
        reporting(copying.target, "dropping the schema pgcopydb"),
    ):
        helper_schema.drop_helper_schema(connection, copying.header.run_id)


def copy_database(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    copy: CopyOptions,
    *,
    snapshot: str,
    watch: Watch = lambda: None,
    defer_constraints: bool = False,
) -> CloneSummary:
    """Copy a whole database as the exported ``snapshot`` shows it, to be followed by changes.

    The snapshot must stay exported until ``watch`` is called for the first time or this returns;
    from then on a session of this program's own holds it. ``watch`` is called while the copy
    waits and may raise to end it. With ``defer_constraints`` foreign keys, triggers and comments
    are left to :func:`finish_constraints` (ruling 21). The helper schema stays on the target.
    """
    started = monotonic()
    copying = replace(_prepare(work, source, target, copy), watch=watch)
    _copy_base(copying, snapshot)
    if not defer_constraints:
        _finish(copying, unchecked=False)
    return summarize(copying, monotonic() - started)


def finish_constraints(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    copy: CopyOptions,
    *,
    watch: Watch = lambda: None,
) -> None:
    """Create the foreign keys, triggers and comments that ``copy_database`` left out.

    Foreign keys come first without a look at the rows that are there, so that writers of the
    target are held up for a moment only, and are checked afterwards, which blocks no writes.
    Raises SqlError when rows of the source violate one.
    """
    copying = replace(_prepare(work, source, target, copy), watch=watch)
    _finish(copying, unchecked=True)
    _refuse_unvalidated(copying)


# -- preparing ----------------------------------------------------------------------------------


def check(work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions) -> None:
    """Refuse what cannot go well, before anything is created on either side.

    Raises ConfigurationError for options, tools or sides that do not fit together, TargetError
    when the target is not empty or takes no writes.
    """
    _look_at(work, source, target, copy)


@dataclass(frozen=True, slots=True)
class _Sides:
    """Both sides as they were found: each one server, fit for the copy."""

    source: Endpoint
    target: Endpoint
    source_facts: ServerFacts
    target_facts: ServerFacts
    tools: Tools


def _look_at(work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions) -> _Sides:
    _refuse_unsupported(copy)
    # The snapshot lives on one server: a list of hosts must not lead elsewhere later.
    source, target = pin(source), pin(target)
    source_facts, target_facts = _facts(source), _facts(target)
    preflight.refuse_same_database(source_facts, target_facts)
    preflight.refuse_unwritable(target_facts)
    if not is_done(work, _CHECKED):
        with connect(source, purpose="clone") as connection:
            preflight.refuse_hidden_rows(source, connection)
        with connect(target, purpose="clone") as connection:
            preflight.refuse_unfit_role(target, connection, target_facts)
            if not _replaces_previous(work, target_facts):
                preflight.refuse_not_empty(target, connection, copy)
    tools = find_tools(source_facts.version_num, target_facts.version_num)
    return _Sides(source, target, source_facts, target_facts, tools)


def _prepare(work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions) -> Copying:
    """Look at both sides, refuse what cannot go well, and begin or find the run."""
    sides = _look_at(work, source, target, copy)
    header = open_run(work, sides.source_facts, sides.target_facts)
    copying = Copying(
        work,
        sides.source,
        sides.target,
        copy,
        header,
        sides.source_facts,
        sides.target_facts,
        sides.tools,
    )
    if not copying.is_done(_CHECKED):
        with (
            connect(sides.target, purpose="clone") as connection,
            reporting(sides.target, "creating the schema pgcopydb"),
        ):
            helper_schema.create_helper_schema(connection, header.run_id)
            if work.previous is not None:
                helper_schema.drop_helper_schema(connection, work.previous.run_id)
        if _replaces_previous(work, sides.target_facts):
            copying.mark_done(_REPLACES)
        copying.mark_done(_CHECKED)
    return copying


def _replaces_previous(work: WorkDirectory, target: ServerFacts) -> bool:
    """Tell whether ``--restart`` begins again a copy into this target that was never finished.

    The target was empty, or the user's to give, when that run began. What a finished copy made is
    the user's again.
    """
    previous = work.previous
    return (
        previous is not None and previous.target == identity(target) and not previous.copy_finished
    )


def _refuse_unsupported(copy: CopyOptions) -> None:
    """Raise ConfigurationError for options whose silent neglect would change the result."""
    unsupported = {"--filters": copy.filters is not None, "--roles": copy.roles}
    for option, given in unsupported.items():
        if given:
            raise ConfigurationError(
                f"{option} is not supported by this version of clone",
                hint="leave it out; without it everything in the database is copied",
            )


def _facts(endpoint: Endpoint) -> ServerFacts:
    with (
        connect(endpoint, purpose="clone") as connection,
        reporting(endpoint, "reading the server's settings"),
    ):
        return discover.server_facts(connection)


# -- rows, indexes and what goes beside them ----------------------------------------------------


def _copy_base(copying: Copying, snapshot: str | None) -> None:
    """Everything up to the point from which foreign keys and triggers can be created."""
    if not copying.is_done(_VERIFIED):
        _copy_rows(copying, snapshot)
    remainder = _remainder(copying)
    with copying.timed("restore post-data"):
        remaining = schema.remaining_after_data(copying, remainder.built)
        schema.restore_after_data(copying, After.OBJECTS, remaining)
    if not copying.is_done(_FILLED):
        with copying.timed("materialized views"):
            matviews.fill(copying, remainder.views, remainder.view_indexes)
        copying.mark_done(_FILLED)


def _copy_rows(copying: Copying, snapshot: str | None) -> None:
    """Everything that needs the snapshot, and the indexes; done once, and proved.

    Afterwards the rows may change (by the captured changes), and no part is ever copied again.
    """
    with copying.work.store() as store:
        queue = JobQueue(store)
        queue.reset()
        if not copying.is_done(_PLANNED):
            _begin_copy(copying, queue, snapshot)
        else:
            _resume_copy(copying, queue)
    with copying.timed("verify"):
        verify.make_durable(copying)
        verify.verify_parts(copying, [view.snapshot for view in _views(copying)])
        verify.verify_indexes(copying, _without_views(_remainder(copying)))
    copying.mark_done(_VERIFIED)


def _begin_copy(copying: Copying, queue: JobQueue, snapshot: str | None) -> None:
    queue.clear()
    with ExitStack() as holding:
        with copying.timed("lock tables, read catalogue"):
            locked = holding.enter_context(locked_snapshot(copying.source, snapshot))
            plan = _plan(copying, locked)
            _note_view(copying, _View(locked.origin, given=snapshot is not None))
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
            with copying.work.store() as store:
                write_fact(store, _REMAINDER_FACT, plan.remainder)
            _wait_for_lanes(copying, group, locked, lanes)
            queue.add(plan.jobs)
            copying.mark_done(_PLANNED)
            _copy_and_build(
                copying, queue, group, lanes=lanes, locked=locked, holding=holding, resumed=False
            )


def _resume_copy(copying: Copying, queue: JobQueue) -> None:
    """Go on with a copy whose jobs are planned; what the target has is not done again."""
    _count_markers(copying, queue)
    unfinished = [job for job in queue.jobs(COPY) if job.state != "done"]
    with ExitStack() as holding:
        if not unfinished:
            group = holding.enter_context(WorkerGroup())
            _copy_and_build(
                copying, queue, group, lanes=0, locked=None, holding=holding, resumed=True
            )
            return
        locked = holding.enter_context(_snapshot_again(copying))
        if locked.origin != _views(copying)[-1].snapshot:
            _note_view(copying, _View(locked.origin, given=False))
            _start_tables_over(copying, queue, sorted({job.oid or 0 for job in unfinished}))
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
    with StatementPool(
        copying,
        BUILD,
        threads=threads,
        perform=partial(indexes.build, copying.target),
        resumed=resumed,
    ) as pool:

        def look() -> None:
            group.poll()
            pool.poll()
            if locked is not None:
                locked.check()
            copying.watch()

        def wait_while(busy: Callable[[], bool]) -> None:
            while busy():
                group.poll(_LOOK_EVERY)
                look()

        with copying.timed("copy table data", lanes):
            if locked is not None:
                large_objects.copy(copying, locked.id, look)
            wait_while(group.alive)
            _require_finished(queue, COPY)
            if locked is not None:
                locked.confirm()
        with copying.timed("sequences"):
            sequences.synchronize_sequences(copying.source, copying.target)
        locked = None
        holding.pop_all().close()
        wait_while(lambda: pool.alive)
        pool.poll()
        _require_finished(queue, BUILD)
    copying.steps.append(
        StepSummary(
            name="indexes, constraints, vacuum",
            seconds=monotonic() - started,
            concurrency=threads,
        )
    )


def _require_finished(queue: JobQueue, pool: str) -> None:
    """Raise when workers ended in order and yet left something: never taken for success."""
    signals.raise_if_stopped()
    if not queue.is_finished(pool):
        left = [f"{job.schema}.{job.name}" for job in queue.jobs(pool) if job.state != "done"]
        raise WorkerError(
            f"the workers ended before {left[0]} and {len(left) - 1} more were done",
            hint="run again with --resume",
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
    replacing = (
        copying.options.drop_if_exists or copying.is_done(_RESTORING) or copying.is_done(_REPLACES)
    )
    copying.mark_done(_RESTORING)
    schema.restore_before_data(copying, replacing=replacing)


# -- resuming -----------------------------------------------------------------------------------


def _views(copying: Copying) -> list[_View]:
    with copying.work.store() as store:
        views: list[_View] | None = read_fact(store, _VIEWS_FACT, list[_View])
    return views or []


def _note_view(copying: Copying, view: _View) -> None:
    known = [other for other in _views(copying) if other.snapshot != view.snapshot]
    with copying.work.store() as store:
        write_fact(store, _VIEWS_FACT, [*known, view])


def _remainder(copying: Copying) -> Remainder:
    with copying.work.store() as store:
        remainder: Remainder | None = read_fact(store, _REMAINDER_FACT, Remainder)
    if remainder is None:
        raise StateError(
            f"{copying.work.path} holds no copy whose constraints could be finished",
            hint="run clone first",
        )
    return remainder


def _without_views(remainder: Remainder) -> list[BuiltIndex]:
    """Return the indexes of tables: those of materialised views come later."""
    of_views = {(index.schema, index.name) for index in remainder.view_indexes}
    return [one for one in remainder.indexes if (one.schema, one.name) not in of_views]


def _count_markers(copying: Copying, queue: JobQueue) -> None:
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
            for view in _views(copying)
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


def _snapshot_again(copying: Copying) -> AbstractContextManager[LockedSnapshot]:
    """Return the locked snapshot of the run that is resumed, or a new one where that is allowed.

    Raises StateError when the old one is gone and a new one was not asked for, or would make the
    captured changes meet rows that have them already (ruling 13).
    """
    last = _views(copying)[-1]
    captured = copying.header.consistent_point is not None
    if last.given and not copying.work.not_consistent:
        return locked_snapshot(copying.source, last.snapshot)
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
    return locked_snapshot(copying.source)


def _start_tables_over(copying: Copying, queue: JobQueue, oids: Sequence[int]) -> None:
    """Empty the tables that are not complete, and forget their parts: they follow a new snapshot.

    Parts of one table from different snapshots would miss rows, or have them twice.
    """
    target = copying.target
    jobs = [job for job in queue.jobs(COPY) if job.oid in set(oids)]
    names = {job.oid: sql.Identifier(job.schema or "", job.name or "") for job in jobs}
    with connect(target, purpose="clone") as connection:
        for oid, name in names.items():
            with reporting(target, "emptying incomplete tables"), connection.transaction():
                connection.execute(sql.SQL("truncate only {}").format(name))
                connection.execute(
                    "delete from pgcopydb.copy_marker where run_id = %s and table_oid = %s",
                    (copying.header.run_id, oid),
                )
    queue.repeat(jobs)
    log.warning("%d tables are copied again, as they are now", len(names))


# -- the end ------------------------------------------------------------------------------------


def _finish(copying: Copying, *, unchecked: bool) -> None:
    """Create foreign keys, triggers, comments and event triggers, in this order."""
    built = _remainder(copying).built
    create = foreign_keys.create_unchecked if unchecked else foreign_keys.create
    threads = copying.options.index_jobs
    with copying.timed("foreign keys", threads), copying.work.store() as store:
        queue = JobQueue(store)
        with StatementPool(
            copying,
            FOREIGN_KEYS,
            threads=threads,
            perform=partial(create, copying.target),
            resumed=True,
        ) as pool:
            while pool.alive:
                pool.poll()
                signals.raise_if_stopped()
                copying.watch()
                sleep(_LOOK_EVERY)
            pool.poll()
            _require_finished(queue, FOREIGN_KEYS)
    with copying.timed("triggers, comments"):
        remaining = schema.remaining_after_data(copying, built)
        for group in (After.TRIGGERS, After.COMMENTS, After.EVENT_TRIGGERS):
            schema.restore_after_data(copying, group, remaining)
    if unchecked:
        with (
            copying.timed("check foreign keys"),
            connect(copying.target, purpose="foreign keys") as connection,
        ):
            foreign_keys.validate(copying.target, connection, _foreign_keys(copying))


def _foreign_keys(copying: Copying) -> list[ForeignKey]:
    with copying.work.store() as store:
        jobs = JobQueue(store).jobs(FOREIGN_KEYS)
    return [msgspec.json.decode(job.parameters, type=ForeignKey) for job in jobs]


def _refuse_unvalidated(copying: Copying) -> None:
    with connect(copying.target, purpose="foreign keys") as connection:
        foreign_keys.refuse_unvalidated(copying.target, connection, _foreign_keys(copying))
