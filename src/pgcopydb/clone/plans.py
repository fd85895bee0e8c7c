"""The plan of a copy: read from the source's catalogue, and put into the queue.

What is built on the tables is planned after their rows, and beside what makes the tables where they
are many: nobody begins with it before the first rows are there.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import chain, islice
from typing import Any, Final

import psycopg
from msgspec import Struct
from psycopg import Connection

from pgcopydb.clone import tables
from pgcopydb.clone.context import Copying
from pgcopydb.clone.planning.copies import frozen_from
from pgcopydb.clone.planning.jobs import Making, Remainder, RowsPlan
from pgcopydb.clone.planning.plan import BuildsPlanner, plan_rows
from pgcopydb.model.dependencies import PG_CLASS, PG_CONSTRAINT
from pgcopydb.model.objects import Table
from pgcopydb.postgres import discover
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.snapshot import HeldSnapshot, import_snapshot
from pgcopydb.rules.selection import Selection
from pgcopydb.workdir.jobs import JobQueue

Session = Connection[tuple[Any, ...]]

_JOBS_AT_ONCE: Final = 1_000
"""Lanes claim their own in between."""

_BETWEEN_CANCELS: Final = 0.2
"""Seconds; what the thread does between two statements takes less."""


def rows_under(
    copying: Copying,
    held: HeldSnapshot,
    listed: Sequence[Table],
    *,
    same_types: bool,
    freezing: bool,
) -> RowsPlan:
    """Return the plan for the rows of the tables ``listed``, which the snapshot ``held`` shows.

    The others are as ``plan_rows`` takes them.
    """
    return plan_rows(
        listed,
        source=copying.source_facts,
        options=copying.options,
        key_bounds=partial(tables.key_bounds, copying.source, held.connection),
        empty=_without_rows(copying, listed),
        same_types=same_types,
        freezing=freezing,
        frozen_from=frozen_from(copying.target_facts, len(listed)),
    )


class Builds(Struct, frozen=True):
    """What is to be built: ``making`` on ``tables``, of which ``frozen`` are loaded frozen.

    ``selection`` is what the filters mean in the snapshot that shows them; ``same_types`` says that
    this copy makes the target's tables.
    """

    copying: Copying
    tables: Sequence[Table]
    making: frozenset[Making]
    selection: Selection
    frozen: frozenset[int] = frozenset()
    same_types: bool = False

    def add(self, session: Session) -> Remainder:
        """Put the jobs into the queue, some by some; return what is to be known of them later.

        Indexes and constraints are those that the transaction of ``session`` sees.
        """
        copying, selection = self.copying, self.selection
        planner = BuildsPlanner(
            self.tables,
            target=copying.target_facts,
            options=copying.options,
            making=self.making,
            frozen=self.frozen,
            empty=_without_rows(copying, self.tables),
            gapped=frozenset(oid for catalog, oid in selection.gapped if catalog == PG_CLASS),
            same_types=self.same_types,
        )
        left_out = selection.left_out
        indexes = (
            index for index in discover.each_index(session) if (PG_CLASS, index.oid) not in left_out
        )
        constraints = (
            key
            for key in discover.each_constraint(session)
            if (PG_CONSTRAINT, key.oid) not in left_out
        )
        jobs = chain(planner.on_tables(indexes), planner.of_foreign_keys(constraints))
        with (
            copying.work.store() as store,
            reporting(copying.source, "reading indexes and constraints"),
        ):
            queue = JobQueue(store)
            while batch := list(islice(jobs, _JOBS_AT_ONCE)):
                queue.add(batch)
        return planner.remainder()

    @contextmanager
    def adding(self, held: HeldSnapshot) -> Iterator[Future[Remainder]]:
        """Have :meth:`add` done beside the block, in a session with the snapshot ``held``.

        Leaving the block before it is done ends it.
        """
        # closed, not committed: a commit of what was only read may fail, and would be no error
        with closing(connect(held.endpoint, purpose="plan")) as session:
            import_snapshot(held.endpoint, session, held.id)
            with ThreadPoolExecutor(1, "plan") as threads:
                future = threads.submit(self.add, session)
                try:
                    yield future
                finally:
                    while wait([future], 0).not_done:
                        with suppress(psycopg.Error):
                            session.cancel_safe(timeout=2)
                        wait([future], _BETWEEN_CANCELS)


def _without_rows(copying: Copying, listed: Sequence[Table]) -> frozenset[int]:
    filters = copying.filters
    return frozenset(
        table.oid for table in listed if not filters.copies_data(table.schema, table.name)
    )
