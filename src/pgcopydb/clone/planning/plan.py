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

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from pgcopydb.clone.planning.builds import (
    attach_jobs,
    children_of,
    is_dumped,
    knows_only,
    root_jobs,
    table_jobs,
    tables_below,
    upkeep_of,
)
from pgcopydb.clone.planning.copies import KeyBounds, copy_jobs, cut_tables, is_frozen
from pgcopydb.clone.planning.foreign_keys import foreign_key_job
from pgcopydb.clone.planning.jobs import EVERYTHING, BuiltIndex, Making, Plan, Remainder
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

_FIRST_VISIBLE_WHEN_FROZEN_VERSION: Final = 140000
"""The server version whose COPY FREEZE marks the pages as visible to all, as VACUUM would."""

_FIRST_TAKING_STATISTICS_VERSION: Final = 180000
"""The server version from which the planner's statistics can be set from outside."""


def plan_copy(
    tables: Sequence[Table],
    indexes: Sequence[Index],
    constraints: Sequence[Constraint],
    *,
    source: ServerFacts,
    target: ServerFacts,
    options: CopyOptions,
    key_bounds: KeyBounds,
    making: frozenset[Making] = EVERYTHING,
    empty: frozenset[int] = frozenset(),
    gapped: frozenset[int] = frozenset(),
    same_types: bool = True,
    freezing: bool = True,
) -> Plan:
    """Return the jobs of ``making`` for ``tables``, which are those of the snapshot.

    Those whose oids are in ``empty`` are made without their rows, those in ``gapped`` without some
    of them. ``same_types`` says that the target's tables are made by this copy, ``freezing`` that
    they can be truncated.
    """
    known = {table.oid: table for table in tables}
    own = [index for index in indexes if index.table_oid in known and is_dumped(index)]
    of_table: dict[int, list[Index]] = defaultdict(list)
    for index in own:
        of_table[index.table_oid].append(index)
    with_rows = [
        table
        for table in tables
        if table.has_rows and Making.ROWS in making and table.oid not in empty
    ]
    parts = cut_tables(with_rows, source, options, key_bounds, freezing=freezing)
    frozen = {one.oid for one, cut in parts if freezing and is_frozen(one, cut)}
    copies = list(copy_jobs(parts, frozen, options, same_types))
    visible = frozen if target.version_num >= _FIRST_VISIBLE_WHEN_FROZEN_VERSION else set()
    foreign_keys = [
        key
        for key in constraints
        if key.kind is ConstraintKind.FOREIGN_KEY
        and key.parent_oid is None
        and key.table_oid in known
        and key.referenced_oid in known
    ]
    taking_over = (
        same_types
        and not options.no_statistics
        and target.version_num >= _FIRST_TAKING_STATISTICS_VERSION
    )
    left_out = empty | gapped
    jobs = [*copies]
    children = children_of(tables)
    for table in tables:
        if table.kind is TableKind.TABLE:
            upkeep = upkeep_of(
                table,
                options,
                tables_below(table, children),
                only=knows_only(target),
                visible=table.oid in visible,
                take_over=taking_over and table.oid not in left_out,
            )
            jobs += table_jobs(table, of_table[table.oid], options, making, upkeep)
        elif table.kind is TableKind.PARTITIONED:
            jobs += root_jobs(
                table,
                of_table[table.oid],
                target,
                options,
                below=tables_below(table, children),
                making=making,
                take_over=taking_over and table.oid not in left_out,
            )
    jobs += attach_jobs(own, making)
    if Making.FOREIGN_KEYS in making:
        jobs += [
            foreign_key_job(key, known, target, gapped=key.referenced_oid in gapped)
            for key in foreign_keys
        ]
    return Plan(
        jobs=tuple(jobs),
        remainder=_remainder(known, own, foreign_keys, empty),
        bytes=sum(job.weight for job in copies if not job.done),
        parts=sum(not job.done for job in copies),
    )


def _remainder(
    known: Mapping[int, Table],
    indexes: Sequence[Index],
    foreign_keys: Sequence[Constraint],
    empty: frozenset[int],
) -> Remainder:
    views = {
        oid: replace(table, populated=table.populated and oid not in empty)
        for oid, table in known.items()
        if table.kind is TableKind.MATERIALIZED_VIEW
    }
    built = [(PG_CLASS, index.oid) for index in indexes]
    built += [
        (PG_CONSTRAINT, index.constraint_oid)
        for index in indexes
        if index.constraint_oid is not None
    ]
    built += [(PG_CONSTRAINT, key.oid) for key in foreign_keys]
    return Remainder(
        indexes=tuple(
            BuiltIndex(
                index.schema, index.name, index.constraint_name, ddl.is_built_as_index(index)
            )
            for index in indexes
            # A partitioned index that lacks a partition is invalid on the source as well.
            if index.is_valid
        ),
        views=tuple(views.values()),
        view_indexes=tuple(index for index in indexes if index.table_oid in views),
        built=tuple(built),
    )
