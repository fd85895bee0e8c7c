"""What there is to do, table by table: the catalogue becomes jobs.

Pure but for the bounds of integer keys, which are asked for through a function. Per table there is
a *unit* of parts and, after it, what is built on it:

::

    copy T ──► indexes T ──► constraints T ──► vacuum, statistics
                                  │
           (of every partition)   └──► attach P

A small table's indexes, constraints and vacuum are one job, so that thousands of them are not
thousands of round trips; a large one's are separate, so that several are built at once.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from msgspec.structs import replace

from pgcopydb.clone.planning.builds import (
    attach_jobs,
    children_of,
    is_dumped,
    root_jobs,
    table_jobs,
    tables_below,
    upkeep_of,
)
from pgcopydb.clone.planning.copies import (
    FROZEN_FROM,
    KeyBounds,
    copy_jobs,
    cut_tables,
    is_frozen,
    is_visible_when_frozen,
)
from pgcopydb.clone.planning.foreign_keys import foreign_key_job
from pgcopydb.clone.planning.jobs import (
    EVERYTHING,
    BuiltIndex,
    Making,
    Remainder,
    RowsPlan,
)
from pgcopydb.model.dependencies import PG_CLASS, PG_CONSTRAINT
from pgcopydb.model.objects import (
    Constraint,
    ConstraintKind,
    Index,
    ServerFacts,
    Table,
    TableKind,
)
from pgcopydb.model.options import CopyOptions
from pgcopydb.sql import ddl
from pgcopydb.workdir.jobs import NewJob

_FIRST_TAKING_STATISTICS_VERSION: Final = 180000
"""The server version from which the planner's statistics can be set from outside."""


def plan_rows(
    tables: Sequence[Table],
    *,
    source: ServerFacts,
    options: CopyOptions,
    key_bounds: KeyBounds,
    empty: frozenset[int] = frozenset(),
    same_types: bool = True,
    freezing: bool = True,
    frozen_from: int = FROZEN_FROM,
) -> RowsPlan:
    """Return the jobs that copy the rows of ``tables``, but for those whose oids are in ``empty``.

    ``same_types`` says that the target's tables are made by this copy, ``freezing`` that they can
    be truncated, and ``frozen_from`` how large those are, in bytes, that are then loaded frozen.
    """
    with_rows = [table for table in tables if table.has_rows and table.oid not in empty]
    parts = cut_tables(with_rows, source, options, key_bounds, freezing=freezing)
    frozen = frozenset(
        one.oid for one, cut in parts if freezing and is_frozen(one, cut, frozen_from)
    )
    jobs = tuple(copy_jobs(parts, frozen, options, same_types))
    return RowsPlan(
        jobs=jobs,
        frozen=frozen,
        bytes=sum(job.weight for job in jobs if not job.done),
        parts=sum(not job.done for job in jobs),
    )


class BuildsPlanner:
    """Plans what is built on ``tables``, of which those in ``frozen`` are loaded frozen.

    Gives the jobs one by one, each table's after its indexes were read, so that neither the jobs
    nor the indexes of a large catalogue are ever held together. Jobs come after all for which they
    wait, but for rows. ``empty`` and ``gapped`` are oids of tables that are made without their
    rows, or some of them; ``same_types`` says that this copy makes the target's tables.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        *,
        target: ServerFacts,
        options: CopyOptions,
        making: frozenset[Making] = EVERYTHING,
        frozen: frozenset[int] = frozenset(),
        empty: frozenset[int] = frozenset(),
        gapped: frozenset[int] = frozenset(),
        same_types: bool = False,
    ) -> None:
        self._tables = {table.oid: table for table in tables}
        self._children = children_of(tables)
        self._target = target
        self._options = options
        self._making = making
        self._empty = empty
        self._gapped = gapped
        self._left_out = empty | gapped
        self._visible = frozen if is_visible_when_frozen(target) else frozenset()
        self._takes_statistics = (
            same_types
            and not options.no_statistics
            and target.version_num >= _FIRST_TAKING_STATISTICS_VERSION
        )
        self._made: list[BuiltIndex] = []
        self._view_indexes: list[Index] = []
        self._built: list[tuple[int, int]] = []

    def on_tables(self, indexes: Iterable[Index]) -> Iterator[NewJob]:
        """Give the jobs for ``indexes``, and those of tables without; ``indexes`` are by table."""
        waiting = dict(self._tables)
        partitioned: list[tuple[Table, list[Index]]] = []
        linked: list[Index] = []
        for oid, group in groupby(indexes, key=lambda index: index.table_oid):
            table = waiting.pop(oid, None)
            if table is None:
                continue
            own = [index for index in group if is_dumped(index)]
            self._note(table, own)
            linked += (one for one in own if one.is_partitioned or one.parent_oid is not None)
            if table.kind is TableKind.PARTITIONED:
                partitioned.append((table, own))
            else:
                yield from self._of_table(table, own)
        for table in waiting.values():
            if table.kind is TableKind.PARTITIONED:
                partitioned.append((table, []))
            else:
                yield from self._of_table(table, [])
        for table, own in partitioned:
            yield from root_jobs(
                table,
                own,
                self._target,
                self._options,
                below=tables_below(table, self._children),
                making=self._making,
                take_over=self._may_take_over(table),
            )
        yield from attach_jobs(linked, self._making)

    def of_foreign_keys(self, constraints: Iterable[Constraint]) -> Iterator[NewJob]:
        """Give the jobs that make the foreign keys among ``constraints``, with those of others."""
        known = self._tables
        for key in constraints:
            if (
                key.kind is not ConstraintKind.FOREIGN_KEY
                or key.parent_oid is not None
                or key.table_oid not in known
                or key.referenced_oid not in known
            ):
                continue
            self._built.append((PG_CONSTRAINT, key.oid))
            if Making.FOREIGN_KEYS in self._making:
                gapped = key.referenced_oid in self._gapped
                yield foreign_key_job(key, known, self._target, gapped=gapped)

    def remainder(self) -> Remainder:
        """Return what there is to know later of all that was given so far."""
        views = (one for one in self._tables.values() if one.kind is TableKind.MATERIALIZED_VIEW)
        return Remainder(
            indexes=tuple(self._made),
            views=tuple(
                replace(one, populated=one.populated and one.oid not in self._empty)
                for one in views
            ),
            view_indexes=tuple(self._view_indexes),
            built=tuple(self._built),
        )

    def _of_table(self, table: Table, indexes: Sequence[Index]) -> Iterator[NewJob]:
        if table.kind is not TableKind.TABLE:
            return
        below = tables_below(table, self._children)
        upkeep = upkeep_of(
            table,
            self._options,
            below,
            target=self._target,
            visible=table.oid in self._visible,
            take_over=self._may_take_over(table),
        )
        yield from table_jobs(table, indexes, self._options, self._making, upkeep)

    def _may_take_over(self, table: Table) -> bool:
        """Tell whether the source's statistics tell of all rows that the copy has."""
        return self._takes_statistics and table.oid not in self._left_out

    def _note(self, table: Table, indexes: Iterable[Index]) -> None:
        for index in indexes:
            self._built.append((PG_CLASS, index.oid))
            if index.constraint_oid is not None:
                self._built.append((PG_CONSTRAINT, index.constraint_oid))
            if table.kind is TableKind.MATERIALIZED_VIEW:
                self._view_indexes.append(index)
            # A partitioned index that lacks a partition is invalid on the source as well.
            if index.is_valid:
                created = ddl.is_built_as_index(index)
                self._made.append(
                    BuiltIndex(index.schema, index.name, index.constraint_name, created)
                )
