"""Large objects: ranges of them are jobs, done by threads with a session on each side.

Which ones are copied is known by the target: an object that is there is whole. So a range that was
interrupted is done again, and only what is missing is copied.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final

import msgspec
from psycopg import Connection

from pgcopydb.clone.context import LARGE_OBJECTS, Copying
from pgcopydb.clone.statements import Done, StatementPool
from pgcopydb.errors import ConfigurationError, PgcopydbError, WorkerError, some_of
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.large_objects import (
    ObjectRange,
    Properties,
    list_objects,
    list_oids,
    list_ranges,
    missing_roles,
    move,
    unlink,
)
from pgcopydb.postgres.snapshot import import_snapshot
from pgcopydb.workdir.jobs import Job, JobQueue, NewJob
from pgcopydb.workdir.store import LARGE_OBJECTS_COPIED, write_fact

log = logging.getLogger(__name__)

Session = Connection[tuple[Any, ...]]

_OBJECTS_OF_A_JOB: Final = 1000

_UNLINKED: Final = "large objects of the target removed"


def jobs(copying: Copying, connection: Session) -> list[NewJob]:
    """Return a job for each range of the large objects that the snapshot of ``connection`` shows.

    A job's weight is the number of its objects. That they are copied at all is written down, for
    the end of a follow.
    """
    with copying.work.store() as store:
        write_fact(store, LARGE_OBJECTS_COPIED, not copying.options.skip_large_objects)
    if copying.options.skip_large_objects:
        return []
    with reporting(copying.source, "reading the list of large objects"):
        ranges = list_ranges(connection, _OBJECTS_OF_A_JOB)
    return [
        NewJob(
            pool=LARGE_OBJECTS,
            kind="large objects",
            unit=f"large objects {one.first}",
            name=f"{one.first} to {one.last}",
            weight=one.count,
            parameters=msgspec.json.encode(one),
        )
        for one in ranges
    ]


@contextmanager
def pool(
    copying: Copying, snapshot: str | None, *, replacing: bool, resumed: bool
) -> Iterator[StatementPool]:
    """Give the pool that does the jobs under way; leaving the block ends it.

    ``snapshot`` is exported as long as jobs are left. With ``replacing`` large objects of the same
    oids on the target are removed first. Raises ConfigurationError when the target lacks roles that
    the large objects name, the side's error when the target cannot be prepared.
    """
    with copying.work.store() as store:
        left = [job for job in JobQueue(store).jobs(LARGE_OBJECTS) if job.state != "done"]
    mover = _Mover(copying, snapshot or "")
    if left:
        mover.prepare(left, replacing=replacing)
    threads = min(copying.options.large_objects_jobs, len(left))
    try:
        with StatementPool(
            copying,
            LARGE_OBJECTS,
            threads=threads,
            perform=mover.copy,
            resumed=resumed,
            together=1,
        ) as running:
            try:
                yield running
            finally:
                mover.stop()
    finally:
        mover.close()


class _Mover:
    """Copies ranges of large objects, with a source session for each thread that asks for it."""

    def __init__(self, copying: Copying, snapshot: str) -> None:
        self._copying = copying
        self._snapshot = snapshot
        self._reading: dict[int, Session] = {}
        self._stopped = False
        options = copying.options
        self._properties = Properties(
            owners=not options.no_owner,
            privileges=not options.no_acl,
            comments=not options.no_comments,
        )

    def prepare(self, left: Sequence[Job], *, replacing: bool) -> None:
        """Look for missing roles, and remove from the target what is replaced."""
        source, target = self._copying.source, self._copying.target
        with (
            closing(connect(source, purpose="large objects")) as reading,
            connect(target, purpose="large objects") as writing,
        ):
            import_snapshot(source, reading, self._snapshot)
            with reporting(source, "reading the owners of large objects"):
                missing = missing_roles(reading, writing, self._properties)
            if missing:
                raise ConfigurationError(
                    "target: large objects belong to, or are granted to, roles that are not"
                    f" there: {some_of(missing)}",
                    hint="create them or copy them with --roles; or leave owners and privileges"
                    " out with --no-owner --no-acl",
                )
            if replacing and not self._copying.is_done(_UNLINKED):
                for job in left:
                    found_in = msgspec.json.decode(job.parameters, type=ObjectRange)
                    with reporting(source, "reading the list of large objects"):
                        oids = list_oids(reading, found_in)
                    with reporting(target, "removing large objects that are replaced"):
                        unlink(writing, oids)
        self._copying.mark_done(_UNLINKED)

    def copy(self, writing: Session, jobs: Sequence[Job], _repeated: bool) -> list[Done]:
        """Copy those of the jobs' large objects that the target has not."""
        try:
            return [self._copy_range(writing, job) for job in jobs]
        except PgcopydbError:
            self._forget()
            raise

    def _copy_range(self, writing: Session, job: Job) -> Done:
        source, target = self._copying.source, self._copying.target
        found_in = msgspec.json.decode(job.parameters, type=ObjectRange)
        reading = self._session()
        with reporting(source, "reading the list of large objects"):
            objects = list_objects(reading, found_in)
        with reporting(target, "reading the list of large objects"):
            present = list_oids(writing, found_in)
        missing = [one for one in objects if one.oid not in present]
        moved = move(
            (source, reading), (target, writing), missing, self._properties, look=self._look
        )
        return Done(rows=len(objects), bytes=moved)

    def _session(self) -> Session:
        key = threading.get_ident()
        session = self._reading.get(key)
        if session is None:
            session = connect(self._copying.source, purpose="large objects")
            self._reading[key] = session
            import_snapshot(self._copying.source, session, self._snapshot)
        return session

    def _forget(self) -> None:
        session = self._reading.pop(threading.get_ident(), None)
        if session is not None:
            session.close()

    def _look(self) -> None:
        if self._stopped:
            raise WorkerError("the copy of large objects was stopped")

    def stop(self) -> None:
        """Have what is under way end at the next piece."""
        self._stopped = True

    def close(self) -> None:
        """Close the source sessions; no thread is at work any more."""
        for session in self._reading.values():
            session.close()
        self._reading.clear()
