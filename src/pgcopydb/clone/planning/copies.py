"""How the rows of tables are copied: in which parts, in which format, frozen or not."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from pgcopydb.clone.context import COPY
from pgcopydb.clone.planning.builds import may_skip_database
from pgcopydb.clone.planning.jobs import copy_unit, encode
from pgcopydb.model.objects import ServerFacts, Table
from pgcopydb.model.options import CopyOptions
from pgcopydb.model.parts import Part, TablePart
from pgcopydb.rules import partition
from pgcopydb.rules.copy_format import is_faster_in_binary, is_fit_for_binary
from pgcopydb.workdir.jobs import NewJob

FROZEN_FROM: Final = 64 << 10
"""Bytes from which a table in one part is emptied and loaded frozen.

The TRUNCATE costs new files, and its transaction a flush. 2,000 rows in 21 pages cost the target
2.8 ms to load and 4.0 to VACUUM (ANALYZE), or 3.4 frozen and 2.3 to ANALYZE; a single row 1.4 or
1.1 ms, which three new files are not worth.
"""

_MANY_TABLES: Final = 1_000
"""Tables from which a VACUUM of each takes longer than three new files for it: see
``builds.may_skip_database`` for what it takes."""

_INTEGERS: Final = frozenset({"smallint", "integer", "bigint"})


KeyBounds = Callable[[Table], tuple[int, int] | None]
"""Gives the lowest and highest value of a table's integer key, None when it has no rows."""


Cut = Sequence[tuple[Table, Sequence[Part]]]
"""Tables with the parts that each is copied in."""


def cut_tables(
    tables: Sequence[Table],
    source: ServerFacts,
    options: CopyOptions,
    key_bounds: KeyBounds,
    *,
    freezing: bool,
) -> Cut:
    """Return ``tables``, largest first, as ``cut_in_parts`` cuts them in a copy of just these."""
    largest_first = sorted(tables, key=lambda table: -table.bytes)
    return list(
        cut_in_parts(largest_first, source, options, key_bounds, among=tables, freezing=freezing)
    )


def is_frozen(table: Table, parts: Sequence[Part], least: int) -> bool:
    """Tell whether ``table`` is loaded frozen: by the one transaction that empties it.

    ``least`` is the bytes from which it is.
    """
    return len(parts) == 1 and table.bytes >= least


def is_visible_when_frozen(target: ServerFacts) -> bool:
    """Tell whether COPY FREEZE marks the pages as visible to all, as VACUUM would."""
    return target.version_num >= 140000


def frozen_from(target: ServerFacts, tables: int) -> int:
    """Return the bytes from which tables are loaded frozen, of which a copy has so many.

    Each VACUUM reads all of pg_class on a target that cannot be told to leave that. Where tables
    are many, all are loaded frozen there, if that makes a VACUUM needless.
    """
    spares_vacuum = is_visible_when_frozen(target) and not may_skip_database(target)
    return 0 if spares_vacuum and tables >= _MANY_TABLES else FROZEN_FROM


def copy_jobs(
    cut: Cut, frozen: AbstractSet[int], options: CopyOptions, same_types: bool
) -> Iterator[NewJob]:
    """Give a job for each part; tables whose oids are ``frozen`` are emptied and loaded frozen.

    ``same_types`` says that the target's columns are of the source's types, as binary COPY needs.
    """
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
    freezing: bool = True,
) -> Iterator[tuple[Table, tuple[Part, ...]]]:
    """Give the parts that each of ``tables`` is copied in, in a copy of all tables ``among``.

    ``freezing`` says that tables can be truncated, so that whole ones are loaded frozen.
    """
    by_default = options.split_tables_larger_than is None
    part_bytes = partition.part_size(
        (table.bytes for table in among),
        lanes=options.table_jobs,
        split_tables_larger_than=options.split_tables_larger_than,
    )
    for table in tables:
        count = partition.part_count(
            table.bytes,
            part_bytes=part_bytes,
            max_parts=options.split_max_parts,
            whole_up_to=partition.WHOLE_UP_TO if freezing and by_default else 0,
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
