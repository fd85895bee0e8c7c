"""How far behind the target is, measured from outside: when does a commit arrive there?

A ledger writer knows when the source acknowledged each commit. This probe looks on the target
which of them can be seen by now, every few milliseconds, and so needs no word of the migration's.
"""

import threading
import time
from bisect import bisect_right
from contextlib import closing
from types import TracebackType
from typing import Any, Final, Self

import psycopg

from pgcopydb.demo.workload import Acknowledgements
from pgcopydb.errors import TargetError, first_line

RESOLUTION: Final = 0.02
"""Seconds between two looks, which every delay measured may be too long by."""

_NEWEST: Final = b"select max(number) from ledger.entry where writer = %s"


class LagProbe(threading.Thread):
    """Watches one writer's commits arrive; a context manager that stops watching.

    Start it when the base copy is complete: before, the table comes and is locked.
    """

    def __init__(self, target: str, writer: int, acknowledgements: Acknowledgements) -> None:
        super().__init__(name="lag probe", daemon=True)
        self._target = target
        self._writer = writer
        self._acknowledgements = acknowledgements
        self._seen: int | None = None
        self._delays: list[tuple[float, float]] = []
        self._stopped = threading.Event()
        self._error: psycopg.Error | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self.join()

    def run(self) -> None:
        """Look until stopped; an error ends the probe and is kept."""
        try:
            with closing(psycopg.connect(self._target, autocommit=True)) as connection:
                while not self._stopped.wait(RESOLUTION):
                    self._look(connection)
        except psycopg.Error as error:
            self._error = error

    def behind(self) -> float | None:
        """Return for how many seconds the oldest commit that is not there yet has been missing.

        0 when none is missing, None before the first look. Raises TargetError when the probe
        could not look.
        """
        if self._error is not None:
            raise TargetError(f"target: looking for commits failed: {first_line(self._error)}")
        if self._seen is None:
            return None
        now = time.monotonic()
        if self._seen >= len(self._acknowledgements.numbers):
            return 0.0
        return now - self._acknowledgements.times[self._seen]

    def delays(self, since: float) -> list[float]:
        """Return, in seconds, how long each commit after ``since`` took to be seen, sorted."""
        return sorted(delay for acknowledged, delay in list(self._delays) if acknowledged >= since)

    def _look(self, connection: psycopg.Connection[Any]) -> None:
        row = connection.execute(_NEWEST, [self._writer]).fetchone()
        now = time.monotonic()
        newest = row[0] if row is not None and row[0] is not None else 0
        times = self._acknowledgements.times
        seen = bisect_right(self._acknowledgements.numbers, newest)
        if self._seen is not None:
            for index in range(self._seen, seen):
                self._delays.append((times[index], now - times[index]))
        self._seen = max(seen, self._seen or 0)
