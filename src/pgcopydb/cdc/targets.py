"""The target's tables, as apply needs to know them."""

from typing import Any

import psycopg

from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import Column, Table, TableKind
from pgcopydb.model.targets import TableShape, TargetColumn, TargetTable
from pgcopydb.postgres import discover
from pgcopydb.postgres.connect import reporting
from pgcopydb.sql.statements import is_exact

TargetTables = dict[tuple[str, str], TargetTable]


def read_target_tables(connection: psycopg.Connection[Any], target: Endpoint) -> TargetTables:
    """Return the tables of the target that changes can be written to, by schema and name."""
    with reporting(target, "reading the target's tables"):
        tables = discover.list_tables(connection, with_sizes=False)
        indexes = discover.list_indexes(connection)
    ordered = {
        index.table_oid
        for index in indexes
        if index.is_exclusion or index.constraint_deferrable or not index.is_immediate
    }
    return {
        (table.schema, table.name): _target_table(table, ordered=table.oid in ordered)
        for table in tables
        if table.kind in {TableKind.TABLE, TableKind.PARTITIONED}
    }


def read_shapes(connection: psycopg.Connection[Any], target: Endpoint) -> list[TableShape]:
    """Return what tells whether the target's tables were altered since they were read whole.

    It takes less time than :func:`read_target_tables`, and waits for no ALTER TABLE under way.
    """
    with reporting(target, "reading the columns of the target's tables"):
        return discover.table_shapes(connection)


def _target_table(table: Table, *, ordered: bool) -> TargetTable:
    return TargetTable(
        schema=table.schema,
        name=table.name,
        partitioned=table.kind is TableKind.PARTITIONED,
        columns={column.name: _target_column(column) for column in table.columns},
        key=table.key_columns,
        ordered=ordered,
        filenode=table.filenode,
    )


def _target_column(column: Column) -> TargetColumn:
    return TargetColumn(
        name=column.name,
        number=column.number,
        version=column.version,
        type=column.type,
        generated=column.is_generated,
        identity_always=column.identity == "a",
        exact=is_exact(column.type, column.collation),
        type_names=column.type_names,
        modifier=column.type_modifier,
        composite=column.composite,
    )
