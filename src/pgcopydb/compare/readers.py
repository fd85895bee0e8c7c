"""Sessions that read both databases, each side as one snapshot shows it.

The servers do the work, so threads suffice here: each waits for a server of its own.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from queue import Empty, LifoQueue, SimpleQueue
from threading import Lock
from typing import Any, Final

import psycopg

from pgcopydb.errors import Interrupted, PgcopydbError, StateError
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.digest import RowTooLongError
from pgcopydb.postgres.session import read_tables_only, use_raw_encoding
from pgcopydb.postgres.snapshot import HeldSnapshot, exported_snapshot, import_snapshot
from pgcopydb.runtime import signals

Session = psycopg.Connection[Any]

_READS_A_TRANSACTION: Final = 50
"""A transaction keeps a lock of every table and index it has read, and their room is bounded."""

_TRIES: Final = 4
_PAUSE: Final = 1.0

_QUEUED_PER_SESSION: Final = 8
_TICK: Final = 0.2


@dataclass(slots=True)
class _Reader:
    connection: Session
    reads: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """Something to read on one side; ``subject`` tells whoever asked what it was."""

    side: Side
    subject: Any
    read: Callable[[Session], Any] = field(repr=False)


class SideReaders:
    """Sessions of one side that see what the ``held`` snapshot shows."""

    def __init__(self, held: HeldSnapshot, jobs: int) -> None:
        self.held = held
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix=f"read {held.endpoint.side}")
        self._idle: LifoQueue[_Reader] = LifoQueue()
        self._open: set[Session] = set()
        self._lock = Lock()
        self._closing = False

    def submit(self, read: Callable[[Session], Any]) -> Future[Any]:
        """Have ``read`` done by the next session that is free; try again where one was lost.

        The result is None where a row is too long to be read so.
        """
        return self._threads.submit(self._read, read)

    def close(self) -> None:
        """Cancel what is being read, and close every session."""
        self._closing = True
        with self._lock:
            connections = list(self._open)
        if self._idle.qsize() < len(connections):
            for connection in connections:
                with suppress(psycopg.Error):
                    connection.cancel_safe(timeout=2)
        self._threads.shutdown(wait=True, cancel_futures=True)
        for connection in self._open:
            connection.close()

    def _read(self, read: Callable[[Session], Any]) -> Any:
        for attempt in range(1, _TRIES + 1):
            reader = self._take()
            try:
                result = read(reader.connection)
            except RowTooLongError:
                self._drop(reader)
                return None
            except BaseException as error:
                self._drop(reader)
                lost = isinstance(error, PgcopydbError) and error.retryable
                if self._closing or not lost or attempt == _TRIES:
                    raise
                time.sleep(_PAUSE * attempt)
            else:
                self._give_back(reader)
                return result
        raise AssertionError("the last try returns or raises")

    def _take(self) -> _Reader:
        try:
            return self._idle.get_nowait()
        except Empty:
            connection = connect(self.held.endpoint, purpose="compare")
        with self._lock:
            self._open.add(connection)
        reader = _Reader(connection)
        try:
            use_raw_encoding(connection)
            read_tables_only(connection)
            self._begin(connection)
        except BaseException:
            self._drop(reader)
            raise
        return reader

    def _give_back(self, reader: _Reader) -> None:
        reader.reads += 1
        if reader.reads >= _READS_A_TRANSACTION:
            reader.reads = 0
            reader.connection.execute("rollback")
            self._begin(reader.connection)
        self._idle.put(reader)

    def _begin(self, connection: Session) -> None:
        endpoint = self.held.endpoint
        try:
            import_snapshot(endpoint, connection, self.held.id)
        except StateError:
            raise endpoint.error(
                f"{endpoint.side}: the session that holds the snapshot was lost",
                hint="what was read since belongs to another moment: compare again",
            ) from None

    def _drop(self, reader: _Reader) -> None:
        with self._lock:
            self._open.discard(reader.connection)
        reader.connection.close()


class Readers:
    """The sessions of both sides."""

    def __init__(self, sides: Mapping[Side, SideReaders], jobs: int, tick: Callable[[], None]):
        self._sides = sides
        self._most = jobs * len(sides) * _QUEUED_PER_SESSION
        self._tick = tick

    def endpoint(self, side: Side) -> Endpoint:
        """Return the server of a side."""
        return self._sides[side].held.endpoint

    def held(self, side: Side) -> Session:
        """Return the session that holds a side's snapshot, to read its catalogue."""
        return self._sides[side].held.connection

    def each(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Any]]:
        """Do all ``tasks``, side by side; yield each with what it read, in the order of ending.

        Only so many are taken from ``tasks`` as are needed to keep all sessions busy. Raises what
        the first one that fails raised, and Interrupted when a signal asked to stop.
        """
        remaining = iter(tasks)
        ended: SimpleQueue[tuple[Task, Future[Any]]] = SimpleQueue()
        waiting = 0
        while True:
            for task in islice(remaining, self._most - waiting):
                self._start(task, ended)
                waiting += 1
            if not waiting:
                return
            signals.raise_if_stopped()
            self._tick()
            with suppress(Empty):
                task, future = ended.get(timeout=_TICK)
                waiting -= 1
                yield task, future.result()

    def _start(self, task: Task, ended: "SimpleQueue[tuple[Task, Future[Any]]]") -> None:
        future = self._sides[task.side].submit(task.read)
        future.add_done_callback(lambda done: ended.put((task, done)))


@contextmanager
def stopping() -> Iterator[None]:
    """Let a signal end the comparison, of which nothing is left to go on with."""
    try:
        with signals.stop_on_signals():
            yield
    except Interrupted as error:
        error.hint = None
        raise


@contextmanager
def open_readers(
    source: Endpoint, target: Endpoint, *, jobs: int, tick: Callable[[], None] = lambda: None
) -> Iterator[Readers]:
    """Open up to ``jobs`` sessions on each side for the length of the block.

    Both snapshots are taken at once, one after the other. ``tick`` is called several times a
    second while something is read. Raises the side's error.
    """
    with ExitStack() as stack:
        sides: dict[Side, SideReaders] = {}
        for endpoint in (source, target):
            held = stack.enter_context(exported_snapshot(endpoint, purpose="compare"))
            use_raw_encoding(held.connection)
            read_tables_only(held.connection)
            sides[endpoint.side] = SideReaders(held, jobs)
        for side in sides.values():
            stack.callback(side.close)
        yield Readers(sides, jobs, tick)
