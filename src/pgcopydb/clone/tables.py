"""Table data: COPY lanes, one process each, that claim parts until there are none left."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from psycopg import Connection, sql

from pgcopydb.clone.context import COPY
from pgcopydb.clone.plan import integer_key
from pgcopydb.errors import PgcopydbError
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import Table
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.transfer import Lane, LaneRoute, TablePart
from pgcopydb.runtime import signals
from pgcopydb.runtime.workers import Worker
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.jobs import Job, JobQueue
from pgcopydb.workdir.store import open_store, read_fact, write_fact

_TOGETHER_BYTES: Final = 2 << 20
_TOGETHER_COUNT: Final = 64
"""Small tables are copied together, in one transaction of the target."""

_WORTH_A_LANE: Final = 4 << 20
"""Bytes for which starting one more process pays; a process costs about 0.2 s of CPU."""

_IDLE: Final = 0.01


@dataclass(frozen=True, slots=True)
class LaneWork:
    """What a lane's process needs to begin."""

    catalogue: Path
    route: LaneRoute
    number: int


def lane_count(parts: int, size: int, table_jobs: int) -> int:
    """Return how many lanes ``parts`` of ``size`` bytes keep busy, ``table_jobs`` at most."""
    worth = -(-size // _WORTH_A_LANE) + parts // _TOGETHER_COUNT
    return min(table_jobs, parts, max(worth, 1))


def lanes(catalogue: Path, route: LaneRoute, count: int) -> list[Worker]:
    """Return ``count`` lanes to start."""
    return [
        Worker(f"copy {number}", run_lane, LaneWork(catalogue, route, number))
        for number in range(1, count + 1)
    ]


def are_ready(work: WorkDirectory, snapshot: str, count: int) -> bool:
    """Tell whether each of ``count`` lanes has taken ``snapshot`` and its locks."""
    with work.store() as store:
        return all(
            read_fact(store, _ready_fact(snapshot, number), bool) for number in range(1, count + 1)
        )


def _ready_fact(snapshot: str, number: int) -> str:
    return f"lane {number} ready with {snapshot}"


def run_lane(work: LaneWork) -> None:
    """Copy parts until none is left to claim; the function of a lane's process.

    Raises the side's error, after noting it in the jobs that it ended.
    """
    asyncio.run(_run_lane(work))


async def _run_lane(work: LaneWork) -> None:
    with open_store(work.catalogue) as store:
        queue = JobQueue(store)
        async with Lane(work.route) as lane:
            await lane.connect()
            write_fact(store, _ready_fact(work.route.snapshot, work.number), True)
            while not signals.stop_requested():
                jobs = queue.claim_several(COPY, weight=_TOGETHER_BYTES, count=_TOGETHER_COUNT)
                if jobs:
                    await _copy(queue, lane, jobs)
                elif queue.is_empty():
                    # Lanes start while the empty tables are still being made.
                    await asyncio.sleep(_IDLE)
                else:
                    return


async def _copy(queue: JobQueue, lane: Lane, jobs: Sequence[Job]) -> None:
    parts = [msgspec.json.decode(job.parameters, type=TablePart) for job in jobs]
    try:
        moved = await lane.copy(parts)
    except PgcopydbError as error:
        for job in jobs:
            queue.fail(job, error.message)
        raise
    queue.finish_several((job, one.rows, one.bytes) for job, one in zip(jobs, moved, strict=True))


def key_bounds(
    source: Endpoint, session: Connection[tuple[Any, ...]], table: Table
) -> tuple[int, int] | None:
    """Return the lowest and highest value of the table's integer key, None without rows."""
    column = sql.Identifier(integer_key(table) or "")
    with reporting(source, f"reading the key range of {table.schema}.{table.name}"):
        row = session.execute(
            sql.SQL("select pg_catalog.min({0}), pg_catalog.max({0}) from only {1}").format(
                column, sql.Identifier(table.schema, table.name)
            )
        ).fetchone()
    return None if row is None or row[0] is None else (int(row[0]), int(row[1]))
