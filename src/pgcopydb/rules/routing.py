"""Which table of the target takes the rows of a relation of the stream, and how they are found."""

from collections.abc import Mapping, Sequence

from pgcopydb.errors import StateError
from pgcopydb.model.changes import Relation
from pgcopydb.model.targets import Route, TargetTable
from pgcopydb.rules.column_types import takes

TargetTables = Mapping[tuple[str, str], TargetTable]


def make_route(
    relation: Relation,
    tables: TargetTables,
    *,
    home: tuple[str, str] | None = None,
    partitions: frozenset[tuple[str, str]] = frozenset(),
    generated: frozenset[str] | None = None,
) -> Route:
    """Return the route of ``relation``: to the table of its name, or to ``home`` instead.

    ``partitions`` are the tables of the source that go to ``home`` together, ``generated`` the
    columns that the source computes, None where they are not known.
    Raises StateError when the target has no such table, or the table lacks a column or has one of
    a type that does not take the source's values, or one that it computes by itself alone.
    """
    table = tables.get(home or (relation.schema, relation.name))
    if table is None:
        raise StateError(
            f"target: table {relation.schema}.{relation.name} does not exist",
            hint="create it there as it is on the source, then go on with --resume",
        )
    found = _differences(relation, table, generated)
    if found:
        raise StateError(
            f"table {table.schema}.{table.name} of the source has changed, and the target's has"
            f" not: {'; '.join(found)}",
            hint="everything before that is applied: change the table on the target in the same"
            " way, then go on with --resume",
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
        partitions=partitions,
    )


def tables_to_truncate(routes: Sequence[Route]) -> list[TargetTable]:
    """Return the tables that a TRUNCATE of the relations of ``routes`` empties, each once.

    Raises StateError for a single partition whose rows are among those of others on the target.
    """
    named = {(route.relation.schema, route.relation.name) for route in routes}
    for route in routes:
        if not route.partitions <= named:
            relation, table = route.relation, route.table
            raise StateError(
                f"source: a TRUNCATE of {relation.schema}.{relation.name} alone, which is no table"
                f" of its own on the target: its rows are in {table.schema}.{table.name} there",
                hint="everything before that is applied: make that partition on the target too,"
                " then go on with --resume",
            )
    return list(dict.fromkeys(route.table for route in routes))


def _differences(
    relation: Relation, table: TargetTable, generated: frozenset[str] | None
) -> list[str]:
    """Say what the target's table needs before it can take the relation's rows."""
    modifiers = relation.modifiers or (None,) * len(relation.columns)
    found = []
    for name, kind, modifier in zip(relation.columns, relation.types, modifiers, strict=True):
        column = table.columns.get(name)
        if column is None:
            found.append(f"it lacks column {name}{f' {kind}' if kind else ''}")
        elif not takes(column, kind, modifier):
            other = "" if kind not in column.type_names else " with another length or precision"
            found.append(f"column {name} is {column.type}, on the source {kind}{other}")
        elif column.generated and generated is not None and name not in generated:
            found.append(f"column {name} is generated, on the source it is not")
    return found


def _key_of_target(relation: Relation, table: TargetTable) -> tuple[int, ...]:
    """Return the target's primary key for a relation that does not tell its identity.

    wal2json and test_decoding name no key with an INSERT; what is inserted has it all the same.
    """
    if relation.full or not table.key or not set(table.key) <= set(relation.columns):
        return ()
    return tuple(relation.columns.index(name) for name in table.key)
