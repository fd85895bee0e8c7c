"""How long after a fault does the target see what was committed after it?

::

    with Recovery(pair.target, ledger) as recovery:
        kill_something()
        recovery.after_fault()
        ...
    recovery.seconds          # of each fault that was recovered from before the next one came
"""

import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

import psycopg

from tests.support.ledger import Ledger
from tests.support.servers import Database

_WRITER = "keep_books"
"""The writer of the workload whose transactions are the shortest."""

_LAST = f"select coalesce(max(n), 0) from app.ledger where writer = '{_WRITER}'"
_PAUSE = 0.02


class Recovery:
    """Watches the target for the first transaction that was committed after a fault."""

    def __init__(self, target: Database, ledger: Ledger) -> None:
        self._target = target
        self._ledger = ledger
        self._lock = threading.Lock()
        self._fault: tuple[float, int] | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="recovery", daemon=True)
        self.seconds: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join(30)

    def after_fault(self) -> None:
        """Say that a fault has just happened; one before it that still lasts is not measured."""
        commits = self._ledger.commits.get(_WRITER)
        with self._lock:
            self._fault = (time.monotonic(), commits[-1].n if commits else 0)

    def _watch(self) -> None:
        while not self._stopped.wait(_PAUSE):
            with suppress(psycopg.Error), self._target.connect(connect_timeout=5) as connection:
                while not self._stopped.wait(_PAUSE):
                    if self._fault is not None:
                        self._look(connection)

    def _look(self, connection: psycopg.Connection[tuple[int]]) -> None:
        row = connection.execute(_LAST.encode()).fetchone()
        seen = time.monotonic()
        with self._lock:
            if row is None or self._fault is None:
                return
            happened, before = self._fault
            if row[0] > before:
                self.seconds.append(seen - happened)
                self._fault = None
