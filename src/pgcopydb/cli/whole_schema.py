"""The catalogue as a copy sees it, as one JSON document."""

from collections.abc import Iterable
from typing import Any

from psycopg import Connection

from pgcopydb.cli.lists import (
    StandingSequence,
    extension_members,
    index_members,
    sequence_members,
    table_members,
)
from pgcopydb.cli.render import as_json_text
from pgcopydb.model.filters import Filters
from pgcopydb.model.objects import Column, Constraint, Index, Sequence, ServerFacts, Table
from pgcopydb.postgres import discover


def read_schema(connection: Connection[tuple[Any, ...]], filters: Filters) -> str:
    """Return the document of all that ``filters`` take; raises psycopg's errors."""
    tables = [
        table
        for table in discover.list_tables(connection)
        if filters.selects_table(table.schema, table.name)
    ]
    return as_json_text(
        {
            "server": _server_members(discover.server_facts(connection)),
            "extensions": [
                extension_members(one)
                for one in discover.list_extensions(connection)
                if filters.selects_extension(one.name)
            ],
            "tables": [_described(table, filters) for table in tables],
            "indexes": [
                index_members(index)
                for index in discover.list_indexes(connection)
                if takes_index(filters, index)
            ],
            "constraints": list(_constraints(discover.list_constraints(connection), filters)),
            "sequences": _sequences(connection, filters),
        }
    )


def takes_index(filters: Filters, index: Index) -> bool:
    """Tell whether ``filters`` take an index and the table that it is on."""
    return filters.selects_table(index.table_schema, index.table_name) and filters.selects_index(
        index.schema, index.name
    )


def _server_members(facts: ServerFacts) -> dict[str, Any]:
    return {
        "version": facts.version,
        "version_num": facts.version_num,
        "database": facts.database,
        "encoding": facts.encoding,
        "collation": facts.collation,
        "ctype": facts.ctype,
        "system_identifier": facts.system_identifier,
    }


def _described(table: Table, filters: Filters) -> dict[str, Any]:
    return table_members(table) | {
        "kind": table.kind.name.lower(),
        "copies_rows": table.has_rows and filters.copies_data(table.schema, table.name),
        "parent_oids": table.parent_oids,
        "columns": [_column_members(column) for column in table.columns],
    }


def _column_members(column: Column) -> dict[str, Any]:
    return {
        "number": column.number,
        "name": column.name,
        "type": column.type,
        "not_null": column.not_null,
        "default": column.default,
        "is_generated": column.is_generated,
        "identity": {"a": "always", "d": "by default"}.get(column.identity),
        "collation": column.collation,
    }


def _constraints(constraints: Iterable[Constraint], filters: Filters) -> Iterable[dict[str, Any]]:
    for one in constraints:
        if not filters.selects_table(one.table_schema, one.table_name):
            continue
        if one.referenced_name is not None and not filters.selects_table(
            one.referenced_schema or "", one.referenced_name
        ):
            continue
        yield {
            "oid": one.oid,
            "name": one.name,
            "kind": one.kind.name.lower(),
            "table_schema": one.table_schema,
            "table_name": one.table_name,
            "definition": one.definition,
            "is_validated": one.is_validated,
            "referenced_schema": one.referenced_schema,
            "referenced_name": one.referenced_name,
        }


def _sequences(connection: Connection[tuple[Any, ...]], filters: Filters) -> list[dict[str, Any]]:
    found = [
        one
        for one in discover.list_sequences(connection)
        if filters.selects_table(one.schema, one.name)
    ]
    return [sequence_members(one) for one in with_standing(connection, found)]


def with_standing(
    connection: Connection[tuple[Any, ...]], sequences: Iterable[Sequence]
) -> list[StandingSequence]:
    """Return ``sequences`` with where those stand that the role may read."""
    listed = list(sequences)
    values = discover.sequence_values(connection, (one for one in listed if one.readable))
    standing = {value.oid: value for value in values}
    return [StandingSequence(one, standing.get(one.oid)) for one in listed]
