"""What every step of a base copy works with."""

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from pgcopydb.errors import StateError, WorkerError, some_of
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import EVERYTHING, Filters
from pgcopydb.model.objects import ServerFacts
from pgcopydb.model.options import CopyOptions
from pgcopydb.model.results import StepSummary
from pgcopydb.pgtools.find import Tools
from pgcopydb.runtime import signals
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.jobs import JobQueue
from pgcopydb.workdir.steps import begin_step, finish_step
from pgcopydb.workdir.store import RunHeader, read_fact, read_header, write_fact, write_header

COPY: Final = "copy"
"""The pool of parts of tables."""

BUILD: Final = "build"
"""The pool of indexes, key constraints and vacuum, table by table."""

FOREIGN_KEYS: Final = "foreign keys"
"""The pool of foreign keys."""

LARGE_OBJECTS: Final = "large objects"
"""The pool of ranges of large objects."""


TABLES: Final = "tables"
"""The pool, and the unit, of making the tables that are not made first; see ``rows``."""

PLANNED: Final = "jobs planned"
"""The step after which every table is there and no job will be added: a run that is resumed goes
on with those of the queue. Where the tables were there before, no row is copied sooner."""

INDEXES_BUILT: Final = "indexes built"
CONSTRAINTS_BUILT: Final = "constraints built"
"""Steps of a copy in phases, which leave less for pg_restore to make."""


class Restoring(Struct, frozen=True, kw_only=True):
    """A target that is being made: what the steps which never look at the source work with.

    ``watch`` is called whenever the copy waits, many times a second, and may raise to end it: so
    that what runs beside the copy (receiving changes) fails together with it.
    """

    work: WorkDirectory
    target: Endpoint
    options: CopyOptions
    header: RunHeader
    target_facts: ServerFacts
    tools: Tools
    filters: Filters = EVERYTHING
    watch: Callable[[], None] = lambda: None
    steps: list[StepSummary] = field(default_factory=list)

    @property
    def archive(self) -> Path:
        """The schema dump, below the work directory."""
        return archive(self.work)

    @contextmanager
    def timed(self, name: str, concurrency: int = 1) -> Iterator[None]:
        """Write down when a step begins and ends; a stop that was asked for ends the run between.

        Those who look on from outside (``list progress``) see it from its beginning.
        """
        signals.raise_if_stopped()
        self.watch()
        with self.work.store() as store:
            step = begin_step(store, name, concurrency)
        yield
        signals.raise_if_stopped()
        with self.work.store() as store:
            self.steps.append(finish_step(store, step))

    def is_done(self, step: str) -> bool:
        """Tell whether this run, or the one it resumes, has finished ``step``."""
        return is_done(self.work, step)

    def mark_done(self, step: str) -> None:
        """Remember that ``step`` is finished, for a run that resumes this one."""
        mark_done(self.work, step)


class Copying(Restoring, frozen=True, kw_only=True):
    """A base copy under way, or a part of one: both sides.

    ``copied`` is called when all rows are copied, so that whoever lent the snapshot lets go of it.
    """

    source: Endpoint
    source_facts: ServerFacts
    copied: Callable[[], None] = lambda: None


def archive(work: WorkDirectory) -> Path:
    """Return where the schema dump of a work directory is."""
    return work.schema / "schema.dump"


MARKERS_DROPPED: Final = "markers dropped"
"""The last step of a copy that no changes follow; its rows are the user's from then on."""


def mark_done(work: WorkDirectory, step: str) -> None:
    """Remember that a copy in this directory has finished ``step``."""
    with work.store() as store:
        write_fact(store, f"copy step: {step}", True)


def is_done(work: WorkDirectory, step: str) -> bool:
    """Tell whether a copy in this directory has finished ``step``."""
    with work.store() as store:
        return is_done_in(store, step)


def identity(facts: ServerFacts) -> str:
    """Return what tells a database from every other: system identifier and database oid."""
    return facts.identity


def is_done_in(store: sqlite3.Connection, step: str) -> bool:
    """Tell the same to who has the directory's store open."""
    return bool(read_fact(store, f"copy step: {step}", bool))


def open_run(
    work: WorkDirectory, *, source: ServerFacts | None = None, target: ServerFacts | None = None
) -> RunHeader:
    """Return the header of the run in ``work``, begun now or earlier, which names the databases.

    Raises StateError when the directory belongs to a migration between other databases.
    """
    with work.store() as store:
        known = read_header(store) or RunHeader(run_id=uuid.uuid4().hex)
        ours = {
            "source": known.source if source is None else identity(source),
            "target": known.target if target is None else identity(target),
        }
        for side, found in ours.items():
            if getattr(known, side) not in {None, found}:
                raise StateError(
                    f"{work.path} belongs to a migration with another {side} database",
                    hint=f"give the --{side} of that migration, or another --dir",
                )
        header = replace(known, source=ours["source"], target=ours["target"])
        work.discard_previous()
        write_header(store, header)
    return header


def require_finished(queue: JobQueue, pool: str) -> None:
    """Raise when workers ended in order and yet left something: never taken for success."""
    signals.raise_if_stopped()
    if not queue.is_finished(pool):
        left = [f"{job.schema}.{job.name}" for job in queue.jobs(pool) if job.state != "done"]
        raise WorkerError(
            f"the workers ended before all was done; left: {some_of(left)}",
            hint="run again with --resume",
        )
