"""A line at the end of the terminal that says how far a command is, redrawn in place."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pgcopydb.cdc.follow import Observe
from pgcopydb.cli.render import progress_line
from pgcopydb.runtime import logs

T = TypeVar("T")


@contextmanager
def live_line() -> Iterator[Observe | None]:
    """Give what is to be called with the progress of a follow, as ``live_text`` does."""
    with live_text(progress_line) as observe:
        yield observe


@contextmanager
def live_text(line: Callable[[T], str]) -> Iterator[Callable[[T], None] | None]:
    """Give what is to be called with a progress, which ``line`` turns into text.

    It is None where no terminal shows the log.

    The log lines of this process and of its workers stay whole: each takes the live line's place,
    which is drawn again below it.
    """
    options = logs.current()
    if not _is_terminal() or options.json or options.level > logging.INFO:
        yield None
        return
    logs.configure(replace(options, live=True))
    try:
        with LiveLine(Console(stderr=True, highlight=False)) as shown:
            yield lambda progress: shown.show(line(progress))
    finally:
        logs.configure(options)


def _is_terminal() -> bool:
    stream = sys.stderr
    return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class LiveLine:
    """The line itself; a context manager that takes it away at the end."""

    def __init__(self, console: Console) -> None:
        # other processes write to the same terminal, so that nothing may be redirected here
        self._live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> "LiveLine":
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def show(self, text: str) -> None:
        """Draw the line anew."""
        self._live.start()
        line = Text(text, no_wrap=True, overflow="ellipsis", end="")
        self._live.update(line, refresh=True)
