"""Noticing that a session is gone that says nothing for long."""

import select
from typing import Any

import psycopg
from psycopg import Connection


def is_lost(connection: Connection[tuple[Any, ...]]) -> bool:
    """Tell whether the session is known to be gone; never waits. Nothing may be under way in it."""
    try:
        if not connection.closed and select.select([connection.fileno()], [], [], 0)[0]:
            connection.pgconn.consume_input()
    except (psycopg.Error, OSError, ValueError):
        return True
    return connection.closed or connection.pgconn.status != psycopg.pq.ConnStatus.OK
