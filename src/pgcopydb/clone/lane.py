"""What the process of some COPY lanes does: each claims parts until there are none left."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from pgcopydb.clone.context import COPY, PLANNED, is_done_in
from pgcopydb.clone.tables import TOGETHER_BYTES, TOGETHER_COUNT, LaneWork, note_ready
from pgcopydb.errors import PgcopydbError
from pgcopydb.model.parts import TablePart
from pgcopydb.postgres.transfer import Lane
from pgcopydb.runtime import signals
from pgcopydb.runtime.runaway import ending_runaways
from pgcopydb.workdir.jobs import Job, JobQueue
from pgcopydb.workdir.store import open_store

_IDLE: Final = 0.01
_NOTE_EVERY: Final = 1.0


async def run_lanes(work: LaneWork) -> None:
    """Copy parts, over as many lanes as ``work`` says, until none is left to claim.

    Raises the error of the first lane that failed, which ends the others.
    """
    async with ending_runaways():
        running = [asyncio.create_task(_run_lane(work, number)) for number in work.numbers]
        try:
            await asyncio.gather(*running)
        except BaseException:
            for lane in running:
                lane.cancel()
            await asyncio.wait(running)
            raise


async def _run_lane(work: LaneWork, number: int) -> None:
    with open_store(work.catalogue) as store:
        queue = JobQueue(store)
        async with Lane(work.route) as lane:
            await lane.connect()
            note_ready(store, work.route.snapshot, number)
            while not signals.stop_requested():
                # Lanes start while the empty tables are still being made. Looked at first: jobs
                # that come between the two looks must not be taken for jobs that others did.
                planned = is_done_in(store, PLANNED)
                jobs = queue.claim_several(COPY, weight=TOGETHER_BYTES, count=TOGETHER_COUNT)
                if jobs:
                    await _copy(queue, lane, jobs)
                elif planned and not queue.any_pending(COPY):
                    return
                else:
                    await asyncio.sleep(_IDLE)


async def _copy(queue: JobQueue, lane: Lane, jobs: Sequence[Job]) -> None:
    parts = [msgspec.json.decode(job.parameters, type=TablePart) for job in jobs]
    noting = asyncio.create_task(_note_now_and_then(queue, lane, jobs, parts))
    try:
        moved = await lane.copy(parts)
    except PgcopydbError as error:
        for job in jobs:
            queue.fail(job, error.message)
        raise
    finally:
        noting.cancel()
    queue.finish_several((job, one.rows, one.bytes) for job, one in zip(jobs, moved, strict=True))


async def _note_now_and_then(
    queue: JobQueue, lane: Lane, jobs: Sequence[Job], parts: Sequence[TablePart]
) -> None:
    """Write down how much of the part under way is copied, for whoever looks on."""
    while True:
        await asyncio.sleep(_NOTE_EVERY)
        if lane.moving is not None:
            part, size = lane.moving
            queue.note(jobs[parts.index(part)], bytes=size)
