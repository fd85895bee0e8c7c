"""Reads tables whole on both sides: what proves that they are equal where the stream does not.

To be done when everything is applied and the source's writers have stopped: tables that are still
written then differ as well.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from pgcopydb.cdc.capture import read_capture, read_tables
from pgcopydb.cdc.targets import TargetTables, read_target_tables
from pgcopydb.errors import some_clauses
from pgcopydb.model.capture import FollowedTable
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import Table, TableKind
from pgcopydb.model.targets import TargetTable
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.digest import RowTooLongError, TableDigest, table_digest
from pgcopydb.postgres.session import read_tables_only, use_raw_encoding
from pgcopydb.sql.digest import ComparedColumn, compared_column, with_long_values
from pgcopydb.workdir.directory import WorkDirectory

Connection = psycopg.Connection[Any]
Name = tuple[str, str]

_WITH_ROWS = frozenset({TableKind.TABLE, TableKind.PARTITIONED})


def differing_tables(
    work: WorkDirectory, source: Endpoint, target: Endpoint, names: Iterable[Name]
) -> str:
    """Say which of the tables ``names`` differ and in what, "" for none.

    Raises as :func:`find_differences` does.
    """
    capture = read_capture(work)
    with connect(source, purpose="final check") as connection:
        tables = read_tables(connection, source, capture.filters)
    found = find_differences(source, target, tables, names, followed=capture.tables)
    return some_clauses([f"{'.'.join(name)} {why}" for name, why in found.items()])


def find_differences(
    source: Endpoint,
    target: Endpoint,
    tables: Iterable[Table],
    names: Iterable[Name],
    *,
    followed: Iterable[FollowedTable],
) -> dict[Name, str]:
    """Say of each table of ``names`` that is not the same on both sides in what it differs.

    ``tables`` are those of the source now, ``followed`` those of when the capture began. Raises the
    side's error, and SqlError for a single value that is too long to be compared.
    """
    here = {(table.schema, table.name): table for table in tables if table.kind in _WITH_ROWS}
    before = {(table.schema, table.name): table for table in followed}
    different = {}
    with (
        _reading(source) as ours,
        _reading(target) as theirs,
        ThreadPoolExecutor(1) as reader,
        _cancelled_on_error(theirs),
    ):
        sides = _Sides(source, ours, target, theirs, reader)
        there = read_target_tables(theirs, target)
        for name in names:
            difference = _shape_difference(name, before.get(name), here.get(name), there)
            if not difference and name in here:
                difference = sides.difference(here[name], there[name])
            if difference:
                different[name] = difference
    return different


@contextmanager
def _reading(endpoint: Endpoint) -> Iterator[Connection]:
    """Open a session that reads tables alone, as they are: no view that has taken one's place."""
    with connect(endpoint, purpose="final check") as connection:
        with reporting(endpoint, "preparing the session"):
            use_raw_encoding(connection)
            read_tables_only(connection)
        yield connection


@dataclass(frozen=True, slots=True)
class _Sides:
    """A session on each side, of which ``reader``, a single thread, waits for the target's."""

    source: Endpoint
    here: Connection
    target: Endpoint
    there: Connection
    reader: ThreadPoolExecutor

    def difference(self, ours: Table, theirs: TargetTable) -> str:
        """Say how the rows of a table that has the same columns on both sides differ, "" if not."""
        columns = [
            compared_column(column.name, column.type, theirs.columns[column.name].type)
            for column in ours.columns
        ]
        try:
            return _difference(*self._read(ours, theirs, columns))
        except RowTooLongError:
            return _difference(*self._read(ours, theirs, with_long_values(columns)))

    def _read(
        self, ours: Table, theirs: TargetTable, columns: Sequence[ComparedColumn]
    ) -> tuple[TableDigest, TableDigest]:
        name = (ours.schema, ours.name)
        partitioned = ours.kind is TableKind.PARTITIONED
        other = self.reader.submit(
            table_digest,
            self.there,
            self.target,
            name,
            columns,
            partitioned=theirs.partitioned,
        )
        try:
            one = table_digest(self.here, self.source, name, columns, partitioned=partitioned)
        except RowTooLongError:
            wait([other])  # its session is read from again
            raise
        return one, other.result()


@contextmanager
def _cancelled_on_error(connection: Connection) -> Iterator[None]:
    """Cancel what another thread waits for on ``connection`` when the block fails or is stopped."""
    try:
        yield
    except BaseException:
        connection.cancel_safe(timeout=2)
        raise


def _shape_difference(
    name: Name, before: FollowedTable | None, here: Table | None, there: TargetTables
) -> str:
    if here is None:
        return "the target still has it" if name in there else ""
    if name not in there:
        return "the target lacks it"
    columns = [column.name for column in here.columns]
    missing = [column for column in columns if column not in there[name].columns]
    if missing:
        return f"the target lacks column {', '.join(missing)}"
    # Columns that only the target ever had are its own business.
    gone = [one for one in there[name].columns if one not in columns and before and before.had(one)]
    return f"the target still has column {', '.join(gone)}" if gone else ""


def _difference(ours: TableDigest, theirs: TableDigest) -> str:
    if ours == theirs:
        return ""
    if ours.rows == theirs.rows:
        return f"its {ours.rows:,} rows are not the same"
    return f"{ours.rows:,} rows on the source, {theirs.rows:,} on the target"
