"""The list of changes that met a row on the target which is not what the source says it was.

Apply writes here what it skips or overwrites *before* the target commits the transaction, and each
session of apply begins by forgetting what belongs to transactions that the target has not
committed, for they are done again. So the list is exact, whatever was killed in between.
"""

import sqlite3
from collections.abc import Iterator
from typing import Final

from pgcopydb.model.results import Conflict
from pgcopydb.workdir.transaction import transaction

_UNDER_WAY: Final = (1 << 63) - 1
"""Stands for the end of a transaction's commit while that is not known."""

_MOST_KEPT: Final = 1000
"""Conflicts kept in memory at most, of a transaction that has not ended."""

_COLUMNS: Final = "xid, schema_name, table_name, kind, key, reason, action"


class ConflictLog:
    """Writes the conflicts of one transaction after the other."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._kept: list[Conflict] = []
        self._ordinal = 0

    def forget_after(self, position: int) -> None:
        """Remove the conflicts of transactions that end after ``position``."""
        self._connection.execute("delete from conflict where lsn > ?", (position,))
        self._kept, self._ordinal = [], 0

    def forget_transaction(self) -> None:
        """Remove the conflicts of the transaction under way, which will not be committed."""
        if self._ordinal:
            self._connection.execute("delete from conflict where lsn = ?", (_UNDER_WAY,))
        self._kept, self._ordinal = [], 0

    def add(self, conflict: Conflict) -> None:
        """Add a conflict of the transaction under way."""
        self._kept.append(conflict)
        if len(self._kept) >= _MOST_KEPT:
            with transaction(self._connection):
                self._store(_UNDER_WAY)

    def complete(self, end_lsn: int) -> None:
        """Make the conflicts of the transaction durable; its commit ends at ``end_lsn``."""
        if not self._kept and not self._ordinal:
            return
        with transaction(self._connection):
            self._connection.execute(
                "update conflict set lsn = ? where lsn = ?", (end_lsn, _UNDER_WAY)
            )
            self._store(end_lsn)
        self._ordinal = 0

    def _store(self, lsn: int) -> None:
        first, self._ordinal = self._ordinal, self._ordinal + len(self._kept)
        self._connection.executemany(
            f"insert into conflict (lsn, ordinal, {_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    lsn,
                    ordinal,
                    conflict.xid,
                    conflict.schema,
                    conflict.table,
                    conflict.kind,
                    conflict.key,
                    conflict.reason,
                    conflict.action,
                )
                for ordinal, conflict in enumerate(self._kept, start=first)
            ],
        )
        self._kept = []


def count_conflicts(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how many changes were skipped and how many overwrote a row, by action."""
    return dict(
        connection.execute(
            "select action, count(*) from conflict where lsn < ? group by action", (_UNDER_WAY,)
        )
    )


def conflicting_tables(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return the tables, as the target names them, that a conflict was met in."""
    return list(
        connection.execute(
            "select distinct schema_name, table_name from conflict where lsn < ? order by 1, 2",
            (_UNDER_WAY,),
        )
    )


def forget_conflicts(connection: sqlite3.Connection) -> None:
    """Remove the list."""
    connection.execute("delete from conflict where lsn < ?", (_UNDER_WAY,))


def read_conflicts(connection: sqlite3.Connection) -> Iterator[Conflict]:
    """Give the conflicts in the order in which they were met."""
    rows = connection.execute(
        f"select lsn, {_COLUMNS} from conflict where lsn < ? order by lsn, ordinal", (_UNDER_WAY,)
    )
    for lsn, xid, schema, table, kind, key, reason, action in rows:
        yield Conflict(
            lsn=lsn,
            xid=xid,
            schema=schema,
            table=table,
            kind=kind,
            key=key,
            reason=reason,
            action=action,
        )
