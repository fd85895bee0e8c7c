"""The lanes that copy rows, and what is built beside them, from the first row to the last index."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from pgcopydb.clone import indexes, large_objects, tables
from pgcopydb.clone.context import BUILD, COPY, LARGE_OBJECTS, Copying, require_finished
from pgcopydb.clone.lane_process import run_lanes
from pgcopydb.clone.prepare import replaces
from pgcopydb.clone.statements import StatementPool
from pgcopydb.clone.statistics import source_statistics
from pgcopydb.model.encodings import RAW
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import Table
from pgcopydb.postgres.lane_route import LaneRoute
from pgcopydb.postgres.resolve import ResolvedServer, resolved_server
from pgcopydb.postgres.sequences import synchronize_sequences
from pgcopydb.postgres.short_sessions import close_kept_sessions, short_session
from pgcopydb.postgres.snapshot import LockedSnapshot
from pgcopydb.runtime.workers import Worker, WorkerGroup
from pgcopydb.workdir.jobs import JobQueue

_LOOK_EVERY: Final = 0.02

_LOCKED_BY_LANES: Final = 200

_LANES_OF_A_PROCESS: Final = 2
"""A process costs 0.25 s of CPU to start, as much as moving 120 MB. One can keep four backends
that write rows busy, so two lanes leave it half idle."""


def copy_and_build(
    copying: Copying,
    queue: JobQueue,
    group: WorkerGroup,
    *,
    lanes: int,
    locked: LockedSnapshot | None,
    holding: ExitStack,
    resumed: bool,
    sequences: bool,
) -> None:
    """Run lanes and builders until both are done; ``holding`` lets go of the locked tables."""
    threads = copying.options.index_jobs
    close_kept_sessions()
    with (
        copying.timed("indexes, constraints, vacuum", threads),
        source_statistics(copying) as statistics,
        StatementPool(
            copying,
            BUILD,
            threads=threads,
            perform=partial(indexes.build, copying.target, statistics),
            resumed=resumed,
        ) as pool,
        large_objects.pool(
            copying,
            None if locked is None else locked.id,
            replacing=replaces(copying),
            resumed=resumed,
        ) as objects,
        stopping_together(group, pool, objects),
    ):

        def wait_while(busy: Callable[[], bool]) -> None:
            while busy():
                look_on(copying, group, locked, seconds=_LOOK_EVERY)
                pool.poll()
                objects.poll()

        with copying.timed("copy table data", lanes):
            wait_while(lambda: group.alive() or objects.alive)
            objects.poll()
            require_finished(queue, COPY)
            require_finished(queue, LARGE_OBJECTS)
            if locked is not None:
                locked.confirm()
        if sequences:
            with copying.timed("sequences"):
                synchronize_sequences(copying.source, copying.target, copying.filters)
        locked = None
        holding.pop_all().close()
        copying.copied()
        close_kept_sessions()
        wait_while(lambda: pool.alive)
        pool.poll()
        require_finished(queue, BUILD)
        indexes.count_database(copying.target, copying.target_facts, copying.options)


@contextmanager
def stopping_together(group: WorkerGroup, *pools: StatementPool) -> Iterator[None]:
    """End the lanes first when the block fails: their threads may wait for a lock of a lane."""
    try:
        yield
    except BaseException:
        for pool in pools:
            pool.ask_to_stop()
        group.stop()
        raise


@contextmanager
def lanes_at_work(
    copying: Copying, locked: LockedSnapshot, count: int, *, silenced: bool
) -> Iterator[WorkerGroup]:
    """Start the lanes, which find their first job when the tables are there."""
    with WorkerGroup() as group:
        if count:
            route = LaneRoute(
                source=_resolved(copying.source),
                target=_resolved(copying.target),
                snapshot=locked.id,
                run_id=copying.header.run_id,
                marker_snapshot=locked.origin,
                locked=_largest(locked.tables),
                silenced=silenced,
                raw=all(
                    facts.encoding == RAW for facts in (copying.source_facts, copying.target_facts)
                ),
            )
            for worker in _workers(copying.work.catalogue, route, count):
                group.start(worker)
        yield group


def _resolved(endpoint: Endpoint) -> ResolvedServer:
    """Return every parameter of a connection, so that a lane needs none of its own to find them."""
    with short_session(endpoint, purpose="resolve") as session:
        return resolved_server(endpoint, session)


def wait_for_lanes(
    copying: Copying, group: WorkerGroup, locked: LockedSnapshot, count: int
) -> None:
    """Wait until every lane has the snapshot and its locks, before the first row is read."""
    with copying.work.store() as store:
        while not tables.are_ready(store, locked.id, count):
            look_on(copying, group, locked, seconds=_LOOK_EVERY)


def look_on(
    copying: Copying, group: WorkerGroup, locked: LockedSnapshot | None, *, seconds: float = 0.0
) -> None:
    """Raise what has become of the lanes, of the snapshot, or of what runs beside the copy.

    Waits up to ``seconds`` for a lane to end.
    """
    group.poll(seconds)
    if locked is not None:
        locked.check()
    copying.watch()


def _largest(candidates: Iterable[Table]) -> tuple[tuple[str, str], ...]:
    """Return the tables whose copy takes long enough for an ALTER TABLE to come between."""
    with_rows = sorted(filter(lambda one: one.has_rows, candidates), key=lambda one: -one.bytes)
    return tuple((table.schema, table.name) for table in with_rows[:_LOCKED_BY_LANES])


def _workers(catalogue: Path, route: LaneRoute, count: int) -> list[Worker]:
    """Return the processes to start for ``count`` lanes."""
    numbers = range(1, count + 1)
    shares = [
        tuple(numbers[first : first + _LANES_OF_A_PROCESS])
        for first in range(0, count, _LANES_OF_A_PROCESS)
    ]
    return [
        Worker(f"copy {share[0]}", run_lanes, tables.LaneWork(catalogue, route, share))
        for share in shares
    ]
