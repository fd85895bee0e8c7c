"""The job queue: every job is claimed once, in the right order, and only when it may be."""

import multiprocessing
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from pgcopydb.workdir.jobs import JobQueue, NewJob
from pgcopydb.workdir.store import open_store


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    with open_store(tmp_path / "catalogue.db") as connection:
        yield JobQueue(connection)


def _copy(oid: int, part: int = 1, weight: int = 0) -> NewJob:
    return NewJob(pool="copy", kind="copy", unit=f"copy {oid}", oid=oid, part=part, weight=weight)


def _index(oid: int, *waits_for: str, weight: int = 0) -> NewJob:
    return NewJob(
        pool="ddl",
        kind="index",
        unit=f"index {oid}",
        oid=oid,
        weight=weight,
        waits_for=waits_for,
    )


def test_an_empty_queue_has_nothing(queue: JobQueue) -> None:
    assert queue.is_empty()
    assert queue.claim("copy") is None
    assert queue.is_finished("copy")
    assert queue.state("copy").finished


def test_largest_first_and_each_once(queue: JobQueue) -> None:
    queue.add([_copy(1, weight=5), _copy(2, weight=50), _copy(3, weight=5)])
    claimed = [queue.claim("copy") for _ in range(4)]
    assert [job.oid if job else None for job in claimed] == [2, 1, 3, None]


def test_a_job_waits_for_what_is_added_after_it(queue: JobQueue) -> None:
    queue.add([_index(9, "copy 1"), _index(8, "copy 2")])
    queue.add([_copy(1)])
    first = queue.claim("ddl")
    assert first is not None
    assert first.oid == 8
    assert queue.claim("ddl") is None


def test_some_are_released_from_what_all_wait_for(queue: JobQueue) -> None:
    making = NewJob(pool="making", kind="make", unit="tables")
    waiting = [replace(_copy(oid), waits_for=("tables",)) for oid in (1, 2, 3)]
    queue.add([making, *waiting, _index(9, "tables", "copy 2")])
    assert queue.claim("copy") is None
    queue.release(["copy 2"], "tables")
    claimed = queue.claim_several("copy", weight=0, count=9)
    assert [job.oid for job in claimed] == [2]
    queue.finish(claimed[0])
    assert queue.claim("ddl") is None
    made = queue.claim("making")
    assert made is not None
    queue.finish(made)
    assert [job.oid for job in queue.claim_several("copy", weight=0, count=9)] == [1, 3]
    assert queue.claim("ddl") is not None


def test_a_job_waits_for_every_part_of_its_table(queue: JobQueue) -> None:
    queue.add([_index(9, "copy 1"), _copy(1, part=1), _copy(1, part=2)])
    first, second = queue.claim("copy"), queue.claim("copy")
    assert first is not None
    assert second is not None
    assert queue.claim("ddl") is None
    queue.finish(first, rows=3, bytes=30)
    assert queue.claim("ddl") is None
    queue.finish(second, rows=4, bytes=40)
    index = queue.claim("ddl")
    assert index is not None
    assert index.oid == 9
    state = queue.state("copy")
    assert (state.rows, state.bytes, state.done, state.finished) == (7, 70, 2, True)


def test_finishing_twice_counts_once(queue: JobQueue) -> None:
    queue.add([_copy(1), _copy(2), _index(9, "copy 1", "copy 2")])
    job = queue.claim("copy")
    assert job is not None
    queue.finish(job)
    queue.finish(job)
    assert queue.claim("ddl") is None


def test_a_chain_of_units(queue: JobQueue) -> None:
    queue.add([_index(3, "index 2", "index 1"), _index(2, "index 1"), _index(1)])
    order = []
    while (job := queue.claim("ddl")) is not None:
        order.append(job.oid)
        queue.finish(job)
    assert order == [1, 2, 3]


def test_a_unit_without_jobs_counts_as_done(queue: JobQueue) -> None:
    queue.add([_index(1, "copy 77")])
    assert queue.claim("ddl") is not None


def test_small_jobs_are_claimed_together(queue: JobQueue) -> None:
    queue.add([_copy(oid, weight=10) for oid in range(1, 8)] + [_copy(100, weight=1000)])
    assert [job.oid for job in queue.claim_several("copy", weight=35, count=5)] == [100]
    assert [job.oid for job in queue.claim_several("copy", weight=35, count=5)] == [1, 2, 3]
    assert [job.oid for job in queue.claim_several("copy", weight=1000, count=2)] == [4, 5]
    rest = queue.claim_several("copy", weight=1000, count=50)
    assert [job.oid for job in rest] == [6, 7]
    queue.finish_several([(job, 1, 2) for job in rest])
    assert queue.state("copy").done == 2


def test_a_failure_keeps_its_reason_and_holds_back_what_waits(queue: JobQueue) -> None:
    queue.add([_copy(1), _index(9, "copy 1")])
    job = queue.claim("copy")
    assert job is not None
    queue.fail(job, "target: no space")
    assert queue.claim("ddl") is None
    assert not queue.is_finished("copy")
    assert [failed.error for failed in queue.jobs("copy", "failed")] == ["target: no space"]


def test_resuming_begins_again_what_was_not_done(queue: JobQueue) -> None:
    queue.add([_copy(1), _copy(2), _copy(3), _index(9, "copy 1", "copy 2")])
    done, failed, running = (queue.claim("copy") for _ in range(3))
    assert done is not None
    assert failed is not None
    assert running is not None
    queue.finish(done)
    queue.fail(failed, "lost")
    queue.reset()
    assert [job.oid for job in queue.jobs("copy", "pending")] == [2, 3]
    again = queue.claim("copy")
    assert again is not None
    queue.finish(again)
    assert queue.claim("ddl") is not None


def test_adding_is_all_or_none(queue: JobQueue) -> None:
    broken = NewJob(pool="copy", kind="copy", unit="u", weight="heavy")  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        queue.add([_copy(1), broken])
    assert queue.is_empty()


def test_twenty_thousand_tables_are_quick(queue: JobQueue) -> None:
    started = time.monotonic()
    queue.add([_copy(oid, weight=oid) for oid in range(20_000)])
    queue.add([_index(oid, f"copy {oid}", weight=oid) for oid in range(20_000)])
    for _ in range(500):
        for job in queue.claim_several("copy", weight=1 << 40, count=40):
            queue.finish(job)
        index = queue.claim("ddl")
        assert index is not None
        queue.finish(index)
    assert queue.is_finished("copy")
    assert time.monotonic() - started < 20


def _claim_all(path: Path) -> list[int]:
    with open_store(path) as connection:
        queue = JobQueue(connection)
        mine = []
        while (job := queue.claim("copy")) is not None:
            mine.append(job.id)
            queue.finish(job)
    return mine


def test_processes_never_claim_the_same_job(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    with open_store(path) as connection:
        JobQueue(connection).add([_copy(oid) for oid in range(400)])
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        claimed = pool.map(_claim_all, [path] * 3)
    together = [job for mine in claimed for job in mine]
    assert len(together) == len(set(together)) == 400
