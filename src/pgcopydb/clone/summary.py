"""What a base copy did, from the queue of its jobs and the steps that it took."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate

from msgspec import Struct
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
        known = read_steps(store)
        steps = tuple(_steps(queue, known))
        tables = list(_tables(queue))
    return CloneSummary(
        tables=tuple(sorted(tables, key=lambda table: (-table.bytes, table.schema, table.name))),
        steps=steps,
        total_seconds=covered(known, time.time()) if total_seconds is None else total_seconds,
        bytes=sum(table.bytes for table in tables),
    )


def _steps(queue: JobQueue, steps: Sequence[StepSummary]) -> Iterator[StepSummary]:
    """Give the steps with what they moved; large objects, which have none, as one of their own."""
    for step in steps:
        if step.name != COPY_STEP:
            yield step
            continue
        end = step.finished or time.time()
        moved = sum(
            job.bytes or 0
            for job in queue.each(COPY)
            if step.started <= (job.finished or 0.0) <= end
        )
        yield replace(step, bytes=moved)
        if objects := [job for job in queue.each(LARGE_OBJECTS) if job.started]:
            times = [(job.started or 0.0, job.finished or end) for job in objects]
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


class _Copied(Struct):
    """What the jobs did that copied a table, in parts or whole; moments are 0.0 for none yet."""

    schema: str
    name: str
    bytes: int = 0
    rows: int = 0
    started: float = 0.0
    finished: float = 0.0

    def add(self, job: Job) -> None:
        self.bytes += job.bytes or 0
        self.rows += job.rows or 0
        if job.started is not None:
            self.started = min(self.started or job.started, job.started)
        self.finished = max(self.finished, job.finished or 0.0)


class _Built(Struct):
    """How many indexes of a table the jobs are for, and how long they took."""

    count: int = 0
    seconds: float = 0.0

    def add(self, job: Job) -> None:
        self.count += job.items
        if job.finished is not None and job.started is not None:
            self.seconds += job.finished - job.started


def _tables(queue: JobQueue) -> Iterator[TableSummary]:
    """Give what became of each table; there may be very many, and jobs are not held."""
    copied: dict[int | None, _Copied] = {}
    for job in queue.each(COPY):
        if job.oid not in copied:
            copied[job.oid] = _Copied(job.schema or "", job.name or "")
        copied[job.oid].add(job)
    built: dict[int | None, _Built] = defaultdict(_Built)
    for job in queue.each(BUILD):
        built[job.oid].add(job)
    for oid, table in copied.items():
        indexes = built.get(oid, _Built())
        done = table.started and table.finished
        yield TableSummary(
            schema=table.schema,
            name=table.name,
            bytes=table.bytes,
            rows=table.rows,
            copy_seconds=table.finished - table.started if done else 0.0,
            index_count=indexes.count,
            index_seconds=indexes.seconds,
        )
