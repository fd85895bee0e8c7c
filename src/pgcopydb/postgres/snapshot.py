"""Sessions that hold one view of the source still while many others read it.

An exported snapshot keeps rows visible but not tables in their shape: after a rewrite (ALTER TABLE
... TYPE, TRUNCATE, CLUSTER, VACUUM FULL) an older snapshot sees the table empty or its rows at
other places, without an error. So the copy reads under a *locked* snapshot: a session imports the
snapshot, locks every selected table against such changes, makes sure that none happened before the
lock was there, exports the snapshot again and stays until the last row is copied (ruling 12).
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, TypeVar

import psycopg
from psycopg import Connection, sql

from pgcopydb.errors import ConfigurationError, PgcopydbError, StateError, some_clauses
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import EVERYTHING, Filters
from pgcopydb.model.objects import ServerFacts, Table
from pgcopydb.postgres import discover
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.losses import is_lost
from pgcopydb.rules.readiness.reading import has_lock_room, needed_factor
from pgcopydb.sql import copy

log = logging.getLogger(__name__)

Session = Connection[tuple[Any, ...]]

_T = TypeVar("_T")

_BEGIN: Final = "begin isolation level repeatable read, read only"

LOCK_HOLDER: Final = "lock holder"
"""What the session is for that has the snapshot and locks the tables."""

_TABLES_PER_LOCK: Final = 200

_PATIENCE: Final = 30.0
"""Seconds to wait for tables that a statement of the application has locked for itself."""

_PATIENCE_BEHIND_OWN_LOCKS: Final = 5.0
"""The same where the snapshot's own session holds the locks for which that statement waits."""

_BETWEEN_TRIES: Final = 0.3

_NO_SUCH_SNAPSHOT: Final = {"22023", "42704", "55000"}
"""SQLSTATEs of a SET TRANSACTION SNAPSHOT whose snapshot is not (or no longer) exported here."""


@dataclass(frozen=True, slots=True)
class HeldSnapshot:
    """An exported snapshot, for as long as its session lives.

    ``id`` is what other sessions import. ``origin`` names the view itself: the id of the snapshot
    that this one was taken from, or its own. ``connection`` is in the transaction that has the
    snapshot and may be used to read; threads share it through psycopg's own lock. It is closed, not
    committed, at the end: a network that fails just then takes nothing back.
    """

    id: str
    origin: str
    endpoint: Endpoint
    connection: Session = field(repr=False)

    def check(self) -> None:
        """Raise the source's error when the session is known to be gone; never waits.

        Without it the locks are gone and no further session can take the snapshot, so what is
        copied afterwards would not be of one moment.
        """
        if is_lost(self.connection):
            raise self._lost()

    def confirm(self) -> None:
        """Raise the source's error unless the session answers and is still in its transaction."""
        self.check()
        try:
            self.connection.execute("select 1")
        except psycopg.Error as error:
            raise self._lost() from error

    def _lost(self) -> PgcopydbError:
        return self.endpoint.error(
            f"{self.endpoint.side}: the session that holds the snapshot was lost before the copy"
            " was complete",
            hint="what was copied so far belongs to a view that is gone: start over with --restart",
        )


@dataclass(frozen=True, slots=True)
class LockedSnapshot(HeldSnapshot):
    """A held snapshot whose ``tables`` are locked against changes of their shape."""

    facts: ServerFacts = field(kw_only=True)
    tables: tuple[Table, ...] = field(kw_only=True)


@contextmanager
def exported_snapshot(
    source: Endpoint, from_snapshot: str | None = None, *, purpose: str = "snapshot"
) -> Iterator[HeldSnapshot]:
    """Export a snapshot of ``source``, its own or the imported one, until the block is left.

    Raises StateError when ``from_snapshot`` is not exported there, the source's error otherwise.
    """
    with closing(connect(source, purpose=purpose)) as connection:
        identity = _begin(source, connection, from_snapshot)
        yield HeldSnapshot(identity, from_snapshot or identity, source, connection)


@contextmanager
def locked_snapshot(
    source: Endpoint,
    from_snapshot: str | None = None,
    filters: Filters = EVERYTHING,
    *,
    estimate_sizes: bool = False,
) -> Iterator[LockedSnapshot]:
    """Export a snapshot in which the tables that ``filters`` take cannot change their shape.

    Gives all tables of the snapshot in ``tables`` that are taken; only those whose rows are copied
    are locked. With ``estimate_sizes`` they are not measured. Raises StateError when
    ``from_snapshot`` is gone or a table was changed between the snapshot and its lock,
    ConfigurationError when the tables do not fit into the lock table or cannot be read whole, the
    source's error otherwise.
    """
    with exported_snapshot(source, from_snapshot, purpose=LOCK_HOLDER) as held:
        yield lock_tables(held, filters, estimate_sizes=estimate_sizes)


def lock_tables(
    held: HeldSnapshot, filters: Filters = EVERYTHING, *, estimate_sizes: bool = False
) -> LockedSnapshot:
    """Lock the tables of a snapshot, in its own session; see :func:`locked_snapshot`."""
    connection, source = held.connection, held.endpoint
    imported = held.origin != held.id
    patience = _PATIENCE_BEHIND_OWN_LOCKS if imported else _PATIENCE

    def lock() -> tuple[ServerFacts, tuple[Table, ...]]:
        return _read_and_lock(source, connection, filters, estimate_sizes=estimate_sizes)

    with reporting(source, "locking the tables to copy"):
        facts, tables = patiently(connection, lock, patience=patience)
    return LockedSnapshot(held.id, held.origin, source, connection, facts=facts, tables=tables)


def begin_reading(endpoint: Endpoint, connection: Session) -> None:
    """Begin a transaction in which every statement sees the same moment."""
    with reporting(endpoint, "beginning a transaction"):
        connection.execute(_BEGIN)


def import_snapshot(endpoint: Endpoint, connection: Session, identity: str) -> None:
    """Begin a transaction on ``connection`` that sees what the snapshot ``identity`` sees.

    Raises StateError when it is not exported on this server any more.
    """
    begin_reading(endpoint, connection)
    try:
        connection.execute(sql.SQL("set transaction snapshot {}").format(identity))
    except psycopg.Error as error:
        if error.sqlstate in _NO_SUCH_SNAPSHOT:
            raise snapshot_gone(endpoint, identity) from error
        with reporting(endpoint, "importing the snapshot"):
            raise


def lock_refused(*, retryable: bool = False) -> StateError:
    """Return the error for tables that cannot be locked because a statement waits for them.

    It waits for the lock that this program's own snapshot session holds, so waiting for it in turn
    would be for ever, with every later statement of the application behind it.
    """
    return StateError(
        "source: a statement of the application (TRUNCATE, ALTER TABLE, ...) waits for a table that"
        " is to be copied, and the copy gives way to it",
        hint="run the same command with --restart when such statements are not under way",
        retryable=retryable,
    )


def snapshot_gone(endpoint: Endpoint, identity: str) -> StateError:
    """Return the error of a snapshot that nobody holds any more."""
    return StateError(
        f"{endpoint.side}: the snapshot {identity} is not exported (any more)",
        hint="the session that exported it must stay open; without it the copy must start over"
        " (--restart), or go on with tables of another moment (--resume --not-consistent)",
    )


_LOCK_TABLE: Final = (
    "select pg_catalog.current_setting('max_locks_per_transaction')::int4 * (1"
    " + pg_catalog.sum(setting::int4))::int8 from pg_catalog.pg_settings where name in ("
    "'max_connections', 'max_prepared_transactions', 'max_worker_processes', 'max_wal_senders',"
    " (select pg_catalog.max(name) from pg_catalog.pg_settings"
    "  where name in ('autovacuum_max_workers', 'autovacuum_worker_slots')))"
)
"""How many objects all sessions together can lock: a number for each process that the server may
ever have (InitializeMaxBackends and NLOCKENTS in its source)."""


def check_lock_space(room: int, tables: int) -> None:
    """Raise ConfigurationError when ``tables`` locks leave too little of a lock table of ``room``.

    A tenth stays free: a full lock table makes the application's own statements fail.
    """
    if has_lock_room(room, tables):
        return
    raise ConfigurationError(
        f"source: {tables} tables must be locked at once, but its lock table has room for {room}"
        " objects of all sessions together",
        hint="raise max_locks_per_transaction on the source at least"
        f" {needed_factor(room, tables)} times and restart it",
    )


def count_lockable(connection: Session) -> int:
    """Return how many tables there are that a schema dump locks."""
    row = connection.execute(
        "select pg_catalog.count(*) from pg_catalog.pg_class where relkind in ('r', 'p')"
    ).fetchone()
    assert row is not None
    return int(row[0])


def lock_room(connection: Session) -> int:
    """Return how many objects all sessions of a server together can lock."""
    row = connection.execute(_LOCK_TABLE).fetchone()
    assert row is not None
    return int(row[0])


def _begin(source: Endpoint, connection: Session, from_snapshot: str | None) -> str:
    if from_snapshot is None:
        begin_reading(source, connection)
    else:
        import_snapshot(source, connection, from_snapshot)
    with reporting(source, "exporting a snapshot"):
        row = connection.execute("select pg_catalog.pg_export_snapshot()").fetchone()
    assert row is not None
    return str(row[0])


def patiently(connection: Session, work: Callable[[], _T], *, patience: float) -> _T:
    """Do ``work``, which may wait for locks, in tries that give up before deadlocks are looked for.

    A try that fails lets go of what it has locked, so that neither the application nor this
    session waits for the other. ``connection`` must be in a transaction. Raises StateError when
    ``patience`` seconds did not suffice.
    """
    deadline = time.monotonic() + patience
    connection.execute("set local lock_timeout to '900ms'")
    while (done := _try(connection, work)) is None:
        if time.monotonic() > deadline:
            raise lock_refused()
        time.sleep(_BETWEEN_TRIES)
    connection.execute("set local lock_timeout to 0")
    return done[0]


def _try(connection: Session, work: Callable[[], _T]) -> tuple[_T] | None:
    """Return what ``work`` gives, None when a lock was not to be had in time."""
    try:
        with connection.transaction():
            return (work(),)
    except (psycopg.errors.LockNotAvailable, PgcopydbError) as error:
        if not isinstance(error.__cause__ or error, psycopg.errors.LockNotAvailable):
            raise
        return None


def _read_and_lock(
    source: Endpoint, connection: Session, filters: Filters, *, estimate_sizes: bool
) -> tuple[ServerFacts, tuple[Table, ...]]:
    """Lock the selected tables whose rows are copied; refuse what cannot be copied whole."""
    with reporting(source, "reading the list of tables"):
        facts = discover.server_facts(connection)
        tables = tuple(
            table
            for table in discover.list_tables(connection, estimate_sizes=estimate_sizes)
            if filters.selects_table(table.schema, table.name)
        )
    with_rows = [
        table
        for table in tables
        if table.has_rows and filters.copies_data(table.schema, table.name)
    ]
    discover.check_visible(with_rows)
    check_lock_space(lock_room(connection), len(with_rows))
    _lock(source, connection, with_rows)
    _refuse_changed(source, connection, with_rows)
    return facts, tables


def _lock(source: Endpoint, connection: Session, tables: Sequence[Table]) -> None:
    remaining = iter(tables)
    while batch := list(islice(remaining, _TABLES_PER_LOCK)):
        statement = copy.lock_tables((table.schema, table.name) for table in batch)
        try:
            connection.execute(statement.encode())
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise _changed([str(error.diag.message_primary)]) from error
        except psycopg.errors.OutOfMemory as error:
            raise ConfigurationError(
                f"source: the lock table is full after fewer than {len(tables)} tables",
                hint="raise max_locks_per_transaction on the source and restart it",
            ) from error
        except psycopg.Error:
            with reporting(source, "locking the tables to copy"):
                raise


_CHANGED: Final = sql.SQL(
    "select pg_catalog.format('%%I.%%I', n.nspname, c.relname)"
    " from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace"
    " where c.oid = any (%s::pg_catalog.oid[])"
    " and (pg_catalog.pg_relation_filenode(c.oid) is distinct from nullif(c.relfilenode, 0)"
    "  or pg_catalog.to_regclass(pg_catalog.format('%%I.%%I', n.nspname, c.relname))"
    "   is distinct from c.oid::pg_catalog.regclass)"
)
"""Tables that are not what the snapshot shows: the catalogue is read in the snapshot, while the
functions look at what is there now. A filenode differs after a rewrite; a name leads to another
table after one was renamed or dropped and made again."""


def _refuse_changed(source: Endpoint, connection: Session, tables: Sequence[Table]) -> None:
    with reporting(source, "comparing the tables with the snapshot"):
        rows = connection.execute(_CHANGED, ([table.oid for table in tables],)).fetchall()
    if rows:
        raise _changed([f"{name} was rewritten, renamed or dropped" for (name,) in rows])


def _changed(what: Sequence[str]) -> StateError:
    return StateError(
        f"source: tables changed after the snapshot was taken: {some_clauses(what)}",
        hint="rows of such a table can no longer be read as they were: take a new snapshot"
        " (--restart) and keep ALTER TABLE, TRUNCATE, CLUSTER and VACUUM FULL away meanwhile",
    )
