"""Threads that run statements on the target, each with a session of its own.

Building an index burns the server's CPU and none of ours, so threads of the supervising process do:
processes are for what burns our CPU, threads for what waits on the server.
"""

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from time import sleep
from types import TracebackType
from typing import Any, Final, Self

import psycopg
from msgspec import Struct
from psycopg import Connection

from pgcopydb.clone.context import Restoring, require_finished
from pgcopydb.errors import PgcopydbError, WorkerError, first_line
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.durability import make_durable
from pgcopydb.postgres.maintenance import take_share
from pgcopydb.postgres.predecessors import SessionIdentity, end_session, session_identity
from pgcopydb.runtime import signals
from pgcopydb.workdir.jobs import Job, JobQueue
from pgcopydb.workdir.store import read_fact, write_fact

log = logging.getLogger(__name__)

Session = Connection[tuple[Any, ...]]


class Done(Struct, frozen=True):
    """What a job moved."""

    rows: int = 0
    bytes: int = 0


Perform = Callable[[Session, Sequence[Job], bool], Sequence[Done] | None]
"""Does jobs on a target session in autocommit mode; tells what each moved, None for nothing. The
last argument says whether something of them may be there already: a run is resumed, or an attempt
was lost."""

_TOGETHER_BYTES: Final = 1 << 20
TOGETHER: Final = 32
"""Jobs on small tables are done together, in one transaction and one round trip."""

_IDLE: Final = 0.02
_ATTEMPTS: Final = 6
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
_JOIN_WITHIN: Final = 10.0


_LOOK_EVERY: Final = 0.02


def run_pool(copying: Restoring, pool: str, perform: Perform) -> None:
    """Do all jobs of ``pool``, as many at once as --index-jobs allows; some may be done already."""
    with copying.work.store() as store:
        queue = JobQueue(store)
        queue.reset(pool)  # what a run that was killed had claimed
        if not queue.is_finished(pool):
            _work_through(copying, pool, perform)
        require_finished(queue, pool)
    make_durable(copying.target)  # what a run that was killed had done, too


def _work_through(copying: Restoring, pool: str, perform: Perform) -> None:
    with StatementPool(
        copying, pool, threads=copying.options.index_jobs, perform=perform, resumed=True
    ) as threads:
        while threads.alive:
            threads.poll()
            signals.raise_if_stopped()
            copying.watch()
            sleep(_LOOK_EVERY)
        threads.poll()


class StatementPool:
    """Does the jobs of one pool with some threads; leaving the block stops them all."""

    def __init__(
        self,
        copying: Restoring,
        pool: str,
        *,
        threads: int,
        perform: Perform,
        resumed: bool,
        together: int = TOGETHER,
    ) -> None:
        self._copying = copying
        self._pool = pool
        self._perform = perform
        self._resumed = resumed
        self._together = together
        self._stop = threading.Event()
        self._fact = f"sessions of {pool}"
        self._noting = threading.Lock()
        self._errors: list[PgcopydbError] = []
        self._sessions: dict[int, Session] = {}
        self._sharing = max(threads, 1)
        self._threads = [
            threading.Thread(target=self._work, name=f"{pool} {number}", daemon=True)
            for number in range(1, threads + 1)
        ]

    def __enter__(self) -> Self:
        if self._resumed and self._threads:
            self._end_predecessors()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.ask_to_stop()
        for thread in self._threads:
            thread.join(_JOIN_WITHIN)

    def ask_to_stop(self) -> None:
        """Have the threads end, and their statements cancelled; they are not waited for."""
        if self._stop.is_set():
            return
        self._stop.set()
        for session in list(self._sessions.values()):
            _cancel(session)

    @property
    def alive(self) -> bool:
        """Tell whether any thread is still at work."""
        return any(thread.is_alive() for thread in self._threads)

    def poll(self) -> None:
        """Raise the first error of a thread."""
        if self._errors:
            raise self._errors[0]

    def _work(self) -> None:
        try:
            with self._copying.work.store() as store:
                queue = JobQueue(store)
                while not self._stop.is_set():
                    jobs = queue.claim_several(
                        self._pool, weight=_TOGETHER_BYTES, count=self._together
                    )
                    if jobs:
                        self._do(queue, jobs)
                    elif queue.is_finished(self._pool):
                        return
                    else:
                        self._stop.wait(_IDLE)
        except PgcopydbError as error:
            if not self._stop.is_set():
                self._errors.append(error)
        except Exception as error:
            log.debug("a thread of the pool %s failed", self._pool, exc_info=True)
            self._errors.append(
                WorkerError(
                    f"building {self._pool} failed: {type(error).__name__}: {first_line(error)}",
                    hint="this is a defect of pgcopydb: run again with --debug for the details",
                )
            )
        finally:
            session = self._sessions.pop(threading.get_ident(), None)
            if session is not None:
                session.close()

    def _do(self, queue: JobQueue, jobs: Sequence[Job]) -> None:
        try:
            done = self._attempt(jobs, repeated=self._resumed)
        except PgcopydbError as error:
            if len(jobs) == 1 or self._stop.is_set():
                queue.fail(jobs[0], error.message)
                raise
            # One by one, so that the failure has a name and the others are done.
            self._one_by_one(queue, jobs)
        else:
            queue.finish_several(
                (job, one.rows, one.bytes) for job, one in zip(jobs, done, strict=True)
            )

    def _one_by_one(self, queue: JobQueue, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if self._stop.is_set():
                return
            try:
                (done,) = self._attempt([job], repeated=True)
            except PgcopydbError as error:
                queue.fail(job, error.message)
                raise
            queue.finish(job, rows=done.rows, bytes=done.bytes)

    def _attempt(self, jobs: Sequence[Job], *, repeated: bool) -> Sequence[Done]:
        """Do ``jobs``; after a lost session, a deadlock and the like again, a few times."""
        pause = _FIRST_PAUSE
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                done = self._perform(self._session(), jobs, repeated or attempt > 1)
            except PgcopydbError as error:
                self._recover()
                if not error.retryable or attempt == _ATTEMPTS or self._stop.is_set():
                    raise
                log.warning("%s; trying again", error.message)
            else:
                return [Done()] * len(jobs) if done is None else done
            self._stop.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        raise AssertionError("the last attempt returns or raises")

    def _session(self) -> Session:
        key = threading.get_ident()
        session = self._sessions.get(key)
        if session is None:
            target = self._copying.target
            session = connect(target, purpose=self._pool)
            self._sessions[key] = session
            with reporting(target, "preparing to build"):
                # A lost commit is found when the result is verified; all is flushed before that.
                session.execute("set synchronous_commit to off")
                take_share(session, sessions=self._sharing)
                self._note(session)
        return session

    def _note(self, session: Session) -> None:
        """Write down which session this thread has, and end the one that it had before."""
        identity = session_identity(session)
        name = threading.current_thread().name
        with self._noting, self._copying.work.store() as store:
            noted = self._noted(store)
            before = noted.get(name)
            write_fact(store, self._fact, noted | {name: identity})
        if before is not None:
            end_session(session, before)

    def _end_predecessors(self) -> None:
        """End the sessions that a run that was killed may have left at work."""
        with self._copying.work.store() as store:
            noted = self._noted(store)
        if not noted:
            return
        target = self._copying.target
        with (
            connect(target, purpose=self._pool) as session,
            reporting(target, "ending sessions of the run that is resumed"),
        ):
            for identity in noted.values():
                end_session(session, identity)

    def _noted(self, store: sqlite3.Connection) -> dict[str, SessionIdentity]:
        noted: dict[str, SessionIdentity] | None = read_fact(
            store, self._fact, dict[str, SessionIdentity]
        )
        return noted or {}

    def _recover(self) -> None:
        """Leave a session that can be used again, or none."""
        session = self._sessions.pop(threading.get_ident(), None)
        if session is not None:
            session.close()


def _cancel(session: Session) -> None:
    try:
        session.cancel_safe(timeout=2)
    except psycopg.Error:
        log.debug("a statement could not be cancelled", exc_info=True)
