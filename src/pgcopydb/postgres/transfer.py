"""The bulk lane: moves parts of tables from the source to the target, as fast as Python can.

A lane is two asyncpg sessions and lives in one process, inside one ``asyncio.run``. The source
session stays in one transaction that has the imported snapshot. On the target a group of parts is
one transaction: markers, rows, and the markers' counts. Rows pass as the bytes that COPY printed.

What asyncpg does and this file mends (all tried with backends ended in mid-COPY): it waits for
ever when the target goes while it sends, so a termination listener cancels the pump; a generator
that merely ends after the source failed would commit half a table, so it raises; cancelling a
reader that waits for room in a queue waits for the queue, so the queue is closed first; and after
any failure both sessions are terminated, never reused.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import asyncpg
from msgspec import Struct

from pgcopydb.errors import PgcopydbError, first_line
from pgcopydb.model.encodings import RAW
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.parts import PartKind, TablePart
from pgcopydb.postgres import bulk
from pgcopydb.postgres.connect import connect_bulk, reporting_bulk
from pgcopydb.postgres.lane_route import LaneRoute
from pgcopydb.postgres.snapshot import lock_refused, snapshot_gone
from pgcopydb.sql.copy import lock_tables, select_part, truncate_tables
from pgcopydb.sql.quote import quote_literal

log = logging.getLogger(__name__)

_T = TypeVar("_T")

ATTEMPTS: Final = 6
"""How often a group of parts is begun before its lost connections end the run."""

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0

_ROOM: Final = 4 << 20
"""Bytes that may wait between the two sides. A row is one chunk whatever its size, so the bound
counts bytes and a single large row still passes."""

_LOCK_NOT_AVAILABLE: Final = "55P03"

_NO_SUCH_SNAPSHOT: Final = {"22023", "42704", "55000"}

_CLAIM: Final = (
    "insert into pgcopydb.copy_marker"
    "  (run_id, snapshot, table_oid, part, schema_name, table_name, unlogged)"
    " select $1, $2, p.table_oid, p.part, p.schema_name, p.table_name,"
    "  coalesce(c.relpersistence = 'u', false)"
    " from rows from (pg_catalog.unnest($3::pg_catalog.oid[]),"
    "  pg_catalog.unnest($4::pg_catalog.int4[]), pg_catalog.unnest($5::pg_catalog.name[]),"
    "  pg_catalog.unnest($6::pg_catalog.name[])) as p (table_oid, part, schema_name, table_name)"
    " left join pg_catalog.pg_namespace as n on n.nspname = p.schema_name"
    " left join pg_catalog.pg_class as c on c.relnamespace = n.oid and c.relname = p.table_name"
    " order by 3, 4"
    " on conflict do nothing returning table_oid, part"
)
"""The markers come first: where an earlier attempt's commit is still in doubt this waits for its
end, and gives only the parts that are not there."""

_COUNT: Final = (
    "update pgcopydb.copy_marker as m set rows = p.rows, bytes = p.bytes"
    " from rows from (pg_catalog.unnest($3::pg_catalog.oid[]),"
    "  pg_catalog.unnest($4::pg_catalog.int4[]), pg_catalog.unnest($5::pg_catalog.int8[]),"
    "  pg_catalog.unnest($6::pg_catalog.int8[])) as p (table_oid, part, rows, bytes)"
    " where m.run_id = $1 and m.snapshot = $2"
    " and m.table_oid = p.table_oid and m.part = p.part"
)

_COPIED: Final = (
    "select rows, bytes from pgcopydb.copy_marker"
    " where run_id = $1 and snapshot = $2 and table_oid = $3 and part = $4"
)

_END_PREDECESSOR: Final = (
    "select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity"
    " where pid = $1 and backend_start = $2 and usename = current_user"
)


class Moved(Struct, frozen=True):
    """What one part was: rows, and bytes of COPY data. ``repeated`` says it was there before."""

    rows: int
    bytes: int
    repeated: bool = False


class Lane:
    """Two sessions that copy one group of parts after another; an async context manager."""

    def __init__(self, route: LaneRoute, *, purpose: str = "copy") -> None:
        self._route = route
        self._purpose = purpose
        self._source: asyncpg.Connection[Any] | None = None
        self._target: asyncpg.Connection[Any] | None = None
        self._predecessor: tuple[int, Any] | None = None
        self._pumping: asyncio.Task[Any] | None = None
        self._target_lost = False
        self._moving: tuple[TablePart, _Chunks] | None = None

    async def __aenter__(self) -> "Lane":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        sessions = (self._source, self._target)
        try:
            # Nothing is open on the target here; on the source it is only the snapshot.
            for session in sessions if kind is None else ():
                if session is not None:
                    await session.close(timeout=_LONGEST_PAUSE)
        except bulk.FAILURES:
            log.debug("a session of the lane did not close in order", exc_info=True)
        finally:
            self._terminate()

    @property
    def moving(self) -> tuple[TablePart, int] | None:
        """The part under way and how many of its bytes were read, None between two parts."""
        return None if self._moving is None else (self._moving[0], self._moving[1].bytes)

    async def connect(self) -> None:
        """Open both sessions, so that the snapshot is imported while it is surely there.

        Tries again, and raises, as ``copy`` does.
        """
        await self._persist(self._sessions)

    async def copy(self, parts: Sequence[TablePart]) -> list[Moved]:
        """Copy ``parts`` in one transaction of the target; none, or all of them, is then there.

        A part whose marker is there already is left as it is. A lost connection, a deadlock and
        the like are tried again, as often as ATTEMPTS says, unless the snapshot is gone. Raises
        the side's error, which names table and part.
        """
        return await self._persist(lambda: self._attempt(parts))

    async def _persist(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        pause = _FIRST_PAUSE
        for number in range(1, ATTEMPTS + 1):
            try:
                return await attempt()
            except PgcopydbError as error:
                self._terminate()
                if not error.retryable or number == ATTEMPTS:
                    raise
                log.warning("%s; trying again", error.message)
            except BaseException:
                self._terminate()
                raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, parts: Sequence[TablePart]) -> list[Moved]:
        source, target = await self._sessions()
        to = self._route.target.endpoint
        several = str(parts[0]) if len(parts) == 1 else f"{parts[0]} and {len(parts) - 1} more"
        with _reporting(to, f"beginning to copy {several}"):
            await target.execute("begin")
            claimed = await self._claim(target, parts)
            await self._empty(
                target, [one for one in parts if (one.table_oid, one.part.number) in claimed]
            )
        moved = [
            await self._pump(source, target, part)
            if (part.table_oid, part.part.number) in claimed
            else await self._copied_before(target, part)
            for part in parts
        ]
        with _reporting(to, f"committing {several}"):
            await self._count(target, parts, moved)
            await target.execute("commit")
        return moved

    async def _claim(
        self, target: "asyncpg.Connection[Any]", parts: Sequence[TablePart]
    ) -> set[tuple[int, int]]:
        rows = await target.fetch(
            _CLAIM,
            self._route.run_id,
            self._route.marker_snapshot,
            [part.table_oid for part in parts],
            [part.part.number for part in parts],
            [part.schema for part in parts],
            [part.name for part in parts],
        )
        return {(row[0], row[1]) for row in rows}

    async def _empty(self, target: "asyncpg.Connection[Any]", claimed: Sequence[TablePart]) -> None:
        """Empty the tables that are loaded frozen, which only a file of this transaction can be."""
        tables = [(part.schema, part.name) for part in claimed if self._is_frozen(part)]
        if tables:
            await target.execute(truncate_tables(tables))

    def _form(self, part: TablePart) -> dict[str, str]:
        """Return the options of both COPY commands that say how values are written.

        In binary a text is in the session's encoding, which asyncpg must know for its statements;
        only text can be in one that is the COPY's own.
        """
        if self._route.raw:
            return {"format": "text", "encoding": RAW}
        return {"format": "binary" if part.binary else "text"}

    def _is_frozen(self, part: TablePart) -> bool:
        return part.freeze and not self._route.silenced

    async def _copied_before(self, target: "asyncpg.Connection[Any]", part: TablePart) -> Moved:
        with _reporting(self._route.target.endpoint, f"reading the marker of {part}"):
            row = await target.fetchrow(
                _COPIED,
                self._route.run_id,
                self._route.marker_snapshot,
                part.table_oid,
                part.part.number,
            )
        return Moved(row[0] or 0, row[1] or 0, repeated=True)

    async def _count(
        self, target: "asyncpg.Connection[Any]", parts: Sequence[TablePart], moved: Sequence[Moved]
    ) -> None:
        fresh = [pair for pair in zip(parts, moved, strict=True) if not pair[1].repeated]
        await target.execute(
            _COUNT,
            self._route.run_id,
            self._route.marker_snapshot,
            [part.table_oid for part, _ in fresh],
            [part.part.number for part, _ in fresh],
            [one.rows for _, one in fresh],
            [one.bytes for _, one in fresh],
        )

    async def _pump(
        self, source: "asyncpg.Connection[Any]", target: "asyncpg.Connection[Any]", part: TablePart
    ) -> Moved:
        """Move the rows of ``part``; both sides work at once, with a bounded queue between."""
        to = self._route.target.endpoint
        if self._target_lost:
            raise self._lost(part)
        chunks = _Chunks()
        self._moving = (part, chunks)
        self._pumping = asyncio.current_task()
        reader = asyncio.ensure_future(self._read(source, part, chunks))
        try:
            with _reporting(to, f"copying {part}"):
                status = await target.copy_to_table(
                    part.name,
                    schema_name=part.schema,
                    columns=part.columns or None,
                    source=aiter(chunks),
                    **self._form(part),
                    freeze=True if self._is_frozen(part) else None,
                )
            sent = await reader
        except asyncio.CancelledError:
            self._forget_cancellation(part)
            raise
        finally:
            self._pumping = None
            self._moving = None
            if not reader.done():
                chunks.close()
                self._terminate()
                await asyncio.wait([reader], timeout=_LONGEST_PAUSE)
            if reader.done() and not reader.cancelled():
                reader.exception()  # marked as seen: the generator has raised it already
        rows = _rows(status)
        if rows != sent:
            # asyncpg passes over messages of a type that it does not know
            raise to.error(
                f"{to.side}: copying {part} failed: {rows} of {sent} rows of the source were"
                " stored",
                hint="look for a trigger of the target that leaves rows out, and at what is on the"
                " way between the servers",
                retryable=True,
            )
        return Moved(rows, chunks.bytes)

    async def _read(
        self, source: "asyncpg.Connection[Any]", part: TablePart, chunks: "_Chunks"
    ) -> int:
        """Feed ``chunks`` with the rows of ``part``, and with the failure if there is one.

        Returns how many rows the source says that it has sent.
        """
        form = self._form(part)
        try:
            with _reporting(self._route.source.endpoint, f"reading {part}"):
                if part.part.kind is PartKind.WHOLE:
                    status = await source.copy_from_table(
                        part.name,
                        schema_name=part.schema,
                        columns=part.columns or None,
                        output=chunks.put,
                        **form,
                    )
                else:
                    query = select_part(part.schema, part.name, part.columns, part.part)
                    status = await source.copy_from_query(query, output=chunks.put, **form)
        except BaseException as error:
            chunks.close(error)
            raise
        chunks.close()
        return _rows(status)

    # -- sessions ---------------------------------------------------------------------------

    async def _sessions(self) -> "tuple[asyncpg.Connection[Any], asyncpg.Connection[Any]]":
        if self._source is None:
            self._source = await self._open_source()
        if self._target is None:
            self._target = await self._open_target()
        return self._source, self._target

    async def _open_source(self) -> "asyncpg.Connection[Any]":
        server = self._route.source
        connection = await connect_bulk(server, purpose=self._purpose)
        try:
            with _reporting(server.endpoint, "importing the snapshot and locking tables"):
                # Behind a statement that waits for the holder of the copy's table locks a lane
                # would wait for ever, for what is no deadlock to the server. It gives way before
                # deadlock_timeout (1 s), after which the application could be the victim.
                await connection.execute(
                    "set lock_timeout to '900ms';"
                    " begin isolation level repeatable read, read only;"
                    f" set transaction snapshot {quote_literal(self._route.snapshot)}"
                )
                if self._route.locked:
                    await connection.execute(lock_tables(self._route.locked))
        except PgcopydbError as error:
            connection.terminate()
            state = getattr(error.__cause__, "sqlstate", None)
            if state in _NO_SUCH_SNAPSHOT:
                raise snapshot_gone(server.endpoint, self._route.snapshot) from error
            if state == _LOCK_NOT_AVAILABLE:
                raise lock_refused(retryable=True) from error
            raise
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _open_target(self) -> "asyncpg.Connection[Any]":
        server = self._route.target
        connection = await connect_bulk(server, purpose=self._purpose)
        try:
            with _reporting(server.endpoint, "preparing to write"):
                # Rows and marker come or go together, and the copy's end is made durable once.
                await connection.execute("set synchronous_commit to off")
                if self._route.silenced:
                    await connection.execute("set session_replication_role to replica")
                if self._predecessor is not None:
                    await connection.execute(_END_PREDECESSOR, *self._predecessor)
                row = await connection.fetchrow(
                    "select pid, backend_start from pg_catalog.pg_stat_activity"
                    " where pid = pg_catalog.pg_backend_pid()"
                )
        except BaseException:
            connection.terminate()
            raise
        self._predecessor = (row[0], row[1])
        self._target_lost = False
        connection.add_termination_listener(self._note_lost_target)
        return connection

    def _note_lost_target(self, connection: "asyncpg.Connection[Any]") -> None:
        if connection is not self._target:
            return
        self._target_lost = True
        if self._pumping is not None:
            self._pumping.cancel()

    def _forget_cancellation(self, part: TablePart) -> None:
        """Raise the target's error when it was its loss that cancelled the pump."""
        if not self._target_lost:
            return
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        raise self._lost(part) from None

    def _lost(self, part: TablePart) -> PgcopydbError:
        return self._route.target.endpoint.error(
            f"target: copying {part} failed: the connection was lost", retryable=True
        )

    def _terminate(self) -> None:
        source, target = self._source, self._target
        self._source = self._target = None
        for connection in (source, target):
            if connection is not None:
                connection.terminate()


class _Chunks:
    """Chunks of COPY data between two tasks, bounded by bytes; ends, or fails, with its writer."""

    def __init__(self, room: int = _ROOM) -> None:
        self._room = room
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._changed = asyncio.Event()
        self._closed = False
        self._error: BaseException | None = None
        self.bytes = 0

    async def put(self, chunk: bytes) -> None:
        """Add ``chunk``, waiting for room; raise ConnectionAbortedError once closed."""
        while self._size >= self._room and not self._closed:
            self._changed.clear()
            await self._changed.wait()
        if self._closed:
            raise ConnectionAbortedError("the other side of the copy is gone")
        self._waiting.append(chunk)
        self._size += len(chunk)
        self.bytes += len(chunk)
        self._changed.set()

    def close(self, error: BaseException | None = None) -> None:
        """End the data: the reader gets what is there, then ``error`` if there is one."""
        if self._closed:
            return
        self._closed = True
        self._error = error
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._waiting:
                chunk = self._waiting.popleft()
                self._size -= len(chunk)
                self._changed.set()
                yield chunk
            if self._error is not None:
                raise self._error
            if self._closed:
                return
            self._changed.clear()
            await self._changed.wait()


def _rows(status: str) -> int:
    """Return the rows of what a server says at the end of a COPY: ``COPY 42``."""
    return int(status.rpartition(" ")[2])


@contextmanager
def _reporting(endpoint: Endpoint, doing: str) -> Iterator[None]:
    """Turn what asyncpg raises inside into this program's error."""
    with reporting_bulk(endpoint, doing):
        try:
            yield
        except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            # What asyncpg says of a session whose connection has just gone.
            message = f"{endpoint.side}: {doing} failed: {first_line(error)}"
            raise endpoint.error(message, retryable=True) from error
