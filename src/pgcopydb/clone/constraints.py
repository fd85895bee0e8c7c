"""The end of a copy: foreign keys, then triggers, comments and event triggers."""

from functools import partial

import msgspec

from pgcopydb.clone import foreign_keys, schema
from pgcopydb.clone.context import FOREIGN_KEYS, Restoring
from pgcopydb.clone.planning.jobs import ForeignKey
from pgcopydb.clone.resume import read_remainder
from pgcopydb.clone.statements import run_pool
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.short_sessions import short_session
from pgcopydb.postgres.triggers import silence_event_triggers
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.jobs import Job, JobQueue


def create_foreign_keys(copying: Restoring, *, unchecked: bool) -> None:
    """Create the foreign keys that are planned; ``unchecked`` without a look at the rows."""
    create = foreign_keys.create_unchecked if unchecked else foreign_keys.create
    with copying.timed("foreign keys", copying.options.index_jobs):
        _repeat_lost(copying)
        run_pool(copying, FOREIGN_KEYS, partial(create, copying.target))


def _repeat_lost(copying: Restoring) -> None:
    """Have the foreign keys made again that are not there although their jobs count as done.

    They were committed without waiting for the disk, and a crash of the target took them.
    """
    with copying.work.store() as store:
        queue = JobQueue(store)
        done = queue.jobs(FOREIGN_KEYS, state="done")
        if not done:
            return
        with short_session(copying.target, purpose="foreign keys") as connection:
            there = foreign_keys.present(copying.target, connection)
        queue.repeat(job for job in done if _key(job) not in there)


def _key(job: Job) -> foreign_keys.Key:
    key = msgspec.json.decode(job.parameters, type=ForeignKey)
    return key.schema, key.table, key.name


def finish(copying: Restoring, *, unchecked: bool) -> None:
    """Create foreign keys, triggers, comments and event triggers, in this order."""
    built = read_remainder(copying).built
    create_foreign_keys(copying, unchecked=unchecked)
    with copying.timed("triggers, comments"):
        remaining = schema.without_constraints(
            copying, schema.remaining_after_data(copying, built), _not_made(copying)
        )
        for group in schema.AFTER_KEYS:
            schema.restore_after_data(copying, group, remaining)
    if unchecked:
        with (
            copying.timed("check foreign keys"),
            connect(copying.target, purpose="foreign keys") as connection,
        ):
            silence_event_triggers(connection)
            foreign_keys.validate(copying.target, connection, _foreign_keys(copying.work))


def _not_made(copying: Restoring) -> frozenset[int]:
    """Return the source's oids of the foreign keys that could not be made."""
    doubtful = [key for key in _foreign_keys(copying.work) if key.create_not_valid is None]
    if not doubtful:
        return frozenset()
    with short_session(copying.target, purpose="foreign keys") as connection:
        there = foreign_keys.present(copying.target, connection)
    return frozenset(key.oid for key in doubtful if (key.schema, key.table, key.name) not in there)


def _foreign_keys(work: WorkDirectory) -> list[ForeignKey]:
    with work.store() as store:
        jobs = JobQueue(store).jobs(FOREIGN_KEYS)
    return [msgspec.json.decode(job.parameters, type=ForeignKey) for job in jobs]


def refuse_unvalidated(copying: Restoring) -> None:
    """Raise SqlError when rows of the source violate a foreign key that was created here."""
    with short_session(copying.target, purpose="foreign keys") as connection:
        foreign_keys.refuse_unvalidated(copying.target, connection, _foreign_keys(copying.work))


def refuse_violated(work: WorkDirectory, target: Endpoint) -> None:
    """Check once more what rows of the source violated; raise SqlError when they still do.

    For the end of a follow: the source may have mended its rows meanwhile.
    """
    keys = _foreign_keys(work)
    if not keys:
        return
    with connect(target, purpose="foreign keys") as connection:
        silence_event_triggers(connection)
        violated = foreign_keys.unvalidated(target, connection, keys)
        foreign_keys.validate(target, connection, violated)
        foreign_keys.refuse_unvalidated(target, connection, violated)
