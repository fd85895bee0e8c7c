"""What users' views and rules use of the server's own, and whether another server has it too."""

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import Filters
from pgcopydb.model.readiness import RuleObject, SystemName
from pgcopydb.postgres import discover
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.selection import read_kept

Connection = psycopg.Connection[Any]


def read_system_names(source: Endpoint, connection: Connection) -> list[SystemName]:
    """Return what rules of users' relations use of the server's own; raises the side's error."""
    with reporting(source, "reading what views use"):
        return [SystemName(**one) for one in discover.records(connection, "system_names")]


def unknown_names(
    target: Endpoint, connection: Connection, names: Sequence[SystemName]
) -> list[SystemName]:
    """Return those of another server's ``names`` that this one does not have."""
    with reporting(target, "looking for what views use"):
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


def read_rule_objects(
    source: Endpoint, connection: Connection, rules: Iterable[int], filters: Filters
) -> tuple[RuleObject, ...]:
    """Return the views and rules of these oids of pg_rewrite that are copied."""
    with reporting(source, "reading the names of views"):
        records = discover.records(connection, "rule_objects", rules=sorted(set(rules)))
        found = [RuleObject(**one) for one in records]
    return read_kept(source, connection, filters, found)
