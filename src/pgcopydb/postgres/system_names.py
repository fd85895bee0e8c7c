"""What objects of users use of the server's own, and whether another server has it too."""

from collections.abc import Collection, Sequence
from typing import Any

import psycopg

from pgcopydb.model.dependencies import Key
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import Filters
from pgcopydb.model.readiness import ExpressionObject, SystemName
from pgcopydb.postgres import discover
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.selection import read_kept

Connection = psycopg.Connection[Any]


def read_system_names(source: Endpoint, connection: Connection) -> list[SystemName]:
    """Return what queries and expressions use of the server's own; raises the side's error."""
    return _system_names(source, connection, with_users=False)


def unknown_names(
    target: Endpoint, connection: Connection, names: Sequence[SystemName]
) -> list[SystemName]:
    """Return those of another server's ``names`` that this one does not have."""
    with reporting(target, "looking for what expressions use"):
        rows = discover.records(
            connection,
            "unknown_names",
            kinds=[one.kind for one in names],
            schemas=[one.schema for one in names],
            names=[one.name for one in names],
            details=[one.detail for one in names],
            least=[one.least for one in names],
            most=[one.most for one in names],
        )
        return [names[row["place"] - 1] for row in rows]


def read_users(
    source: Endpoint, connection: Connection, names: Collection[SystemName]
) -> dict[Key, list[SystemName]]:
    """Return what uses ``names``, each with those of them that it uses."""
    wanted = {_identity(one) for one in names}
    users: dict[Key, list[SystemName]] = {}
    for name in _system_names(source, connection, with_users=True):
        if _identity(name) in wanted:
            for catalog, oid in name.users or ():
                users.setdefault((catalog, oid), []).append(name)
    return users


def read_expression_objects(
    source: Endpoint, connection: Connection, keys: Collection[Key], filters: Filters
) -> tuple[ExpressionObject, ...]:
    """Return those of the objects of ``keys`` that are copied, by kind and name."""
    with reporting(source, "reading the names of what has expressions"):
        records = discover.records(
            connection,
            "expression_objects",
            catalogs=[catalog for catalog, _ in keys],
            oids=[oid for _, oid in keys],
        )
        found = [ExpressionObject(**one) for one in records]
    return read_kept(source, connection, filters, found)


def _system_names(
    source: Endpoint, connection: Connection, *, with_users: bool
) -> list[SystemName]:
    with reporting(source, "reading what expressions use"):
        records = discover.records(connection, "system_names", with_users=with_users)
        return [SystemName(**one) for one in records]


def _identity(name: SystemName) -> tuple[str, ...]:
    return name.kind, name.schema, name.name, name.detail, name.text
