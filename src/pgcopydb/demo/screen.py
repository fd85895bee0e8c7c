"""What a person sees: finished steps stay, the present one moves.

On a terminal the present step is redrawn in place; elsewhere a line is printed every two seconds.
"""

import time
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_PLAIN_EVERY: Final = 2.0
"""Seconds between lines about the present step where nothing can be redrawn."""


class Screen:
    """Where the demonstration tells what it does; a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._started = time.monotonic()
        self._step = ""
        self._next_line = 0.0
        self._spinner = Spinner("dots")
        self._live = Live(console=self._console, refresh_per_second=10, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._started

    def step(self, text: str) -> None:
        """Say what is being done from now on."""
        self._step = text
        self._next_line = time.monotonic() + _PLAIN_EVERY
        if self._console.is_terminal:
            self.now()
        else:
            self._line("…", text)

    def now(self, *facts: str, share: float | None = None) -> None:
        """Say how the present step goes: a few facts, and how much of it is done (0 to 1)."""
        if self._console.is_terminal:
            self._live.update(self._picture(facts, share))
        elif facts and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _PLAIN_EVERY
            self._line(" ", ", ".join(facts))

    def done(self, text: str) -> None:
        """Say what has been done; this stays."""
        if self._console.is_terminal:
            self._live.update(Text())
        self._line("✓", text, style="green")

    def problem(self, text: str) -> None:
        """Say what is wrong; this stays."""
        self._line("✗", text, style="red")

    def report(self, lines: Iterable[str]) -> None:
        """Print lines as they are, now that nothing moves any more."""
        self._live.stop()
        for line in lines:
            self._console.print(Text(line), soft_wrap=True)

    def wait_for_enter(self, text: str) -> None:
        """Wait until Enter is pressed, or the input has ended."""
        with suppress(EOFError):
            self._console.input(f"{text} ")

    def _line(self, mark: str, text: str, style: str = "") -> None:
        line = Text.assemble((f"{self.elapsed:5.1f} s ", "dim"), (f" {mark} ", style), text)
        self._console.print(line, soft_wrap=True)

    def _picture(self, facts: tuple[str, ...], share: float | None) -> RenderableType:
        self._spinner.update(text=Text(self._step))
        parts: list[RenderableType] = [self._spinner]
        if share is not None:
            parts.append(ProgressBar(total=1.0, completed=min(share, 1.0), width=50))
        parts += [Text(f"  {fact}") for fact in facts]
        grid = Table.grid()  # a group would not end the bar's line
        for part in parts:
            grid.add_row(part)
        return grid


def size(count: float) -> str:
    """Return a number of bytes with a unit; units are powers of 1000."""
    return decimal(max(0, round(count)))


def seconds(duration: float) -> str:
    """Return a duration in milliseconds or seconds."""
    return f"{duration * 1000:.0f} ms" if duration < 1 else f"{duration:.1f} s"
