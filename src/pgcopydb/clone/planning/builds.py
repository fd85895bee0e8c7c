"""What is built on tables once their rows are there: indexes, constraints, vacuum."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from pgcopydb.clone.context import BUILD
from pgcopydb.clone.planning.jobs import (
    Build,
    Making,
    Step,
    Upkeep,
    constraints_unit,
    copy_unit,
    encode,
    indexes_unit,
)
from pgcopydb.model.objects import Index, ServerFacts, Table, TableKind
from pgcopydb.model.options import CopyOptions
from pgcopydb.sql import ddl
from pgcopydb.workdir.jobs import NewJob

SMALL_TABLE: Final = 32 << 20
"""Bytes up to which all that is built on a table is one job."""

VACUUMED_FROM: Final = 1 << 20
"""Bytes from which a table loaded frozen is vacuumed all the same.

Every page with rows is visible to all already. What is left for a vacuum are the pages, 64 at most,
by which the server had extended the table for more rows than came.
"""


def is_dumped(index: Index) -> bool:
    """Tell whether pg_dump would write it: an index whose building failed is nobody's loss."""
    return index.is_valid or index.is_partitioned


def table_jobs(
    table: Table,
    indexes: Sequence[Index],
    options: CopyOptions,
    making: frozenset[Making],
    upkeep: Upkeep,
) -> Iterator[NewJob]:
    """Give the jobs that build what ``table`` has, and then its ``upkeep``: one if it is small."""
    creating = _create_steps(indexes, options, making)
    completing = _complete_steps(table, indexes, options, making)
    with_constraint = _indexes_of_constraints(indexes, making)
    if Making.VACUUM not in making:
        upkeep = Upkeep()
    if len(creating) <= 1 or table.bytes <= SMALL_TABLE:
        if creating or completing or upkeep != Upkeep():
            yield _build_job(
                table,
                Build(steps=(*creating, *completing), upkeep=upkeep),
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
        Build(steps=tuple(completing), upkeep=upkeep),
        indexes=with_constraint,
        unit=constraints_unit(table.oid),
        waits_for=[indexes_unit(table.oid)],
    )


def root_jobs(
    table: Table,
    indexes: Sequence[Index],
    target: ServerFacts,
    options: CopyOptions,
    *,
    below: Sequence[Table],
    making: frozenset[Making],
    take_over: bool,
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
        statement = ddl.analyze(table.schema, table.name, only=knows_only(target))
        yield _build_job(
            table,
            Build(upkeep=Upkeep(analyze=statement, may_be_taken_over=take_over)),
            unit=f"analyze {table.oid}",
            waits_for=[constraints_unit(one.oid) for one in (table, *leaves)],
        )


def attach_jobs(indexes: Sequence[Index], making: frozenset[Making]) -> Iterator[NewJob]:
    """Give the jobs that attach the indexes of partitions to those of their parents."""
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


def knows_only(target: ServerFacts) -> bool:
    """Tell whether VACUUM and ANALYZE would go through the tables below one without ONLY."""
    return target.version_num >= 180000


def may_skip_database(target: ServerFacts) -> bool:
    """Tell whether VACUUM can be kept from reading all of pg_class for each table.

    With 20,000 tables, and as many indexes and TOAST tables, a VACUUM of one takes 32 ms, and 0.8
    to 1.5 ms without that; several at once wait for each other.
    """
    return target.version_num >= 160000


def upkeep_of(
    table: Table,
    options: CopyOptions,
    below: Sequence[Table],
    *,
    target: ServerFacts,
    visible: bool,
    take_over: bool,
) -> Upkeep:
    """Return the upkeep of a table; a small one whose rows are all ``visible`` needs no VACUUM.

    ``take_over`` says that statistics may come from the source.
    """
    if options.skip_vacuum or (table.access_method == "heap" and table.pages == 0):
        return Upkeep()
    analyze = not options.skip_analyze and not _any_foreign(below)
    vacuum = not visible or table.bytes >= VACUUMED_FROM
    at_once = vacuum and analyze and not take_over
    only = knows_only(target)
    of_database = not may_skip_database(target)
    name = (table.schema, table.name)
    vacuuming = ddl.vacuum(*name, analyze=at_once, only=only, of_database=of_database)
    return Upkeep(
        vacuum=vacuuming if vacuum else None,
        analyze=ddl.analyze(*name, only=only) if analyze and not at_once else None,
        may_be_taken_over=analyze and take_over,
        is_counted=not visible,
    )


def _any_foreign(below: Iterable[Table]) -> bool:
    """Tell whether ANALYZE of the table above would read rows from a third server.

    The target may not reach it, and need not for this copy.
    """
    return any(table.kind is TableKind.FOREIGN for table in below)


def children_of(tables: Iterable[Table]) -> Mapping[int, Sequence[Table]]:
    """Return the partitions and inheriting tables of each table that has any, by its oid."""
    children: dict[int, list[Table]] = defaultdict(list)
    for table in tables:
        for parent in table.parent_oids:
            children[parent].append(table)
    return children


def tables_below(root: Table, children: Mapping[int, Sequence[Table]]) -> list[Table]:
    """Return the partitions and inheriting tables of ``root``, of every level."""
    found: dict[int, Table] = {}
    waiting = [root]
    while waiting:
        for child in children.get(waiting.pop().oid, ()):
            if child.oid not in found:
                found[child.oid] = child
                waiting.append(child)
    return list(found.values())
