"""Reads what a database holds from its catalogue; every answer is one snapshot of one query.

Called in a transaction with an imported snapshot, the lists are those of that snapshot; sizes and
definitions are always the server's newest. Objects of extensions, of the system, of this program's
own schema and temporary ones are left out everywhere. The functions raise psycopg's errors: callers
wrap them in ``connect.reporting`` with what they were doing.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from psycopg import Connection, Cursor, ServerCursor, sql
from psycopg.rows import dict_row

from pgcopydb.errors import ConfigurationError, some_of
from pgcopydb.model.endpoint import Side
from pgcopydb.model.objects import (
    Collation,
    Column,
    ConfigurationTable,
    Constraint,
    ConstraintKind,
    Database,
    Extension,
    ExtensionVersion,
    Index,
    IndexBuild,
    NamedObject,
    ReplicaIdentity,
    Sequence,
    SequenceValue,
    ServerFacts,
    Table,
    TableKind,
    UnwritableTable,
)
from pgcopydb.model.targets import TableShape
from pgcopydb.postgres.queries import query
from pgcopydb.postgres.session import read_tables_only

Record = dict[str, Any]


_SEQUENCES_AT_ONCE: Final = 200

_PORTION: Final = 200
"""Rows of a catalogue that are held at once where they need not be held together."""

_REPEATED: Final = frozenset(
    {
        *("access_method", "collation", "default", "generated", "identity", "key_columns", "name"),
        *("identity_columns", "owner", "parent_oids", "persistence", "schema", "tablespace"),
        *("type", "type_names", "type_oid", "version"),
    }
)
"""Columns of results whose values are the same in many rows, and are then held once."""

_READ: Final = frozenset({TableKind.TABLE, TableKind.MATERIALIZED_VIEW})


def server_facts(connection: Connection[tuple[Any, ...]]) -> ServerFacts:
    """Return what the server and its connected database are."""
    (record,) = records(connection, "server_facts")
    identity: Record = {"system_identifier": None, "timeline": None}
    if record.pop("control_readable"):
        (identity,) = records(connection, "server_identity")
    return ServerFacts(**record, **identity)


def list_tables(
    connection: Connection[tuple[Any, ...]],
    *,
    with_columns: bool = True,
    with_sizes: bool = True,
    estimate_sizes: bool = False,
) -> list[Table]:
    """Return tables, partitioned tables, materialised views and foreign tables, by name.

    Reading the columns takes as long as all the rest, and measuring the tables, which opens each of
    them, as long again; both can be left out, and sizes are 0 then. With ``estimate_sizes`` the
    sizes are those that the last VACUUM or ANALYZE found, which neither touches files nor waits for
    locks; a table that has none is measured, so that 0 is exact.
    """
    columns: dict[int, list[Column]] = defaultdict(list)
    for record in records(connection, "columns") if with_columns else ():
        columns[record.pop("table_oid")].append(Column(**record))
    return [
        Table(
            **_converted(record, kind=TableKind, replica_identity=ReplicaIdentity),
            columns=tuple(columns.pop(record["oid"], ())),
        )
        for record in records(connection, "tables", sized=with_sizes, estimated=estimate_sizes)
    ]


def table_shapes(connection: Connection[tuple[Any, ...]]) -> list[TableShape]:
    """Return the columns of all tables, in less time than :func:`list_tables` takes."""
    return [TableShape(**record) for record in records(connection, "table_shapes")]


def type_contents(connection: Connection[tuple[Any, ...]]) -> dict[int, tuple[str, ...]]:
    """Return what values of the columns' types consist of, by the type's oid, each as a text.

    These are labels of enumerated types and attributes of composite ones, at any depth. A type
    that has neither is left out.
    """
    return {
        record["type_oid"]: tuple(record["contents"])
        for record in records(connection, "type_contents")
    }


def unwritable_tables(
    connection: Connection[tuple[Any, ...]], names: Collection[tuple[str, str]]
) -> list[UnwritableTable]:
    """Return those of the tables ``names`` (schema, name) into which changes cannot be applied."""
    schemas, tables = zip(*names, strict=True) if names else ((), ())
    found = records(connection, "unwritable", schemas=list(schemas), names=list(tables))
    return [UnwritableTable(**record) for record in found]


def list_indexes(connection: Connection[tuple[Any, ...]]) -> list[Index]:
    """Return indexes, those that serve constraints among them, by table and name."""
    return list(map(_index, records(connection, "indexes")))


def each_index(connection: Connection[tuple[Any, ...]]) -> Iterator[Index]:
    """Give what ``list_indexes`` lists, read by portions: in a transaction, which must go on."""
    return map(_index, records_by_portions(connection, "indexes"))


def _index(record: Record) -> Index:
    return Index(**_converted(record, constraint_kind=ConstraintKind))


def list_constraints(connection: Connection[tuple[Any, ...]]) -> list[Constraint]:
    """Return check, key, exclusion and foreign key constraints, by table and name."""
    return list(map(_constraint, records(connection, "constraints")))


def each_constraint(connection: Connection[tuple[Any, ...]]) -> Iterator[Constraint]:
    """Give what ``list_constraints`` lists, as :func:`each_index` does."""
    return map(_constraint, records_by_portions(connection, "constraints"))


def _constraint(record: Record) -> Constraint:
    return Constraint(**_converted(record, kind=ConstraintKind))


def list_sequences(connection: Connection[tuple[Any, ...]]) -> list[Sequence]:
    """Return sequences, by name, without where they stand."""
    return [Sequence(**record) for record in records(connection, "sequences")]


def sequence_values(
    connection: Connection[tuple[Any, ...]], sequences: Iterable[Sequence]
) -> list[SequenceValue]:
    """Return where ``sequences`` stand now.

    A sequence is not transactional: whatever the snapshot, this reads the newest value, and it is
    exact only once nobody calls nextval any more. What has taken a sequence's place is not read.
    """
    values: list[SequenceValue] = []
    remaining = iter(sequences)
    while batch := list(islice(remaining, _SEQUENCES_AT_ONCE)):
        statement = sql.SQL(" union all ").join(
            sql.SQL("select {}::pg_catalog.int8, last_value, is_called from {}").format(
                sequence.oid, sql.Identifier(sequence.schema, sequence.name)
            )
            for sequence in batch
        )
        with connection.transaction():
            read_tables_only(connection, local=True)
            values += [SequenceValue(*row) for row in connection.execute(statement)]
    return values


def list_databases(connection: Connection[tuple[Any, ...]]) -> list[Database]:
    """Return all databases of the server, templates too, by name."""
    return [Database(**record) for record in records(connection, "databases")]


def list_extensions(connection: Connection[tuple[Any, ...]]) -> list[Extension]:
    """Return the extensions of the database, those of the system too, by name."""
    return [
        Extension(
            **{
                **record,
                "configuration_tables": tuple(
                    ConfigurationTable(**table) for table in record["configuration_tables"]
                ),
            }
        )
        for record in records(connection, "extensions")
    ]


def list_extension_versions(connection: Connection[tuple[Any, ...]]) -> list[ExtensionVersion]:
    """Return what the server's files offer to CREATE EXTENSION, by name and version."""
    return [ExtensionVersion(**record) for record in records(connection, "extension_versions")]


def list_collations(connection: Connection[tuple[Any, ...]]) -> list[Collation]:
    """Return collations that users created or that something explicitly uses, by name."""
    return [Collation(**record) for record in records(connection, "collations")]


def list_named_objects(connection: Connection[tuple[Any, ...]]) -> list[NamedObject]:
    """Return functions, types, views, schemas and the like.

    All that CREATE would find there already, but for tables and what belongs to them.
    """
    return [NamedObject(**record) for record in records(connection, "named_objects")]


def list_index_builds(connection: Connection[tuple[Any, ...]]) -> list[IndexBuild]:
    """Return the indexes that sessions of this program are building in the database now."""
    return [IndexBuild(**record) for record in records(connection, "index_builds")]


def check_visible(tables: Iterable[Table], side: Side = Side.SOURCE) -> None:
    """Raise ConfigurationError naming the tables of which the role would not see every row."""
    denied: list[str] = []
    hidden: list[str] = []
    for table in (table for table in tables if table.kind in _READ):
        name = f"{table.schema}.{table.name}"
        if not table.readable:
            denied.append(name)
        elif table.row_security_applies:
            hidden.append(name)
    if denied:
        raise ConfigurationError(
            f"the {side} role may not read {some_of(denied)}",
            hint="GRANT USAGE on the schema and SELECT on the table, or filter the table out",
        )
    if hidden:
        raise ConfigurationError(
            f"row security would hide rows from the {side} role in {some_of(hidden)}",
            hint="use the tables' owner, a superuser or a role with BYPASSRLS",
        )


def records(
    connection: Connection[tuple[Any, ...]], name: str, **parameters: object
) -> Iterator[Record]:
    """Give the rows of the named query, with tuples for its arrays."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(query(name), parameters or None)
        yield from _with_tuples(cursor)


def records_by_portions(
    connection: Connection[tuple[Any, ...]], name: str, **parameters: object
) -> Iterator[Record]:
    """Give what :func:`records` gives, of which no more than a portion is ever held.

    ``connection`` must be in a transaction, in which everything is read.
    """
    # All rows are wanted, so that a plan for the first ones would be the wrong one.
    connection.execute("set local cursor_tuple_fraction to 1")
    with connection.cursor(f"pgcopydb {name}", row_factory=dict_row) as cursor:
        cursor.itersize = _PORTION
        cursor.execute(query(name), parameters or None)
        yield from _with_tuples(cursor)


def _with_tuples(cursor: Cursor[Record] | ServerCursor[Record]) -> Iterator[Record]:
    arrays = _array_columns(cursor)
    repeated = [one.name for one in cursor.description or () if one.name in _REPEATED]
    known: dict[Any, Any] = {}
    for record in cursor:
        for key in arrays:
            record[key] = _frozen(record[key])
        for key in repeated:
            record[key] = known.setdefault(record[key], record[key])
        yield record


def _array_columns(cursor: Cursor[Any] | ServerCursor[Any]) -> list[str]:
    """Return the columns of a result that are arrays: few, where rows are many."""
    known = cursor.connection.adapters.types
    return [
        column.name
        for column in cursor.description or ()
        if (kind := known.get(column.type_code)) and kind.array_oid == column.type_code
    ]


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _converted(record: Record, **types: Any) -> Record:
    """Return ``record`` with the columns named in ``types`` as those enumerations, NULL as None."""
    for key, kind in types.items():
        if record[key] is not None:
            record[key] = kind(record[key])
    return record
