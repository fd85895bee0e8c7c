"""What there is to do, table by table: the catalogue becomes jobs.

Pure but for the bounds of integer keys, which are asked for through a function. Per table there is
a *unit* of parts and, after it, what is built on it:

::

    copy T ──► indexes T ──► constraints T ──► vacuum
                                  │
           (of every partition)   └──► attach P

A small table's indexes, constraints and vacuum are one job, so that thousands of them are not
thousands of round trips; a large one's are separate, so that several are built at once.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pgcopydb.clone.context import BUILD, COPY, FOREIGN_KEYS
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
from pgcopydb.model.parts import Part, TablePart
from pgcopydb.rules import partition
from pgcopydb.rules.copy_format import is_faster_in_binary, is_fit_for_binary
from pgcopydb.sql import ddl
from pgcopydb.workdir.jobs import NewJob

SMALL_TABLE: Final = 32 << 20
"""Bytes up to which all that is built on a table is one job."""

FROZEN_FROM: Final = 64 << 10
"""Bytes from which a table in one part is emptied and loaded frozen.

The TRUNCATE costs new files, and its transaction a flush. 2,000 rows in 21 pages cost the target
2.8 ms to load and 4.0 to VACUUM (ANALYZE), or 3.4 frozen and 2.3 to ANALYZE; a single row 1.4 or
1.1 ms, which three new files are not worth.
"""

VACUUMED_FROM: Final = 1 << 20
"""Bytes from which a table loaded frozen is vacuumed all the same.

Every page with rows is visible to all already. What is left for a vacuum are the pages, 64 at most,
by which the server had extended the table for more rows than came.
"""

_FIRST_VISIBLE_WHEN_FROZEN_VERSION: Final = 140000
"""The server version whose COPY FREEZE marks the pages as visible to all, as VACUUM would."""

_FIRST_NOT_VALID_ON_PARTITIONED_VERSION: Final = 180000

_INTEGERS: Final = frozenset({"smallint", "integer", "bigint"})


class Making(StrEnum):
    """What the jobs of a plan are for. A whole copy makes all of it, a part of one does some."""

    ROWS = "rows"
    INDEXES = "indexes"
    CONSTRAINTS = "constraints"
    FOREIGN_KEYS = "foreign keys"
    VACUUM = "vacuum"


EVERYTHING: Final = frozenset(Making)

KeyBounds = Callable[[Table], tuple[int, int] | None]
"""Gives the lowest and highest value of a table's integer key, None when it has no rows."""


class Step(Struct, frozen=True, kw_only=True):
    """Statements that belong together, and the object that shows that they were run."""

    statements: tuple[str, ...]
    index: tuple[str, str] | None = None
    constraint: tuple[str, str, str] | None = None
    """Schema and table, and the constraint's name."""


class Build(Struct, frozen=True, kw_only=True):
    """What a job of the pool BUILD runs: ``steps`` in one transaction, then ``afterwards``."""

    steps: tuple[Step, ...] = ()
    afterwards: tuple[str, ...] = ()


class ForeignKey(Struct, frozen=True, kw_only=True):
    """What a job of the pool FOREIGN_KEYS makes."""

    schema: str
    table: str
    name: str
    create: str
    create_not_valid: str | None
    """None where a foreign key can only be made checked: on a partitioned table, before 18."""
    lock: str
    validate: str | None
    """None for a foreign key that is not validated on the source either."""
    is_gapped: bool = False
    """Whether filters leave out rows of the table that it refers to."""


class BuiltIndex(Struct, frozen=True):
    """An index that must be on the target in the end, with the constraint that it serves."""

    schema: str
    name: str
    constraint: str | None
    created: bool = True
    """Whether the index is made first and the constraint of it; some constraints make their own."""


class Remainder(Struct, frozen=True, kw_only=True):
    """What later steps, and a run that resumes this one, have to know of the catalogue."""

    indexes: tuple[BuiltIndex, ...] = ()
    views: tuple[Table, ...] = ()
    """Materialised views."""
    view_indexes: tuple[Index, ...] = ()
    built: tuple[tuple[int, int], ...] = ()
    """Catalog and oid of each object that pg_restore must leave to this program."""


class Plan(Struct, frozen=True, kw_only=True):
    """All jobs of a copy; ``bytes`` and ``parts`` are what there is to copy."""

    jobs: tuple[NewJob, ...]
    remainder: Remainder
    bytes: int
    parts: int


def encode(parameters: TablePart | Build | ForeignKey) -> bytes:
    """Return a job's parameters as they are kept in the queue."""
    return msgspec.json.encode(parameters)


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
    own = [index for index in indexes if index.table_oid in known and _is_dumped(index)]
    of_table: dict[int, list[Index]] = defaultdict(list)
    for index in own:
        of_table[index.table_oid].append(index)
    with_rows = [
        table
        for table in tables
        if table.has_rows and Making.ROWS in making and table.oid not in empty
    ]
    parts = _cut(with_rows, source, options, key_bounds)
    frozen = {one.oid for one, cut in parts if freezing and _is_frozen(one, cut)}
    copies = list(_copy_jobs(parts, frozen, options, same_types))
    visible = frozen if target.version_num >= _FIRST_VISIBLE_WHEN_FROZEN_VERSION else set()
    foreign_keys = [
        key
        for key in constraints
        if key.kind is ConstraintKind.FOREIGN_KEY
        and key.parent_oid is None
        and key.table_oid in known
        and key.referenced_oid in known
    ]
    jobs = [*copies]
    children = _children(tables)
    for table in tables:
        if table.kind is TableKind.TABLE:
            vacuum = _vacuum(table, options, _below(table, children), visible=table.oid in visible)
            jobs += _table_jobs(table, of_table[table.oid], options, making, vacuum)
        elif table.kind is TableKind.PARTITIONED:
            jobs += _root_jobs(
                table,
                of_table[table.oid],
                target,
                options,
                below=_below(table, children),
                making=making,
            )
    jobs += _attach_jobs(own, making)
    if Making.FOREIGN_KEYS in making:
        jobs += [
            _foreign_key_job(key, known, target, gapped=key.referenced_oid in gapped)
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


def copy_unit(oid: int) -> str:
    """Return the unit of all parts of a table."""
    return f"copy {oid}"


def indexes_unit(oid: int) -> str:
    """Return the unit of the indexes of a table."""
    return f"indexes {oid}"


def constraints_unit(oid: int) -> str:
    """Return the unit after which everything that a table's indexes serve is there."""
    return f"constraints {oid}"


# -- parts ------------------------------------------------------------------------------------


_Cut = Sequence[tuple[Table, Sequence[Part]]]


def _cut(
    tables: Sequence[Table], source: ServerFacts, options: CopyOptions, key_bounds: KeyBounds
) -> _Cut:
    largest_first = sorted(tables, key=lambda table: -table.bytes)
    return list(cut_in_parts(largest_first, source, options, key_bounds, among=tables))


def _is_frozen(table: Table, parts: Sequence[Part]) -> bool:
    """Tell whether ``table`` is loaded frozen: by the one transaction that empties it."""
    return len(parts) == 1 and table.bytes >= FROZEN_FROM


def _copy_jobs(
    cut: _Cut, frozen: AbstractSet[int], options: CopyOptions, same_types: bool
) -> Iterator[NewJob]:
    for table, parts in cut:
        binary = _in_binary(table, options, same_types)
        for part in parts:
            yield _copy_job(table, part, binary, frozen=table.oid in frozen)


def _in_binary(table: Table, options: CopyOptions, same_types: bool) -> bool:
    if options.use_copy_binary:
        return is_fit_for_binary(table.copied_columns)
    return same_types and is_faster_in_binary(table.copied_columns)


def cut_in_parts(
    tables: Iterable[Table],
    source: ServerFacts,
    options: CopyOptions,
    key_bounds: KeyBounds,
    *,
    among: Iterable[Table],
) -> Iterator[tuple[Table, tuple[Part, ...]]]:
    """Give the parts that each of ``tables`` is copied in, in a copy of all tables ``among``."""
    part_bytes = partition.part_size(
        (table.bytes for table in among),
        lanes=options.table_jobs,
        split_tables_larger_than=options.split_tables_larger_than,
    )
    for table in tables:
        count = partition.part_count(
            table.bytes, part_bytes=part_bytes, max_parts=options.split_max_parts
        )
        yield table, _parts(table, count, source, options, key_bounds)


def _parts(
    table: Table, count: int, source: ServerFacts, options: CopyOptions, key_bounds: KeyBounds
) -> tuple[Part, ...]:
    if count == 1:
        return partition.whole_table(table.bytes)
    by_block = (
        not options.skip_split_by_ctid
        and source.version_num >= partition.FIRST_CTID_RANGE_VERSION
        and table.access_method == "heap"
    )
    if by_block:
        return partition.block_parts(table.pages, count, size=table.bytes)
    column = integer_key(table)
    bounds = key_bounds(table) if column is not None else None
    if column is None or bounds is None:
        return partition.whole_table(table.bytes)
    return partition.key_parts(column, *bounds, count, size=table.bytes)


def integer_key(table: Table) -> str | None:
    """Return the column of a primary key that is one integer, None when there is none such."""
    if len(table.key_columns) != 1:
        return None
    (name,) = table.key_columns
    types = {column.name: column.type for column in table.columns}
    return name if types[name] in _INTEGERS else None


def _copy_job(table: Table, part: Part, binary: bool, *, frozen: bool) -> NewJob:
    return NewJob(
        pool=COPY,
        kind="copy",
        unit=copy_unit(table.oid),
        oid=table.oid,
        schema=table.schema,
        name=table.name,
        part=part.number,
        weight=part.bytes,
        # A heap without a page has no row in the snapshot either: nothing to copy.
        done=table.access_method == "heap" and table.pages == 0,
        parameters=encode(
            TablePart(
                table_oid=table.oid,
                schema=table.schema,
                name=table.name,
                columns=tuple(column.name for column in table.copied_columns),
                part=part,
                freeze=frozen,
                binary=binary,
            )
        ),
    )


# -- what is built on tables --------------------------------------------------------------------


def _is_dumped(index: Index) -> bool:
    """Tell whether pg_dump would write it: an index whose building failed is nobody's loss."""
    return index.is_valid or index.is_partitioned


def _table_jobs(
    table: Table,
    indexes: Sequence[Index],
    options: CopyOptions,
    making: frozenset[Making],
    vacuum: str | None,
) -> Iterator[NewJob]:
    creating = _create_steps(indexes, options, making)
    completing = _complete_steps(table, indexes, options, making)
    with_constraint = _indexes_of_constraints(indexes, making)
    afterwards = (vacuum,) if Making.VACUUM in making and vacuum is not None else ()
    if len(creating) <= 1 or table.bytes <= SMALL_TABLE:
        if creating or completing or afterwards:
            yield _build_job(
                table,
                Build(steps=(*creating, *completing), afterwards=afterwards),
                indexes=len(creating) + with_constraint,
                unit=constraints_unit(table.oid),
                waits_for=[copy_unit(table.oid)],
            )
        return
    for step in creating:
        yield _build_job(
            table,
            Build(steps=(step,)),
            indexes=1,
            unit=indexes_unit(table.oid),
            waits_for=[copy_unit(table.oid)],
        )
    # After all indexes: adding a constraint locks the table against those still being built.
    yield _build_job(
        table,
        Build(steps=tuple(completing), afterwards=afterwards),
        indexes=with_constraint,
        unit=constraints_unit(table.oid),
        waits_for=[indexes_unit(table.oid)],
    )


def _root_jobs(
    table: Table,
    indexes: Sequence[Index],
    target: ServerFacts,
    options: CopyOptions,
    *,
    below: Sequence[Table],
    making: frozenset[Making],
) -> Iterator[NewJob]:
    """The indexes of a partitioned table are made empty; attaching its partitions' fills them."""
    leaves = [one for one in below if one.has_rows]
    creating = _create_steps(indexes, options, making)
    completing = _complete_steps(table, indexes, options, making)
    if creating or completing:
        yield _build_job(
            table,
            Build(steps=(*creating, *completing)),
            unit=constraints_unit(table.oid),
            waits_for=[copy_unit(leaf.oid) for leaf in leaves],
        )
    analyze = not options.skip_vacuum and not options.skip_analyze and not _any_foreign(below)
    if Making.VACUUM in making and analyze:
        statement = ddl.analyze_root(table.schema, table.name, only=target.version_num >= 180000)
        yield _build_job(
            table,
            Build(afterwards=(statement,)),
            unit=f"analyze {table.oid}",
            waits_for=[constraints_unit(one.oid) for one in (table, *leaves)],
        )


def _attach_jobs(indexes: Sequence[Index], making: frozenset[Making]) -> Iterator[NewJob]:
    by_oid = {index.oid: index for index in indexes}
    children: dict[int, list[Index]] = defaultdict(list)
    for index in indexes:
        if index.parent_oid not in by_oid:
            continue
        plain = index.constraint_oid is None and by_oid[index.parent_oid].constraint_oid is None
        if (Making.INDEXES if plain else Making.CONSTRAINTS) in making:
            children[index.parent_oid].append(index)
    for parent_oid, attached in children.items():
        parent = by_oid[parent_oid]
        yield NewJob(
            pool=BUILD,
            kind="attach",
            unit=f"attach {parent_oid}",
            oid=parent.table_oid,
            schema=parent.table_schema,
            name=parent.table_name,
            items=0,
            parameters=encode(
                Build(
                    steps=tuple(
                        Step(statements=(ddl.attach_index(parent, child),)) for child in attached
                    )
                )
            ),
            waits_for=[
                constraints_unit(parent.table_oid),
                *(constraints_unit(child.table_oid) for child in attached),
            ],
        )


def _indexes_of_constraints(indexes: Sequence[Index], making: frozenset[Making]) -> int:
    """Return how many indexes come into being only with the constraint that they serve."""
    if Making.CONSTRAINTS not in making:
        return 0
    return sum(not ddl.is_built_as_index(index) for index in indexes)


def _build_job(
    table: Table, build: Build, *, unit: str, waits_for: Iterable[str], indexes: int = 0
) -> NewJob:
    return NewJob(
        pool=BUILD,
        kind="build",
        unit=unit,
        oid=table.oid,
        schema=table.schema,
        name=table.name,
        weight=table.bytes,
        items=indexes,
        parameters=encode(build),
        waits_for=tuple(waits_for),
    )


def create_step(index: Index, options: CopyOptions) -> Step:
    """Return the step that creates ``index``."""
    tablespace = None if options.no_tablespaces else index.tablespace
    return Step(
        statements=tuple(ddl.in_tablespace(tablespace, index.definition)),
        index=(index.schema, index.name),
    )


def _create_steps(
    indexes: Sequence[Index], options: CopyOptions, making: frozenset[Making]
) -> list[Step]:
    if Making.INDEXES not in making:
        return []
    return [create_step(index, options) for index in indexes if ddl.is_built_as_index(index)]


def _complete_steps(
    table: Table, indexes: Sequence[Index], options: CopyOptions, making: frozenset[Making]
) -> list[Step]:
    if Making.CONSTRAINTS not in making:
        return []
    return list(_constraint_steps(table, indexes, options))


def _constraint_steps(
    table: Table, indexes: Sequence[Index], options: CopyOptions
) -> Iterator[Step]:
    """Constraints from ready indexes are one ALTER TABLE; those that build their own follow."""
    ready = [
        index
        for index in indexes
        if index.constraint_oid is not None and ddl.is_built_as_index(index)
    ]
    building = [index for index in indexes if not ddl.is_built_as_index(index)]
    for index in (*ready, *building):
        clause = ddl.add_constraint_clause(index)
        statement = ddl.alter_table_only(table.schema, table.name, [clause])
        own = not ddl.is_built_as_index(index) and not options.no_tablespaces
        yield Step(
            statements=tuple(ddl.in_tablespace(index.tablespace if own else None, statement)),
            constraint=(table.schema, table.name, index.constraint_name or index.name),
        )
    properties = [statement for index in indexes for statement in ddl.index_properties(index)]
    if properties:
        yield Step(statements=tuple(properties))


def _vacuum(
    table: Table, options: CopyOptions, below: Sequence[Table], *, visible: bool
) -> str | None:
    """Return the VACUUM of a table; ANALYZE does for a small one whose rows are all ``visible``."""
    if options.skip_vacuum or (table.access_method == "heap" and table.pages == 0):
        return None
    analyze = not options.skip_analyze and not _any_foreign(below)
    if not visible or table.bytes >= VACUUMED_FROM:
        return ddl.vacuum(table.schema, table.name, analyze=analyze)
    return ddl.analyze(table.schema, table.name) if analyze else None


def _any_foreign(below: Iterable[Table]) -> bool:
    """Tell whether ANALYZE of the table above would read rows from a third server.

    The target may not reach it, and need not for this copy.
    """
    return any(table.kind is TableKind.FOREIGN for table in below)


def _children(tables: Iterable[Table]) -> Mapping[int, Sequence[Table]]:
    """Return the partitions and inheriting tables of each table that has any, by its oid."""
    children: dict[int, list[Table]] = defaultdict(list)
    for table in tables:
        for parent in table.parent_oids:
            children[parent].append(table)
    return children


def _below(root: Table, children: Mapping[int, Sequence[Table]]) -> list[Table]:
    """Return the partitions and inheriting tables of ``root``, of every level."""
    found: dict[int, Table] = {}
    waiting = [root]
    while waiting:
        for child in children.get(waiting.pop().oid, ()):
            if child.oid not in found:
                found[child.oid] = child
                waiting.append(child)
    return list(found.values())


# -- foreign keys -------------------------------------------------------------------------------


def _foreign_key_job(
    key: Constraint, known: Mapping[int, Table], target: ServerFacts, *, gapped: bool
) -> NewJob:
    table = known[key.table_oid]
    assert key.referenced_oid is not None
    referenced = known[key.referenced_oid]
    checked_here = not key.definition.endswith(ddl.NOT_VALID) and key.is_validated
    always_checked = (
        table.kind is TableKind.PARTITIONED
        and target.version_num < _FIRST_NOT_VALID_ON_PARTITIONED_VERSION
    )
    return NewJob(
        pool=FOREIGN_KEYS,
        kind="foreign key",
        unit=f"foreign key {key.oid}",
        oid=key.table_oid,
        schema=key.table_schema,
        name=key.name,
        weight=table.bytes,
        parameters=encode(
            ForeignKey(
                schema=key.table_schema,
                table=key.table_name,
                name=key.name,
                create=ddl.add_foreign_key(key),
                create_not_valid=(
                    None if always_checked else ddl.add_foreign_key(key, not_valid=True)
                ),
                lock=ddl.lock_for_foreign_key(
                    [(table.schema, table.name), (referenced.schema, referenced.name)]
                ),
                validate=ddl.validate_constraint(key.table_schema, key.table_name, key.name)
                if checked_here
                else None,
                is_gapped=gapped,
            )
        ),
    )
