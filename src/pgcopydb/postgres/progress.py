"""How the target remembers what has been applied: in the same transaction as the rows.

Where the role may, a replication origin (``postgres.origin``); its progress travels in the commit
record itself. Elsewhere a row of the helper schema. A run uses one of them from its beginning to
its end (ruling 22). Positions are ends of source commits.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import psycopg
from psycopg import sql

from pgcopydb.errors import StateError
from pgcopydb.lsn import format_lsn, parse_lsn
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.pipeline import Pipeline

log = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]

_TAKE_OVER_WITHIN = 10.0
"""Seconds to wait for a session of this run that still holds the origin to end."""

_LOOKS_FOR_A_HOLDER: Final = 5
"""How often nobody of this run may be found before the holder must be somebody else."""


class Progress(Protocol):
    """Where a target keeps how far it has applied."""

    def attach(self) -> int:
        """Make this session the one that applies; return the position it has reached."""

    def mark(self, pipeline: Pipeline, end_lsn: int, commit_time: int) -> None:
        """Queue what makes the transaction under way record that ``end_lsn`` is applied."""

    def durable(self) -> int:
        """Return the position whose transactions are flushed to disk on the target."""


class TableProgress:
    """Progress in a row of the helper schema, for roles that may not use origins."""

    def __init__(self, connection: Connection, endpoint: Endpoint, run_id: str) -> None:
        self._connection = connection
        self._endpoint = endpoint
        self._run_id = run_id

    def attach(self) -> int:
        """Take the row's lock for this session, so that no other applies; return the position."""
        if not take_over(self._connection, self._endpoint, self._lock):
            raise StateError(
                "target: another session applies this migration",
                hint="another pgcopydb applies to this target; stop it first",
            )
        return self.durable()

    def _lock(self) -> bool:
        with reporting(self._endpoint, "taking the apply lock"):
            row = self._connection.execute(
                "select pg_catalog.pg_try_advisory_lock(pg_catalog.hashtext(%s))", (self._run_id,)
            ).fetchone()
        return bool(row and row[0])

    def mark(self, pipeline: Pipeline, end_lsn: int, commit_time: int) -> None:
        """Queue the update of the progress row in the transaction under way."""
        pipeline.add(
            "update pgcopydb.progress set lsn = $1, commit_time = $2 where run_id = $3",
            (format_lsn(end_lsn).encode(), timestamp(commit_time), self._run_id.encode()),
            rows=1,
        )

    def durable(self) -> int:
        """Return the row's position; it is durable when its commit was."""
        with reporting(self._endpoint, "reading the progress row"):
            row = self._connection.execute(
                "select lsn::text from pgcopydb.progress where run_id = %s", (self._run_id,)
            ).fetchone()
        return parse_lsn(row[0]) if row else 0


def take_over(connection: Connection, endpoint: Endpoint, take: Callable[[], bool]) -> bool:
    """Call ``take`` until it succeeds, ending sessions of this name that are left meanwhile.

    Returns False when it does not although no such session is left, or not in time. A session that
    was killed may take a moment to notice, and may end by itself between two looks.
    """
    deadline = time.monotonic() + _TAKE_OVER_WITHIN
    looks_without_holder = 0
    while not take():
        ended_any = _end_stale_sessions(connection, endpoint)
        looks_without_holder = 0 if ended_any else looks_without_holder + 1
        if looks_without_holder >= _LOOKS_FOR_A_HOLDER or time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _end_stale_sessions(connection: Connection, endpoint: Endpoint) -> bool:
    """End sessions of this one's name in this database other than this one, if any."""
    with reporting(endpoint, "ending a stale session"):
        rows = connection.execute(
            "select pid, pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity"
            " where datname = pg_catalog.current_database()"
            " and application_name = pg_catalog.current_setting('application_name')"
            " and pid <> pg_catalog.pg_backend_pid()"
        ).fetchall()
    for pid, _ in rows:
        log.warning("ended session %s of an earlier command of this run on the target", pid)
    return bool(rows)


def create_progress_row(
    connection: Connection, endpoint: Endpoint, run_id: str, start: int
) -> None:
    """Create the progress row of a run that stands at ``start``, unless it exists."""
    with reporting(endpoint, "creating the progress row"):
        connection.execute(
            sql.SQL(
                "insert into pgcopydb.progress (run_id, lsn, commit_time)"
                " values (%s, %s::pg_catalog.pg_lsn, null) on conflict (run_id) do nothing"
            ),
            (run_id, format_lsn(start)),
        )


def timestamp(microseconds: int) -> bytes:
    """Return microseconds since 1970 as a timestamptz; the present when they are not known."""
    moment = datetime.fromtimestamp(microseconds // 1_000_000, UTC) if microseconds else None
    if moment is None:
        return datetime.now(UTC).isoformat().encode()
    return moment.replace(microsecond=microseconds % 1_000_000).isoformat().encode()
