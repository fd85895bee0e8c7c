"""The end of a copy: foreign keys, then triggers, comments and event triggers."""

from functools import partial
from time import sleep
from typing import Final

import msgspec

from pgcopydb.clone import foreign_keys, schema
from pgcopydb.clone.context import FOREIGN_KEYS, Copying, require_finished
from pgcopydb.clone.plan import ForeignKey
from pgcopydb.clone.resume import read_remainder
from pgcopydb.clone.schema import After
from pgcopydb.clone.statements import StatementPool
from pgcopydb.postgres.connect import connect
from pgcopydb.runtime import signals
from pgcopydb.workdir.jobs import JobQueue

_LOOK_EVERY: Final = 0.02


def finish(copying: Copying, *, unchecked: bool) -> None:
    """Create foreign keys, triggers, comments and event triggers, in this order."""
    built = read_remainder(copying).built
    create = foreign_keys.create_unchecked if unchecked else foreign_keys.create
    threads = copying.options.index_jobs
    with copying.timed("foreign keys", threads), copying.work.store() as store:
        queue = JobQueue(store)
        with StatementPool(
            copying,
            FOREIGN_KEYS,
            threads=threads,
            perform=partial(create, copying.target),
            resumed=True,
        ) as pool:
            while pool.alive:
                pool.poll()
                signals.raise_if_stopped()
                copying.watch()
                sleep(_LOOK_EVERY)
            pool.poll()
            require_finished(queue, FOREIGN_KEYS)
    with copying.timed("triggers, comments"):
        remaining = schema.remaining_after_data(copying, built)
        for group in (After.TRIGGERS, After.COMMENTS, After.EVENT_TRIGGERS):
            schema.restore_after_data(copying, group, remaining)
    if unchecked:
        with (
            copying.timed("check foreign keys"),
            connect(copying.target, purpose="foreign keys") as connection,
        ):
            foreign_keys.validate(copying.target, connection, _foreign_keys(copying))


def _foreign_keys(copying: Copying) -> list[ForeignKey]:
    with copying.work.store() as store:
        jobs = JobQueue(store).jobs(FOREIGN_KEYS)
    return [msgspec.json.decode(job.parameters, type=ForeignKey) for job in jobs]


def refuse_unvalidated(copying: Copying) -> None:
    """Raise SqlError when rows of the source violate a foreign key that was created here."""
    with connect(copying.target, purpose="foreign keys") as connection:
        foreign_keys.refuse_unvalidated(copying.target, connection, _foreign_keys(copying))
