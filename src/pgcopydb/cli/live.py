"""What a command that takes long says meanwhile: on a terminal, or in the log.

What draws on a terminal is imported only where there is one.
"""

import logging
import os
import sqlite3
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
from msgspec import structs

from pgcopydb.cdc.follow import Observe
from pgcopydb.cli.progress import copy_line, progress_members
from pgcopydb.cli.render import progress_line
from pgcopydb.clone.progress import measure, with_index_builds
from pgcopydb.errors import PgcopydbError
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.results import CopyProgress, FollowProgress
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.discover import list_index_builds
from pgcopydb.runtime import logs
from pgcopydb.workdir.commands import CommandState
from pgcopydb.workdir.directory import WorkDirectory

if TYPE_CHECKING:
    from pgcopydb.cli.drawing import Lines

log = logging.getLogger(__name__)

T = TypeVar("T")

Show = Callable[[CopyProgress], None]

_SHOW_EVERY: Final = 0.5
_REPORT_EVERY: Final = 10.0
"""Seconds between the lines of a log that is no terminal."""

_SHARE_OF_TIME: Final = 20
"""Looking takes at most this part of a processor's time."""

_RATE_OVER: Final = 20.0
"""Seconds over which the rate is measured that is shown while it runs."""

_LONG_BUILD: Final = 1.0
"""Seconds after which it is worth asking the target how far an index is."""


@contextmanager
def _terminal() -> "Iterator[Lines | None]":
    """Give the terminal's lines; None where no terminal shows the log."""
    options = logs.current()
    if not _is_terminal() or options.json or options.level > logging.INFO:
        yield None
        return
    from rich.console import Console

    from pgcopydb.cli.drawing import Lines

    logs.configure(replace(options, live=True))
    lines = Lines(Console(stderr=True, highlight=False))
    try:
        yield lines
    finally:
        lines.erase()
        logs.configure(options)


def _is_terminal() -> bool:
    stream = sys.stderr
    return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


@contextmanager
def live_line() -> Iterator[Observe | None]:
    """Give what is to be called with the progress of a follow, as ``live_text`` does."""
    with live_text(progress_line) as observe:
        yield observe


@contextmanager
def live_text(line: Callable[[T], str]) -> Iterator[Callable[[T], None] | None]:
    """Give what is to be called with a progress, which ``line`` turns into text.

    It is None where no terminal shows the log.
    """
    with _terminal() as lines:
        yield None if lines is None else lambda progress: lines.draw(line(progress))


@contextmanager
def live_copy(work: WorkDirectory, target: Endpoint | None = None) -> Iterator[Observe | None]:
    """Show how far the base copy in ``work`` is, until the block ends or a follow begins.

    On a terminal as lines that are redrawn, elsewhere as a line of the log now and then. The
    ``target``, where it is given, is asked how far the indexes are that it is building. Gives
    what is to be called with the progress of a follow, None where no terminal shows it.
    """
    with _terminal() as lines:
        if lines is None:
            with CopyWatch(work, target):
                yield None
            return
        from pgcopydb.cli.drawing import copy_lines

        with CopyWatch(work, target, lambda progress: lines.draw(copy_lines(progress))) as watch:

            def follow(progress: FollowProgress) -> None:
                watch.stop()
                lines.draw(progress_line(progress))

            yield follow


class CopyWatch:
    """A thread that looks at a base copy and shows it; a context manager that ends it.

    It reads what the copy writes down for everybody, so that whatever the copy waits for, a
    server or pg_dump, the lines move. What it cannot read it leaves out: it never ends a copy.
    """

    def __init__(
        self, work: WorkDirectory, target: Endpoint | None, show: Show | None = None
    ) -> None:
        self._work = work
        self._show = show
        self._builds = _IndexBuilds(target)
        self._recent: deque[tuple[float, int]] = deque()
        self._next_report = time.monotonic() + _REPORT_EVERY
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> "CopyWatch":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Show nothing any more."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._thread.join(timeout=2.0)

    def _run(self) -> None:
        pause = _SHOW_EVERY
        try:
            while not self._stopped.wait(pause):
                before = time.thread_time()
                if not self._look():
                    return
                pause = max(_SHOW_EVERY, (time.thread_time() - before) * _SHARE_OF_TIME)
        finally:
            self._builds.close()

    def _look(self) -> bool:
        """Look once and show what is seen; return whether there will be more to see."""
        try:
            progress = measure(self._work)
        except (sqlite3.Error, PgcopydbError):
            log.debug("the progress of the copy cannot be read", exc_info=True)
            return True
        if progress.state == CommandState.DONE:
            return False
        progress = self._with_recent_rate(progress)
        if self._show is not None and not self._stopped.is_set():
            self._show(self._builds.added_to(progress))
        if time.monotonic() >= self._next_report:
            self._next_report = time.monotonic() + _REPORT_EVERY
            level = logging.INFO if self._show is None else logs.NOTICE
            log.log(level, "%s", copy_line(progress), extra=progress_members(progress))
        return True

    def _with_recent_rate(self, progress: CopyProgress) -> CopyProgress:
        """Return ``progress`` with the rate of the last seconds, and what it makes of the rest."""
        now = time.monotonic()
        self._recent.append((now, progress.bytes))
        while now - self._recent[0][0] > _RATE_OVER:
            self._recent.popleft()
        then, before = self._recent[0]
        left = progress.bytes_total - progress.bytes
        moved = progress.bytes - before
        if now - then < _RATE_OVER / 4 or moved <= 0 or left <= 0:
            return progress
        rate = moved / (now - then)
        return structs.replace(progress, bytes_per_second=round(rate), seconds_left=left / rate)


class _IndexBuilds:
    """What the target says of the indexes that it is building, as long as it says something."""

    def __init__(self, target: Endpoint | None) -> None:
        self._target = target
        self._session: psycopg.Connection[tuple[Any, ...]] | None = None

    def added_to(self, progress: CopyProgress) -> CopyProgress:
        """Return ``progress`` with it, where an index takes long enough to be asked for."""
        since = time.time() - _LONG_BUILD
        long = any(one.what == "build" and one.started < since for one in progress.under_way)
        if self._target is None or not long:
            return progress
        try:
            if self._session is None:
                self._session = connect(self._target, purpose="progress")
            return with_index_builds(progress, list_index_builds(self._session))
        except (psycopg.Error, PgcopydbError):
            log.debug("the target does not tell how far its indexes are", exc_info=True)
            self._target = None
            return progress

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
