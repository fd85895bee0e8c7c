"""How far a base copy is: read from its work directory, also while it runs in another process."""

import time
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from pgcopydb.clone.context import BUILD, COPY, FOREIGN_KEYS, LARGE_OBJECTS
from pgcopydb.model.objects import IndexBuild
from pgcopydb.model.parts import TablePart
from pgcopydb.model.results import CopyProgress, Count, FailedWork, StepSummary, UnderWay
from pgcopydb.workdir.commands import CommandState, last_command
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.jobs import Job, JobQueue, PoolState
from pgcopydb.workdir.steps import read_steps
from pgcopydb.workdir.store import read_header

COPY_STEP: Final = "copy table data"
BUILD_STEP: Final = "indexes, constraints, vacuum"

_TELLING_SHARE: Final = 0.1

_ROLE: Final = "clone"
_NOT_BEGUN: Final = "not begun"
_WHAT: Final = {COPY: "copy", BUILD: "build", FOREIGN_KEYS: "foreign key"}


def measure(work: WorkDirectory) -> CopyProgress:
    """Return how far the base copy in ``work`` is."""
    now = time.time()
    with work.store() as store:
        queue = JobQueue(store)
        pools = {pool: queue.state(pool) for pool in (COPY, BUILD, FOREIGN_KEYS, LARGE_OBJECTS)}
        running = queue.jobs(state="running")
        failed = queue.jobs(state="failed")
        steps = read_steps(store)
        command = last_command(store, _ROLE)
        header = read_header(store)
        copied = header is not None and header.copy_finished
        recent = queue.bytes_since(COPY, _begun(steps, COPY_STEP) or now)
    state = _NOT_BEGUN if command is None else command.state
    if copied:
        state = CommandState.DONE
    alive = state == CommandState.RUNNING
    taken = [step for step in steps if step.finished is not None]
    since = now if command is None else command.started
    current = [s for s in steps if alive and s.finished is None and s.started >= since]
    scale = _scale(pools[COPY], running)
    total = _bytes_total(pools[COPY], running, scale)
    rate = _rate(recent, steps, COPY_STEP, now)
    copy, build = pools[COPY], pools[BUILD]
    return CopyProgress(
        command=None if command is None else command.command,
        state=state,
        step=_foremost(current),
        started=steps[0].started if steps else None,
        seconds=covered(steps, now if alive else None),
        tables=Count(copy.units_done, copy.units),
        parts=_count(copy),
        rows=copy.rows,
        bytes=copy.bytes,
        bytes_total=total,
        bytes_per_second=round(rate),
        seconds_left=_seconds_left(total - copy.bytes, rate, build, steps, now) if alive else None,
        large_objects=Count(pools[LARGE_OBJECTS].weight_done, pools[LARGE_OBJECTS].weight),
        indexes=Count(build.items_done, build.items),
        built=_count(build),
        foreign_keys=_count(pools[FOREIGN_KEYS]),
        under_way=tuple(_under_way(job, scale) for job in running) if alive else (),
        failed=tuple(
            FailedWork(schema=job.schema, name=job.name, error=job.error or "") for job in failed
        ),
        steps=(*taken, *current),
    )


def with_index_builds(progress: CopyProgress, builds: Sequence[IndexBuild]) -> CopyProgress:
    """Return ``progress`` with what the target says of the indexes that are under way."""
    left = list(builds)

    def completed(one: UnderWay) -> UnderWay:
        for build in left:
            if one.what == "build" and (build.schema, build.name) == (one.schema, one.name):
                left.remove(build)
                return replace(one, phase=build.phase, fraction=build.fraction)
        return one

    return replace(progress, under_way=tuple(completed(one) for one in progress.under_way))


def covered(steps: Sequence[StepSummary], until: float | None = None) -> float:
    """Return the seconds in which at least one of ``steps`` was under way.

    An unfinished one counts up to ``until``, or not at all: pauses between an interrupted run and
    the one that resumed it are left out.
    """
    seconds, end = 0.0, 0.0
    for step in sorted(steps, key=lambda step: step.started):
        finished = step.finished if step.finished is not None else until
        if finished is not None and finished > end:
            seconds += finished - max(step.started, end)
            end = finished
    return seconds


def _foremost(current: Sequence[StepSummary]) -> str | None:
    """Return the step to name: indexes are built all the while, beside what makes them wait."""
    foremost = [step for step in current if step.name != BUILD_STEP] or current
    return foremost[-1].name if foremost else None


def _count(pool: PoolState) -> Count:
    return Count(pool.done, pool.pending + pool.running + pool.done + pool.failed)


def _begun(steps: Sequence[StepSummary], name: str) -> float | None:
    """Return when the latest step of this name began."""
    return max((step.started for step in steps if step.name == name), default=None)


def _scale(copy: PoolState, running: Sequence[Job]) -> float:
    """Return how many bytes of COPY a byte of a table's size is, as far as copied ones tell."""
    finished = copy.bytes - sum(job.bytes or 0 for job in running if job.pool == COPY)
    return finished / copy.weight_done if copy.weight_done and finished else 1.0


def _bytes_total(copy: PoolState, running: Sequence[Job], scale: float) -> int:
    """Estimate the bytes of all rows."""
    moving = [job for job in running if job.pool == COPY]
    waiting = copy.weight - copy.weight_done - sum(job.weight for job in moving)
    left = waiting * scale + sum(max(job.weight * scale - (job.bytes or 0), 0) for job in moving)
    return copy.bytes + round(left)


def _rate(size: int, steps: Sequence[StepSummary], name: str, now: float) -> float:
    begun = _begun(steps, name)
    if begun is None:
        return 0.0
    ends = [step.finished for step in steps if step.name == name and step.started == begun]
    return size / max((ends[0] or now) - begun, 0.001)


def _seconds_left(
    bytes_left: int, rate: float, build: PoolState, steps: Sequence[StepSummary], now: float
) -> float | None:
    """Estimate how long copying takes, and once it is done what is built on the tables.

    Of the latter nothing can be said before a good part is done: the largest tables come first
    and take longest, and the small ones that are done by then say little.
    """
    if bytes_left > 0:
        return bytes_left / rate if rate else None
    begun = _begun(steps, BUILD_STEP)
    weight_left = build.weight - build.weight_done
    if begun is None or not build.weight_done:
        return None
    if build.weight_done < build.weight * _TELLING_SHARE:
        return None
    return weight_left * (now - begun) / build.weight_done


def _under_way(job: Job, scale: float) -> UnderWay:
    parts = None
    if job.pool == COPY:
        parts = msgspec.json.decode(job.parameters, type=TablePart).part.count
    return UnderWay(
        what=_WHAT.get(job.pool, job.pool),
        schema=job.schema,
        name=job.name,
        started=job.started or 0.0,
        part=job.part if parts is not None else None,
        parts=parts,
        bytes=job.bytes,
        bytes_total=round(job.weight * scale) if job.pool == COPY else None,
    )
