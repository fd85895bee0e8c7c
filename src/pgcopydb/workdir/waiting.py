"""Waiting for the lock of a SQLite file, with an ear for the signals that ask for a stop.

SQLite waits in C, where no signal is heard. The lock is held for moments, unless a process stands
still that holds it: then a stop would take as long as the whole wait. So the wait is done in short
ones, and ends early once a stop was asked for.
"""

import sqlite3
import time
from collections.abc import Callable
from typing import Any, Final

from pgcopydb.runtime import signals

LOOK_EVERY: Final = 0.5
"""Seconds that SQLite itself waits, which is how late a stop is heard."""

_PATIENCE: Final = 30.0

_PATIENCE_AFTER_STOP: Final = 1.0
"""Longer than a commit of another process takes; with the time after which workers are killed it
leaves a stop within ten seconds."""


class WaitingConnection(sqlite3.Connection):
    """A connection whose statements wait for the lock as long as nobody asks for a stop.

    They raise Interrupted when somebody does, and sqlite3.OperationalError when the lock is not let
    go within half a minute. ``executemany`` belongs into a transaction, which has the lock.
    """

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """Run one statement."""
        return _waiting(super().execute, *arguments)

    def executescript(self, script: str, /) -> sqlite3.Cursor:
        """Run statements that may be run twice."""
        return _waiting(super().executescript, script)


def _waiting(run: Callable[..., sqlite3.Cursor], *arguments: Any) -> sqlite3.Cursor:
    began = time.monotonic()
    while True:
        try:
            return run(*arguments)
        except sqlite3.OperationalError as error:
            if not _is_locked(error):
                raise
            waited = time.monotonic() - began
            if waited >= _PATIENCE_AFTER_STOP:
                signals.raise_if_stopped()
            if waited >= _PATIENCE:
                raise


def _is_locked(error: sqlite3.OperationalError) -> bool:
    # Text that is no UTF-8 is Python's own finding, and has no code of SQLite's.
    code = getattr(error, "sqlite_errorcode", 0)
    # A snapshot that others have written over stays what it is, and is told at once.
    return code & 0xFF == sqlite3.SQLITE_BUSY and code != sqlite3.SQLITE_BUSY_SNAPSHOT
