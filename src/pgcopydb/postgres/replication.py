"""The replication stream of a logical slot, over psycopg at libpq's own level.

Facts that this rests on (PostgreSQL manual, "Streaming Replication Protocol"; tried on 15 to 18):
``get_copy_data(1)`` gives a message, 0 when nothing is there yet, or -1 at the end, after which
``get_result()`` tells why. A walsender that is terminated, and one whose server shuts down, end
the stream without an exception. Nothing is confirmed to the server unless :meth:`feedback` says so.
"""

import logging
import select
import struct
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import pq, sql

from pgcopydb.errors import PgcopydbError, ProtocolError, StateError
from pgcopydb.lsn import format_lsn
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import EVERYTHING, Filters
from pgcopydb.postgres.connect import connect_replication, reporting, translate

log = logging.getLogger(__name__)

POSTGRES_EPOCH_OFFSET = 946_684_800_000_000
"""Microseconds from 1970-01-01 to 2000-01-01, from which PostgreSQL counts time."""

_MOST_AT_ONCE = 1 << 20

_KEEPALIVE = struct.Struct(">xQqB")
_FEEDBACK = struct.Struct(">cQQQqB")


class ReplicationStream:
    """A running START_REPLICATION; a context manager that ends it and frees the slot."""

    def __init__(
        self,
        endpoint: Endpoint,
        connection: psycopg.Connection[Any],
        filters: Filters = EVERYTHING,
    ) -> None:
        self._endpoint = endpoint
        self._filters = filters
        self._connection = connection
        self._pgconn = connection.pgconn
        self._get = connection.pgconn.get_copy_data
        self._lost_change: str | None = None
        self._has_ended = self._may_hold_more = False
        connection.add_notice_handler(self._notice)
        self._poll = select.poll()
        self._poll.register(self._pgconn.socket, select.POLLIN)

    @classmethod
    def start(
        cls,
        endpoint: Endpoint,
        *,
        slot_name: str,
        start: int,
        options: Mapping[str, str],
        purpose: str = "receive",
        filters: Filters = EVERYTHING,
    ) -> Self:
        """Start streaming ``slot_name`` from ``start`` (the end of the last commit stored).

        Of tables that ``filters`` leave out, the plugin may lack changes. Raises the source's error
        when the server refuses, with its reason.
        """
        connection = connect_replication(endpoint, purpose=purpose)
        try:
            command = sql.SQL("START_REPLICATION SLOT {} LOGICAL {} ({})").format(
                sql.Identifier(slot_name),
                sql.SQL(format_lsn(start)),  # digits and a slash
                sql.SQL(", ").join(
                    sql.SQL("{} {}").format(sql.Identifier(name), sql.Literal(value))
                    for name, value in options.items()
                ),
            )
            doing = f'streaming from replication slot "{slot_name}"'
            with reporting(endpoint, doing):
                result = connection.pgconn.exec_(command.as_bytes(connection))
                if result.status != pq.ExecStatus.COPY_BOTH:
                    raise _failure(connection, result)
        except BaseException:
            connection.close()
            raise
        return cls(endpoint, connection, filters)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._connection.close()

    def messages(self) -> list[bytes]:
        """Return CopyData messages as they came, in one go; none when nothing more is here yet.

        They are 1 MiB at most, unless one alone is more. Raises the source's error, marked
        retryable where it is, when the stream has ended.
        """
        if self._has_ended:
            raise self._ended()
        get, found, room, size = self._get, list[bytes](), _MOST_AT_ONCE, 0
        try:
            while room > 0:
                size, data = get(1)
                if size <= 0:
                    break
                found.append(bytes(data))
                room -= size
            self._may_hold_more = room <= 0
        except psycopg.Error as error:
            raise self._lost(error) from error
        if self._lost_change is not None:
            # told before the commit of its transaction, which must therefore not be stored
            raise StateError(
                f"source: the output plugin left out a change: {self._lost_change}",
                hint="give the table a primary key or REPLICA IDENTITY FULL, and clone again",
            )
        self._has_ended = size < 0
        if self._has_ended and not found:
            raise self._ended()
        return found

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for something to read; return whether it came."""
        if self._may_hold_more:
            return True
        if not self._poll.poll(timeout * 1000):
            return False
        self._consume()
        return True

    def _consume(self) -> None:
        try:
            self._pgconn.consume_input()
        except psycopg.Error as error:
            raise self._lost(error) from error

    def _notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        """Notice that a change is missing from the stream: wal2json only warns of it.

        It cannot print an UPDATE or DELETE of a row without identity, and goes on without it.
        """
        message = diagnostic.message_primary or ""
        if message.startswith("no tuple identifier") and _concerns(message, self._filters):
            self._lost_change = message
        else:
            log.debug("source: %s", message)

    def feedback(self, *, write: int, flush: int, apply: int, reply: bool = False) -> None:
        """Tell the server how far the stream is written, durable and applied.

        ``flush`` is what the slot may forget: it must be on disk here. With ``reply`` the server
        answers at once with a keepalive that says how far it has read its log.
        """
        now = int(time.time() * 1_000_000) - POSTGRES_EPOCH_OFFSET
        message = _FEEDBACK.pack(b"r", write, flush, apply, now, reply)
        try:
            self._pgconn.put_copy_data(message)
            while self._pgconn.flush() != 0:
                self._consume()
        except psycopg.Error as error:
            raise self._lost(error) from error

    def _lost(self, error: psycopg.Error) -> PgcopydbError:
        lost = translate(self._endpoint, error, doing="reading the replication stream")
        lost.retryable = True
        return lost

    def _ended(self) -> PgcopydbError:
        """Return why the stream ended; the first result may look like a success and is not."""
        while (result := self._pgconn.get_result()) is not None:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                error = _failure(self._connection, result)
                return translate(self._endpoint, error, doing="reading the replication stream")
        return self._endpoint.error(
            f"{self._endpoint.side}: the server ended the replication stream", retryable=True
        )


def _failure(connection: psycopg.Connection[Any], result: pq.abc.PGresult) -> psycopg.Error:
    """Return the error in ``result``: of the connection when that is gone, else the server's."""
    error = psycopg.errors.error_from_result(result)
    if error.sqlstate is None and connection.pgconn.status != pq.ConnStatus.OK:
        return psycopg.OperationalError(str(error))
    return error


def parse_keepalive(message: bytes) -> tuple[int, bool]:
    """Return how far the server has read its log, and whether it wants an answer at once."""
    try:
        wal_end, _clock, wants_reply = _KEEPALIVE.unpack(message)
    except struct.error as error:
        raise ProtocolError(f"a keepalive message of {len(message)} bytes") from error
    return wal_end, bool(wants_reply)


def create_slot(
    connection: psycopg.Connection[Any], endpoint: Endpoint, *, slot_name: str, plugin: str
) -> tuple[int, str]:
    """Create a logical slot on a walsender ``connection``; return its start and a snapshot.

    The snapshot shows exactly what was committed before the start. It is exported until the next
    command on this connection (manual, CREATE_REPLICATION_SLOT).
    """
    command = sql.SQL("CREATE_REPLICATION_SLOT {} LOGICAL {} EXPORT_SNAPSHOT").format(
        sql.Identifier(slot_name), sql.Identifier(plugin)
    )
    with reporting(endpoint, f'creating replication slot "{slot_name}" with plugin {plugin}'):
        cursor = connection.execute(command)
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        row = cursor.fetchone()
    if row is None:
        raise StateError(f'{endpoint.side}: replication slot "{slot_name}" was not created')
    values = dict(zip(names, row, strict=True))  # by name: some vendors add columns
    high, low = str(values["consistent_point"]).split("/")
    return (int(high, 16) << 32) | int(low, 16), str(values["snapshot_name"])


def _concerns(message: str, filters: Filters) -> bool:
    """Tell whether wal2json's warning may be about a table that ``filters`` take.

    It ends in "schema"."name" without doubling quotes inside, so that more than one reading of a
    strange name is possible: then each must be left out.
    """
    quoted = message.partition(' in table "')[2].removesuffix('"')
    separator = '"."'
    parts = quoted.split(separator)
    readings = [
        (separator.join(parts[:end]), separator.join(parts[end:])) for end in range(1, len(parts))
    ]
    return not readings or any(filters.copies_data(*name) for name in readings)
