"""Table data: COPY lanes, two in a process, that claim parts until there are none left."""

import sqlite3
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from psycopg import Connection, sql

from pgcopydb.clone.planning.copies import integer_key
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import Table
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.lane_route import LaneRoute
from pgcopydb.workdir.store import read_fact, write_fact

TOGETHER_BYTES: Final = 2 << 20
TOGETHER_COUNT: Final = 64
"""Small tables are copied together, in one transaction of the target."""

_WORTH_A_LANE: Final = 4 << 20
"""Bytes for which one more lane pays."""


class LaneWork(Struct, frozen=True):
    """What a process of lanes needs to begin; ``numbers`` are those of its lanes."""

    catalogue: Path
    route: LaneRoute
    numbers: tuple[int, ...]


def lane_count(parts: int, size: int, table_jobs: int) -> int:
    """Return how many lanes ``parts`` of ``size`` bytes keep busy, ``table_jobs`` at most."""
    worth = -(-size // _WORTH_A_LANE) + parts // TOGETHER_COUNT
    return min(table_jobs, parts, max(worth, 1))


def are_ready(store: sqlite3.Connection, snapshot: str, count: int) -> bool:
    """Tell whether each of ``count`` lanes has taken ``snapshot`` and its locks."""
    return all(
        read_fact(store, _ready_fact(snapshot, number), bool) for number in range(1, count + 1)
    )


def _ready_fact(snapshot: str, number: int) -> str:
    return f"lane {number} ready with {snapshot}"


def note_ready(store: sqlite3.Connection, snapshot: str, number: int) -> None:
    """Tell that lane ``number`` has taken ``snapshot`` and its locks."""
    write_fact(store, _ready_fact(snapshot, number), True)


def key_bounds(
    source: Endpoint, session: Connection[tuple[Any, ...]], table: Table
) -> tuple[int, int] | None:
    """Return the lowest and highest value of the table's integer key, None without rows."""
    column = sql.Identifier(integer_key(table) or "")
    with reporting(source, f"reading the key range of {table.schema}.{table.name}"):
        row = session.execute(
            sql.SQL("select pg_catalog.min({0}), pg_catalog.max({0}) from only {1}").format(
                column, sql.Identifier(table.schema, table.name)
            )
        ).fetchone()
    return None if row is None or row[0] is None else (int(row[0]), int(row[1]))
