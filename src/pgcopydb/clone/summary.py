"""What a base copy did, from the queue of its jobs and the steps that it took."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate

from msgspec.structs import replace

from pgcopydb.clone.context import BUILD, COPY, LARGE_OBJECTS
from pgcopydb.clone.progress import COPY_STEP, covered
from pgcopydb.model.results import CloneSummary, StepSummary, TableSummary
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.jobs import Job, JobQueue
from pgcopydb.workdir.steps import read_steps


def summarize(work: WorkDirectory, total_seconds: float | None = None) -> CloneSummary:
    """Return the summary of a copy, finished or not; tables by size, largest first.

    Without ``total_seconds`` it is the time in which a step was under way, of resumed runs too.
    """
    with work.store() as store:
        queue = JobQueue(store)
        copies, builds, objects = (queue.jobs(pool) for pool in (COPY, BUILD, LARGE_OBJECTS))
        steps = read_steps(store)
    parts: dict[int | None, list[Job]] = defaultdict(list)
    for job in copies:
        parts[job.oid].append(job)
    built: dict[int | None, list[Job]] = defaultdict(list)
    for job in builds:
        built[job.oid].append(job)
    tables = [_table(jobs, built[oid]) for oid, jobs in parts.items()]
    return CloneSummary(
        tables=tuple(sorted(tables, key=lambda table: (-table.bytes, table.schema, table.name))),
        steps=tuple(_steps(steps, copies, objects)),
        total_seconds=covered(steps, time.time()) if total_seconds is None else total_seconds,
        bytes=sum(table.bytes for table in tables),
    )


def _steps(
    steps: Sequence[StepSummary], copies: Sequence[Job], objects: Sequence[Job]
) -> Iterator[StepSummary]:
    """Give the steps with what they moved; large objects, which have none, as one of their own."""
    for step in steps:
        if step.name != COPY_STEP:
            yield step
            continue
        end = step.finished or time.time()
        moved = [job for job in copies if step.started <= (job.finished or 0.0) <= end]
        yield replace(step, bytes=sum(job.bytes or 0 for job in moved))
        if times := [(job.started, job.finished or end) for job in objects if job.started]:
            yield StepSummary(
                name="large objects",
                started=min(started for started, _ in times),
                finished=max(finished for _, finished in times),
                concurrency=_at_once(times),
                bytes=sum(job.bytes or 0 for job in objects),
            )


def _at_once(times: Sequence[tuple[float, float]]) -> int:
    """Return how many of the spans of time overlap at most."""
    changes = sorted([(begin, 1) for begin, _ in times] + [(end, -1) for _, end in times])
    return max(accumulate(change for _, change in changes))


def _table(parts: Sequence[Job], built: Sequence[Job]) -> TableSummary:
    started = [job.started for job in parts if job.started is not None]
    finished = [job.finished for job in parts if job.finished is not None]
    return TableSummary(
        schema=parts[0].schema or "",
        name=parts[0].name or "",
        bytes=sum(job.bytes or 0 for job in parts),
        rows=sum(job.rows or 0 for job in parts),
        copy_seconds=max(finished) - min(started) if started and finished else 0.0,
        index_count=sum(job.items for job in built),
        index_seconds=sum(
            job.finished - job.started
            for job in built
            if job.finished is not None and job.started is not None
        ),
    )
