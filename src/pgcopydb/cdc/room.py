"""How much may be stored: receive pauses before the disk is full, and goes on when there is room.

While it pauses the source keeps its WAL, and is told that this program lives (ruling 5).
"""

import logging
import os
import time
from pathlib import Path
from typing import Final

from msgspec import Struct

from pgcopydb.workdir.changelog import segment_files

log = logging.getLogger(__name__)

_LOOK_EVERY: Final = 0.1

_LARGEST_RESERVE: Final = 1 << 30
_RESERVED_SHARE: Final = 0.1
"""A tenth of the file system stays free, but no more than 1 GB."""

_SLACK: Final = 0.1
"""The share by which things must have become better before receiving goes on."""

_SEGMENTS_IN_LIMIT: Final = 8
"""A limit is for so many segments: only whole ones are removed, and the newest never is."""

_SMALLEST_SEGMENT: Final = 1 << 20


class Backlog(Struct, frozen=True):
    """How far the stored changes are, and how far they are applied, as end positions."""

    stored: int
    applied: int


def segment_bytes(max_segment_bytes: int, max_store_bytes: int | None) -> int:
    """Return the size of a segment, which must be small beside the limit of them all."""
    if max_store_bytes is None:
        return max_segment_bytes
    share = max(max_store_bytes // _SEGMENTS_IN_LIMIT, _SMALLEST_SEGMENT)
    return min(max_segment_bytes, share)


class Room:
    """Decides whether more may be stored in ``directory``; warns once when not."""

    def __init__(self, directory: Path, max_store_bytes: int | None) -> None:
        self._directory = directory
        self._limit = max_store_bytes
        self._next_look = 0.0
        self.is_full = False

    def look(self, backlog: Backlog) -> bool:
        """Return whether to pause; asks the file system several times a second at most."""
        now = time.monotonic()
        if now < self._next_look:
            return self.is_full
        self._next_look = now + _LOOK_EVERY
        problem = self._problem(backlog)
        if problem and not self.is_full:
            log.warning("%s: receiving pauses until there is room", problem)
        elif self.is_full and not problem:
            log.info("there is room again for stored changes: receiving goes on")
        self.is_full = bool(problem)
        return self.is_full

    def _problem(self, backlog: Backlog) -> str:
        return self._disk_problem() or self._limit_problem(backlog)

    def _disk_problem(self) -> str:
        status = os.statvfs(self._directory)
        reserve = min(status.f_blocks * status.f_frsize * _RESERVED_SHARE, _LARGEST_RESERVE)
        free = status.f_bavail * status.f_frsize
        wanted = reserve * (1 + _SLACK) if self.is_full else reserve
        if free >= wanted:
            return ""
        return f"only {_megabytes(free)} are free on the disk of {self._directory}"

    def _limit_problem(self, backlog: Backlog) -> str:
        """Say that the limit is reached; a transaction that is larger than it is let in alone."""
        if self._limit is None or backlog.stored <= backlog.applied:
            return ""
        size = stored_bytes(self._directory)
        if size <= (self._limit * (1 - _SLACK) if self.is_full else self._limit):
            return ""
        return f"{_megabytes(size)} of changes are stored and not yet applied (--max-store-size)"


def stored_bytes(directory: Path) -> int:
    """Return what the stored changes in ``directory`` take on disk."""
    total = 0
    for path in segment_files(directory):
        for file in (path, path.with_name(f"{path.name}-wal")):
            try:
                total += file.stat().st_size
            except FileNotFoundError:  # pruned just now, or checkpointed
                continue
    return total


def _megabytes(size: float) -> str:
    return f"{size / (1 << 20):,.1f} MB"
