"""What a base copy did, from the queue of its jobs."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from pgcopydb.clone.context import BUILD, COPY, Copying
from pgcopydb.clone.plan import Build
from pgcopydb.model.results import CloneSummary, TableSummary
from pgcopydb.workdir.jobs import Job, JobQueue


def summarize(copying: Copying, total_seconds: float) -> CloneSummary:
    """Return the summary of a copy that is finished; tables by size, largest first."""
    with copying.work.store() as store:
        queue = JobQueue(store)
        copies, builds = queue.jobs(COPY), queue.jobs(BUILD)
    parts: dict[int | None, list[Job]] = defaultdict(list)
    for job in copies:
        parts[job.oid].append(job)
    built: dict[int | None, list[Job]] = defaultdict(list)
    for job in builds:
        built[job.oid].append(job)
    tables = [_table(jobs, built[oid]) for oid, jobs in parts.items()]
    return CloneSummary(
        tables=tuple(sorted(tables, key=lambda table: (-table.bytes, table.schema, table.name))),
        steps=tuple(copying.steps),
        total_seconds=total_seconds,
        bytes=sum(table.bytes for table in tables),
    )


def _table(parts: Sequence[Job], built: Sequence[Job]) -> TableSummary:
    started = [job.started for job in parts if job.started is not None]
    finished = [job.finished for job in parts if job.finished is not None]
    return TableSummary(
        schema=parts[0].schema or "",
        name=parts[0].name or "",
        bytes=sum(job.bytes or 0 for job in parts),
        rows=sum(job.rows or 0 for job in parts),
        copy_seconds=max(finished) - min(started) if started and finished else 0.0,
        index_count=sum(msgspec.json.decode(job.parameters, type=Build).indexes for job in built),
        index_seconds=sum(
            job.finished - job.started
            for job in built
            if job.finished is not None and job.started is not None
        ),
    )
