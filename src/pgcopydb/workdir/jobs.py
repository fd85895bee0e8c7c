"""The queue of what a copy has to do: a SQLite table that every worker claims from.

A job belongs to a *unit*: all parts of one table's data are a unit, an index is one by itself. A
job may wait for units; it can be claimed once every job of those units is done. How many of them
are still open is kept in the job (``waits_for``) by a trigger, so that claiming stays one look
into an index, however many thousands of jobs wait.

The queue says what this program knows. Whether a part of a table is on the target is known by the
target itself (its copy markers), so losing the last moments of the queue in a crash loses nothing,
and its commits need not wait for the disk.

What a job is to do does not change once it is planned, and has a checksum: SQLite does not notice
when a byte of its file has changed, and a part with another boundary would leave rows behind.
"""

import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any, Final

from msgspec import Struct

from pgcopydb.errors import StateError
from pgcopydb.workdir.transaction import transaction

JOBS_SCHEMA = """
create table if not exists job (
  id integer primary key,
  pool text not null,
  kind text not null,
  unit text not null,
  oid integer,
  schema text,
  name text,
  part integer,
  weight integer not null,
  items integer not null,
  parameters blob not null,
  waits_for integer not null default 0,
  state text not null default 'pending'
    check (state in ('pending', 'running', 'done', 'failed')),
  pid integer,
  started real,
  finished real,
  rows integer,
  bytes integer,
  error text,
  checksum integer not null
) strict;
create index if not exists job_claimable on job (pool, weight desc, id)
  where state = 'pending' and waits_for = 0;
create index if not exists job_unfinished on job (unit) where state <> 'done';
create table if not exists job_prerequisite (
  unit text not null,
  job integer not null,
  primary key (unit, job)
) strict, without rowid;
create index if not exists job_prerequisite_of on job_prerequisite (job);
create view if not exists claimable_job as
  select * from job where state = 'pending' and waits_for = 0;
create trigger if not exists job_unit_done after update of state on job
  when new.state = 'done' and old.state <> 'done'
   and not exists (select 1 from job where unit = new.unit and state <> 'done')
begin
  update job set waits_for = waits_for - 1
   where id in (select job from job_prerequisite where unit = new.unit);
end;
"""

_JOBS_AT_ONCE: Final = 1_000

_COUNT_OPEN_UNITS: Final = (
    "update job set waits_for = (select count(*) from job_prerequisite as p"
    " where p.job = job.id and exists"
    " (select 1 from job as other where other.unit = p.unit and other.state <> 'done'))"
    " where state = 'pending'"
)
_ADDED: Final = "id >= ?"
_WAITING_FOR_ADDED: Final = (
    "id in (select p.job from job as added cross join job_prerequisite as p on p.unit = added.unit"
    " where added.id >= ?)"
)

_COLUMNS = (
    "id, pool, kind, unit, oid, schema, name, part, weight, items, parameters,"
    " state, pid, started, finished, rows, bytes, error, checksum"
)


class NewJob(Struct, frozen=True, kw_only=True, gc=False):
    """A job to put into the queue.

    ``pool`` names the workers that take it and ``kind`` what they do; ``weight`` (bytes) decides
    the order, largest first; ``items`` is how many things it makes, such as indexes; ``waits_for``
    lists units. A unit without any job counts as done.
    ``parameters`` is for whoever does the job and means nothing here. ``done`` puts it in as done:
    there turned out to be nothing to do.
    """

    pool: str
    kind: str
    unit: str
    oid: int | None = None
    schema: str | None = None
    name: str | None = None
    part: int | None = None
    weight: int = 0
    items: int = 1
    parameters: bytes = b""
    waits_for: Sequence[str] = ()
    done: bool = False


class Job(Struct, frozen=True):
    """A job as the queue holds it. Times are seconds since 1970; ``pid`` is the claimer's.

    ``bytes`` of a job under way are those that it has moved so far, as far as that was noted.
    """

    id: int
    pool: str
    kind: str
    unit: str
    oid: int | None
    schema: str | None
    name: str | None
    part: int | None
    weight: int
    items: int
    parameters: bytes
    state: str
    pid: int | None
    started: float | None
    finished: float | None
    rows: int | None
    bytes: int | None
    error: str | None


class PoolState(Struct, frozen=True):
    """How many jobs of a pool are in which state, and how much they have moved.

    ``rows``, ``items_done`` and ``weight_done`` are of the jobs done, ``bytes`` also of those under
    way. ``units`` counts tables, where parts of one are several jobs.
    """

    pending: int
    running: int
    done: int
    failed: int
    rows: int
    bytes: int
    weight: int
    weight_done: int
    items: int
    items_done: int
    units: int
    units_done: int

    @property
    def finished(self) -> bool:
        """Tell whether nothing of the pool is left to do."""
        return self.pending == 0 and self.running == 0 and self.failed == 0


class JobQueue:
    """The queue, through one connection to the catalogue.

    Every process and thread has its own. All methods are one SQLite transaction.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute("pragma synchronous = normal")

    def add(self, jobs: Iterable[NewJob]) -> None:
        """Put ``jobs`` into the queue, all or none.

        Those that wait for what is added, and were there before, wait from then on.
        """
        with transaction(self._connection):
            first = number = self._last_number() + 1
            remaining = iter(jobs)
            while batch := list(islice(remaining, _JOBS_AT_ONCE)):
                self._insert(batch, first=number)
                number += len(batch)
            for touched in (_ADDED, _WAITING_FOR_ADDED):
                self._connection.execute(f"{_COUNT_OPEN_UNITS} and {touched}", (first,))

    def _last_number(self) -> int:
        (number,) = self._connection.execute("select coalesce(max(id), 0) from job").fetchone()
        return int(number)

    def _insert(self, jobs: Sequence[NewJob], *, first: int) -> None:
        """Put ``jobs`` in under the numbers from ``first`` on: thousands by two statements."""
        numbered = list(enumerate(jobs, first))
        self._connection.executemany(
            "insert into job (id, pool, kind, unit, oid, schema, name, part, weight, items,"
            " parameters, state, rows, bytes, checksum)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    number,
                    *(planned := _PLANNED(job)),
                    "done" if job.done else "pending",
                    0 if job.done else None,
                    0 if job.done else None,
                    _checksum_of(planned),
                )
                for number, job in numbered
            ],
        )
        self._connection.executemany(
            "insert or ignore into job_prerequisite values (?, ?)",
            sorted((unit, number) for number, job in numbered for unit in job.waits_for),
        )

    def _count_open_units(self) -> None:
        self._connection.execute(_COUNT_OPEN_UNITS)

    def release(self, units: Iterable[str], awaited: str) -> None:
        """Let the jobs of ``units`` no longer wait for the unit ``awaited``."""
        with transaction(self._connection):
            self._connection.executemany(
                "delete from job_prerequisite where unit = ?2 and job in"
                " (select id from job where unit = ?1 and state <> 'done')",
                [(unit, awaited) for unit in units],
            )
            self._count_open_units()

    def claim(self, pool: str) -> Job | None:
        """Take the largest job of ``pool`` that waits for nothing, or None when there is none."""
        claimed = self.claim_several(pool, weight=0, count=1)
        return claimed[0] if claimed else None

    def claim_several(self, pool: str, *, weight: int, count: int) -> list[Job]:
        """Take the largest claimable job, and more while they weigh ``weight`` at most together.

        At most ``count`` jobs, largest first; none when nothing can be claimed now.
        """
        # Two looks: nearly every idle poll ends with this one, which takes no write lock.
        found = self._connection.execute(
            "select 1 from claimable_job where pool = ? limit 1", (pool,)
        ).fetchone()
        if found is None:
            return []
        rows = self._connection.execute(
            "update job set state = 'running', pid = ?, started = ? where id in ("
            " select id from ("
            "  select id, row_number() over following as place, sum(weight) over following as sum"
            "  from (select id, weight from claimable_job where pool = ?"
            "        order by weight desc, id limit ?)"
            "  window following as (order by weight desc, id rows unbounded preceding)"
            " ) where place = 1 or sum <= ?"
            f") returning {_COLUMNS}",
            (os.getpid(), time.time(), pool, count, weight),
        ).fetchall()
        jobs = [_job(row) for row in rows]
        return sorted(jobs, key=lambda job: (-job.weight, job.id))

    def finish(self, job: Job, *, rows: int | None = None, bytes: int | None = None) -> None:  # noqa: A002 - the column's name
        """Note that ``job`` is done, which may make others claimable."""
        self._connection.execute(
            "update job set state = 'done', finished = ?, rows = ?, bytes = ?, error = null"
            " where id = ?",
            (time.time(), rows, bytes, job.id),
        )

    def finish_several(self, done: Iterable[tuple[Job, int, int]]) -> None:
        """Note that jobs are done, each with its rows and bytes."""
        now = time.time()
        with transaction(self._connection):
            self._connection.executemany(
                "update job set state = 'done', finished = ?, rows = ?, bytes = ?, error = null"
                " where id = ?",
                [(now, rows, size, job.id) for job, rows, size in done],
            )

    def note(self, job: Job, *, bytes: int) -> None:  # noqa: A002 - the column's name
        """Note how much a job under way has moved so far."""
        self._connection.execute(
            "update job set bytes = ? where id = ? and state = 'running'", (bytes, job.id)
        )

    def fail(self, job: Job, error: str) -> None:
        """Note that ``job`` failed, and why; nothing that waits for it will be claimable."""
        self._connection.execute(
            "update job set state = 'failed', finished = ?, error = ? where id = ?",
            (time.time(), error, job.id),
        )

    def reset(self, pool: str | None = None) -> None:
        """Make the jobs of a pool, or all, that were under way or failed pending again.

        For a run that is resumed: nobody is at work on them any more.
        """
        with transaction(self._connection):
            self._connection.execute(
                "update job set state = 'pending', pid = null, started = null, finished = null,"
                " rows = null, bytes = null, error = null"
                " where state in ('running', 'failed') and (?1 is null or pool = ?1)",
                (pool,),
            )
            self._count_open_units()

    def repeat(self, jobs: Iterable[Job]) -> None:
        """Make ``jobs`` pending again although they were done; what waits for them waits again."""
        with transaction(self._connection):
            self._connection.executemany(
                "update job set state = 'pending', pid = null, started = null, finished = null,"
                " rows = null, bytes = null where id = ?",
                [(job.id,) for job in jobs],
            )
            self._count_open_units()

    def clear(self, *pools: str) -> None:
        """Empty the queue, or ``pools`` of it: their plan no longer holds."""
        connection = self._connection
        with transaction(connection):
            if pools:
                connection.executemany(
                    "delete from job where pool = ?", [(pool,) for pool in pools]
                )
            else:
                connection.execute("delete from job")
            connection.execute("delete from job_prerequisite where job not in (select id from job)")

    def jobs(self, pool: str | None = None, state: str | None = None) -> list[Job]:
        """Return the jobs of a pool or of all, in one state or in any, as they were added."""
        return list(self.each(pool, state))

    def each(self, pool: str | None = None, state: str | None = None) -> Iterator[Job]:
        """Give what :meth:`jobs` lists, one at a time: there may be as many as tables."""
        rows = self._connection.execute(
            f"select {_COLUMNS} from job"
            " where (?1 is null or pool = ?1) and (?2 is null or state = ?2) order by id",
            (pool, state),
        )
        return map(_job, rows)

    def bytes_since(self, pool: str, moment: float) -> int:
        """Return how much was moved by the jobs of ``pool`` under way or ended since ``moment``."""
        row = self._connection.execute(
            "select coalesce(sum(bytes), 0) from job"
            " where pool = ? and (state = 'running' or finished >= ?)",
            (pool, moment),
        ).fetchone()
        return int(row[0])

    def is_empty(self) -> bool:
        """Tell whether no job was ever planned."""
        return self._connection.execute("select 1 from job limit 1").fetchone() is None

    def any_pending(self, pool: str) -> bool:
        """Tell whether ``pool`` has jobs that nobody has claimed, though they may wait."""
        row = self._connection.execute(
            "select 1 from job where pool = ? and state = 'pending' limit 1", (pool,)
        ).fetchone()
        return row is not None

    def is_finished(self, pool: str) -> bool:
        """Tell whether every job of ``pool`` is done."""
        return (
            self._connection.execute(
                "select 1 from job where pool = ? and state <> 'done' limit 1", (pool,)
            ).fetchone()
            is None
        )

    def state(self, pool: str) -> PoolState:
        """Return the numbers of ``pool``."""
        counts = dict.fromkeys(("pending", "running", "done", "failed"), 0)
        rows = size = weight = weight_done = items = items_done = 0
        for state, number, moved, volume, share, made in self._connection.execute(
            "select state, count(*), coalesce(sum(rows), 0), coalesce(sum(bytes), 0),"
            " sum(weight), sum(items) from job where pool = ? group by state",
            (pool,),
        ):
            counts[state] = number
            rows += moved
            size += volume
            weight += share
            items += made
            weight_done += share if state == "done" else 0
            items_done += made if state == "done" else 0
        units, unfinished = self._connection.execute(
            "select count(distinct unit), count(distinct unit) filter (where state <> 'done')"
            " from job where pool = ?",
            (pool,),
        ).fetchone()
        return PoolState(
            **counts,
            rows=rows,
            bytes=size,
            weight=weight,
            weight_done=weight_done,
            items=items,
            items_done=items_done,
            units=units,
            units_done=units - unfinished,
        )


_PLANNED: Final = attrgetter(
    "pool", "kind", "unit", "oid", "schema", "name", "part", "weight", "items", "parameters"
)
"""What a job is, and what there is to do."""


def _checksum(job: NewJob | Job) -> int:
    return _checksum_of(_PLANNED(job))


def _checksum_of(planned: tuple[Any, ...]) -> int:
    return zlib.crc32(repr(planned).encode("utf-8", "surrogatepass"))


def _job(row: Sequence[Any]) -> Job:
    """Return the job of a row; raises StateError when it is not what was planned."""
    job = Job(*row[:-1])
    if row[-1] != _checksum(job):
        raise StateError(
            f"the work directory's plan of the copy is damaged: the checksum of job {job.id} is"
            " wrong",
            hint="start over with --restart, or use another --dir",
        )
    return job
