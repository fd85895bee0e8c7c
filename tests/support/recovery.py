"""How long after a fault does the target see what was committed after it?

::

    with Recovery(pair.target, ledger) as recovery:
        kill_something()
        recovery.after("kill")
        ...
    recovery.seconds          # by kind of fault, for each one that was recovered from
"""

import threading
import time
from contextlib import suppress

import psycopg

from tests.support.background import InBackground
from tests.support.ledger import Ledger
from tests.support.servers import Connection, Database

_WRITER = "keep_books"
"""The writer of the workload whose transactions are the shortest."""

_LAST = f"select coalesce(max(n), 0) from app.ledger where writer = '{_WRITER}'"
_PAUSE = 0.02


class Recovery(InBackground):
    """Watches the target for the first transaction that was committed after each fault."""

    def __init__(self, target: Database, ledger: Ledger) -> None:
        super().__init__("recovery")
        self._target = target
        self._ledger = ledger
        self._lock = threading.Lock()
        self._lasting: list[tuple[str, float, int]] = []
        """Kind, moment and last acknowledged commit of each fault that was not recovered from."""
        self.seconds: dict[str, list[float]] = {}

    @property
    def is_over(self) -> bool:
        """Whether the target has recovered from all faults."""
        return not self._lasting

    def after(self, kind: str) -> None:
        """Say that a fault of this kind has just happened, or is over if it is one that lasts.

        One before it that was not recovered from yet goes on being measured.
        """
        commits = self._ledger.commits.get(_WRITER)
        with self._lock:
            self._lasting.append((kind, time.monotonic(), commits[-1].n if commits else 0))

    def work(self) -> None:
        """Look at the target fifty times a second, whenever it can be reached."""
        while not self.stopping.wait(_PAUSE):
            with suppress(psycopg.Error), self._target.connect(connect_timeout=5) as connection:
                while not self.stopping.wait(_PAUSE):
                    if self._lasting:
                        self._look(connection)

    def _look(self, connection: Connection) -> None:
        row = connection.execute(_LAST.encode()).fetchone()
        seen = time.monotonic()
        assert row is not None
        with self._lock:
            over = [fault for fault in self._lasting if fault[2] < row[0]]
            self._lasting = [fault for fault in self._lasting if fault[2] >= row[0]]
        for kind, happened, _ in over:
            self.seconds.setdefault(kind, []).append(seen - happened)
