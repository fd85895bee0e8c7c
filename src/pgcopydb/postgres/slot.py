"""Logical replication slots: looking at one, and saying why it cannot be used."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from msgspec import Struct

from pgcopydb.errors import PgcopydbError, StateError
from pgcopydb.lsn import format_lsn, parse_lsn
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.rules.holdback import Holdback
from pgcopydb.runtime import signals

log = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]

_FIRST_WORD: Final = 3.0
"""Seconds that creating a slot may take before the transactions it waits for are named."""

_LOOK_EVERY: Final = 0.2
"""Seconds between looks whether somebody wants it to stop."""


class Slot(Struct, frozen=True, kw_only=True):
    """A replication slot of the source, as ``pg_replication_slots`` shows it."""

    name: str
    plugin: str | None
    database: str | None
    active_pid: int | None
    confirmed_flush: int
    restart_lsn: int
    wal_status: str | None


def read_slot(connection: Connection, endpoint: Endpoint, name: str) -> Slot | None:
    """Return the slot ``name``, or None when there is none."""
    with reporting(endpoint, f'reading replication slot "{name}"'):
        row = connection.execute(
            "select slot_name::text, plugin::text, database::text, active_pid,"
            " coalesce(confirmed_flush_lsn, '0/0')::text, coalesce(restart_lsn, '0/0')::text,"
            " pg_catalog.to_jsonb(s) ->> 'wal_status'"
            " from pg_catalog.pg_replication_slots as s where slot_name = %s",
            (name,),
        ).fetchone()
    if row is None:
        return None
    return Slot(
        name=row[0],
        plugin=row[1],
        database=row[2],
        active_pid=row[3],
        confirmed_flush=parse_lsn(row[4]),
        restart_lsn=parse_lsn(row[5]),
        wal_status=row[6],
    )


def require_slot(connection: Connection, endpoint: Endpoint, name: str, plugin: str) -> Slot:
    """Return the slot if it can be streamed from with ``plugin`` in this database.

    Raises StateError saying what is wrong with it: missing, of another plugin or database, lost.
    """
    slot = read_slot(connection, endpoint, name)
    if slot is None:
        raise StateError(
            f'source: replication slot "{name}" does not exist',
            hint="correct --slot-name; or if somebody has dropped it, start over with"
            " clone --follow --restart: the changes that it held back are gone, and a new slot"
            " does not bring them back",
        )
    if slot.plugin is None:
        raise StateError(
            f'source: replication slot "{name}" is a physical slot',
            hint="name a logical slot with --slot-name",
        )
    if slot.plugin != plugin:
        raise StateError(
            f'source: replication slot "{name}" uses the output plugin {slot.plugin}, not {plugin}',
            hint=f"give --plugin {slot.plugin}, or name another slot with --slot-name",
        )
    if slot.database != connection.info.dbname:
        raise StateError(
            f'source: replication slot "{name}" belongs to the database "{slot.database}"',
            hint="name another slot with --slot-name",
        )
    if slot.wal_status == "lost":
        raise StateError(
            f'source: replication slot "{name}" is lost: the source removed WAL that it needed',
            hint="raise max_slot_wal_keep_size on the source, drop the slot (stream cleanup) and"
            " clone again",
        )
    return slot


def read_holdback(connection: Connection, endpoint: Endpoint, name: str) -> Holdback | None:
    """Return what the slot holds back on its server; None when there is no such slot."""
    with reporting(endpoint, f'reading replication slot "{name}"'):
        row = connection.execute(
            "select pg_catalog.to_jsonb(s) ->> 'wal_status',"
            " coalesce(pg_catalog.pg_wal_lsn_diff(case when pg_catalog.pg_is_in_recovery()"
            " then pg_catalog.pg_last_wal_replay_lsn() else pg_catalog.pg_current_wal_lsn() end,"
            " s.restart_lsn), 0)::bigint,"
            " coalesce((select setting::bigint << 20 from pg_catalog.pg_settings"
            " where name = 'max_slot_wal_keep_size' and setting::bigint > 0), 0),"
            " coalesce(pg_catalog.age(catalog_xmin), 0),"
            " pg_catalog.current_setting('autovacuum_freeze_max_age')::integer"
            " from pg_catalog.pg_replication_slots as s where slot_name = %s",
            (name,),
        ).fetchone()
    return None if row is None else Holdback(*row)


def wal_end(connection: Connection, endpoint: Endpoint) -> int:
    """Return up to where the server has its log on disk, or a standby has replayed it."""
    with reporting(endpoint, "reading the end of the log"):
        row = connection.execute(
            "select (case when pg_catalog.pg_is_in_recovery()"
            " then pg_catalog.pg_last_wal_replay_lsn()"
            " else pg_catalog.pg_current_wal_flush_lsn() end)::text"
        ).fetchone()
    assert row is not None
    return parse_lsn(row[0])


def refuse_advanced(slot: Slot, received: int) -> None:
    """Raise StateError when the slot was confirmed beyond what is stored here.

    The server would silently start at its own position and the changes between would be lost
    (correctness M5). A slot that was dropped and made again is always found by this: making it
    writes to the log, and it starts after that.
    """
    if slot.confirmed_flush > received:
        raise StateError(
            f'source: replication slot "{slot.name}" stands at {format_lsn(slot.confirmed_flush)},'
            f" beyond {format_lsn(received)}, up to which changes are stored here",
            hint="something else has read from it, or it was dropped and made again, so changes are"
            " missing: clone again",
        )


def drop_slot(connection: Connection, endpoint: Endpoint, name: str) -> None:
    """Drop the slot if it exists; raises the source's error while it is in use."""
    if read_slot(connection, endpoint, name) is None:
        return
    with reporting(endpoint, f'dropping replication slot "{name}"'):
        connection.execute("select pg_catalog.pg_drop_replication_slot(%s)", (name,))


@contextmanager
def naming_blockers(endpoint: Endpoint, waiting: Connection, *, limit: float) -> Iterator[None]:
    """While ``waiting`` creates a slot, say which transactions it waits for; give up in the end.

    A slot starts where no transaction older than it is left, so that one forgotten or prepared
    transaction makes it wait for ever without a word. After ``limit`` seconds the statement is
    cancelled, the server leaves no slot behind (correctness M19), and the side's error names them.
    It is cancelled too, and Interrupted raised, when a signal asks to stop.
    """
    done = threading.Event()
    pid = waiting.info.backend_pid
    given_up: list[str] = []

    def watch() -> None:
        begun = time.monotonic()
        told = False
        while not done.wait(_LOOK_EVERY):
            waited = time.monotonic() - begun
            if signals.stop_requested():
                waiting.cancel_safe()
            elif waited >= limit:
                given_up.append(_names_of_blockers(endpoint, pid))
                waiting.cancel_safe()
                return
            elif waited >= _FIRST_WORD and not told:
                told = True
                log.warning(
                    "creating the replication slot waits for older transactions on the source: %s",
                    _names_of_blockers(endpoint, pid),
                )

    thread = threading.Thread(target=watch, name="slot watch", daemon=True)
    thread.start()
    try:
        yield
    except PgcopydbError as error:
        signals.raise_if_stopped()
        if not given_up:
            raise
        raise endpoint.error(
            f"{endpoint.side}: creating the replication slot was given up after {limit:.0f} s:"
            f" it waits for older transactions: {given_up[0]}",
            hint="end them and try again: a session with SELECT pg_terminate_backend(pid), a"
            " prepared transaction with COMMIT PREPARED or ROLLBACK PREPARED, in its own database",
        ) from error
    finally:
        done.set()
        thread.join(10)


def _names_of_blockers(endpoint: Endpoint, pid: int) -> str:
    """Return a text that names what the session ``pid`` may wait for, or says why it cannot."""
    try:
        with (
            connect(endpoint, purpose="slot watch") as connection,
            reporting(endpoint, "reading transactions"),
        ):
            names = _blockers(connection, pid)
    except PgcopydbError as error:  # nobody hears an exception of the thread
        return error.message
    return "; ".join(names) or "none is visible to this role"


def _blockers(connection: Connection, pid: int) -> list[str]:
    sessions = connection.execute(
        "select pg_catalog.format('pid %%s (%%s, %%s since %%s)', pid, usename, state,"
        " pg_catalog.date_trunc('second', xact_start))"
        " from pg_catalog.pg_stat_activity"
        " where backend_xid is not null and pid <> %s order by xact_start limit 5",
        (pid,),
    ).fetchall()
    prepared = connection.execute(
        "select pg_catalog.format('prepared transaction %%L of %%s', gid, prepared)"
        " from pg_catalog.pg_prepared_xacts order by prepared limit 5",
        (),
    ).fetchall()
    return [row[0] for row in sessions + prepared]
