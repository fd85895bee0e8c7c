"""The beginning of a copy from nothing: its snapshot, locks and schema dump, beside the check.

pg_dump takes as long as the check and the plan together, and needs only a snapshot. So these come
first, and the check looks at the tables that were locked. Nothing of it creates anything on a
server; when the check refuses, all of it goes.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from pgcopydb.clone.context import archive
from pgcopydb.clone.dumping import SchemaDump, dumping
from pgcopydb.clone.prepare import Sides, is_checked, look_at
from pgcopydb.errors import Interrupted, PgcopydbError
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import Table
from pgcopydb.model.options import CopyOptions
from pgcopydb.postgres.snapshot import (
    LOCK_HOLDER,
    LockedSnapshot,
    exported_snapshot,
    lock_tables,
)
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.filters import effective_filters
from pgcopydb.workdir.steps import begin_step, finish_step, forget_steps

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Begun:
    """What is under way; ``holding`` ends all of it."""

    sides: Sides
    locked: LockedSnapshot
    dump: SchemaDump
    holding: ExitStack


@dataclass(slots=True)
class Beginning:
    """A copy that has begun, could not begin, or was not to."""

    begun: Begun | None = None
    failure: PgcopydbError | None = None
    taken: bool = field(default=False, init=False)

    @property
    def tables(self) -> Sequence[Table] | None:
        """All tables of the source, as far as they are known."""
        return None if self.begun is None else self.begun.locked.tables

    @property
    def sides(self) -> Sides | None:
        """Both sides, as far as they are known."""
        return None if self.begun is None else self.begun.sides

    def take(self) -> Begun | None:
        """Return what is under way, for whoever ends it; raises what kept it from beginning."""
        if self.failure is not None:
            raise self.failure
        self.taken = self.begun is not None
        return self.begun


@contextmanager
def beginning(
    work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions
) -> Iterator[Beginning]:
    """Begin a copy of everything, where none has begun in the work directory.

    A failure is kept for :meth:`Beginning.take`: the check, which comes between, names all that is
    in the way. What nobody has taken is ended with the block, as if nothing had been.
    """
    if not _is_to_begin(work, copy):
        yield Beginning()
        return
    with ExitStack() as holding:
        try:
            result = Beginning(_begin(work, source, target, copy, holding))
        except Interrupted:
            raise
        except PgcopydbError as error:
            log.debug("the copy could not begin before the check: %s", error.message)
            _end(work, holding)
            result = Beginning(failure=error)
        try:
            yield result
        finally:
            if result.begun is not None and not result.taken:
                _end(work, holding)


def _end(work: WorkDirectory, holding: ExitStack) -> None:
    holding.close()
    archive(work).unlink(missing_ok=True)
    with work.store() as store:
        forget_steps(store)


def _is_to_begin(work: WorkDirectory, copy: CopyOptions) -> bool:
    """Tell whether nothing has begun, and nothing has to be known of the source to begin.

    What filters leave out, pg_dump must not lock.
    """
    begun = bool(work.previous) or is_checked(work)
    return not begun and effective_filters(work, copy.filters).selects_all


def _begin(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    copy: CopyOptions,
    holding: ExitStack,
) -> Begun:
    sides = look_at(source, target)
    header = work.header()
    snapshot = copy.snapshot or (None if header is None else header.snapshot)
    held = holding.enter_context(exported_snapshot(sides.source, snapshot, purpose=LOCK_HOLDER))
    major = sides.source_facts.major
    dump = holding.enter_context(dumping(work, held, sides.tools, major=major))
    with work.store() as store:
        step = begin_step(store, "lock tables")
    locked = lock_tables(held, estimate_sizes=copy.estimate_table_sizes)
    with work.store() as store:
        finish_step(store, step)
    return Begun(sides, locked, dump, holding)
