"""Which table of the target takes the rows of a relation of the stream, and how they are found."""

from collections.abc import Mapping

from pgcopydb.errors import StateError
from pgcopydb.model.changes import Relation
from pgcopydb.model.targets import Route, TargetTable

TargetTables = Mapping[tuple[str, str], TargetTable]


def make_route(relation: Relation, tables: TargetTables) -> Route:
    """Return the route of ``relation``.

    Raises StateError when the target has no such table, or the table lacks a column: that is a
    difference between the two schemas which no statement can carry.
    """
    table = tables.get((relation.schema, relation.name))
    if table is None:
        raise StateError(
            f"target: table {relation.schema}.{relation.name} does not exist",
            hint="create it as on the source, then go on with --resume",
        )
    missing = [name for name in relation.columns if name not in table.columns]
    if missing:
        raise StateError(
            f"target: table {table.schema}.{table.name} has no column {', '.join(missing)},"
            " which the source has",
            hint="add what is missing on the target, then go on with --resume",
        )
    columns = [table.columns[name] for name in relation.columns]
    stored = tuple(n for n, column in enumerate(columns) if not column.generated)
    return Route(
        relation=relation,
        table=table,
        key=relation.key or _key_of_target(relation, table),
        full=relation.full,
        stored=stored,
        settable=tuple(n for n in stored if not columns[n].identity_always),
        always=tuple(n for n in stored if columns[n].identity_always),
    )


def _key_of_target(relation: Relation, table: TargetTable) -> tuple[int, ...]:
    """Return the target's primary key for a relation that does not tell its identity.

    wal2json and test_decoding name no key with an INSERT; what is inserted has it all the same.
    """
    if relation.full or not table.key or not set(table.key) <= set(relation.columns):
        return ()
    return tuple(relation.columns.index(name) for name in table.key)
