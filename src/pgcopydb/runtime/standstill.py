"""Tells of worker processes that stand still: stopped by a signal or a debugger, not ended.

Nothing ends such a process, and nothing of it is late enough to be an error: the source keeps its
log for it, and everybody waits. So it is named, again each time that it happens.
"""

import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_EVERY: Final = 2.0

_STOPPED: Final = {"T", "t"}
"""States of proc(5): stopped by a signal, and by a debugger."""


class StandstillWatch:
    """Looks at processes every two seconds, where the system tells their states (Linux)."""

    def __init__(self) -> None:
        self._told: set[int] = set()
        self._next_look = 0.0

    def look(self, processes: Iterable[tuple[str, int]]) -> None:
        """Warn of each of these processes, given by name and number, that has come to stand."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _EVERY
        for name, pid in processes:
            if not _stands_still(pid):
                self._told.discard(pid)
            elif pid not in self._told:
                self._told.add(pid)
                log.warning(
                    "%s (process %d) stands still: something has stopped it, and everything"
                    " waits for it; to let it go on: kill -CONT %d",
                    name,
                    pid,
                    pid,
                )


def _stands_still(pid: int) -> bool:
    try:
        # the name in parentheses may have spaces; the state follows it
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in _STOPPED
