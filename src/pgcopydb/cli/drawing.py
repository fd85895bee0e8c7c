"""Lines at the end of a terminal that are drawn again and again in place, and what stands in them.

Other processes write to the same terminal: the workers log their own lines. So the cursor always
rests at the beginning of the lines; a line of the log begins by erasing everything below it, and
is followed by the lines again when they are next drawn.
"""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from pgcopydb.cli.progress import of, phase, qualified, share
from pgcopydb.cli.render import duration, size
from pgcopydb.model.results import CopyProgress, UnderWay
from pgcopydb.runtime.logs import printable

log = logging.getLogger(__name__)

_SHOWN_UNDER_WAY: Final = 12
"""Lines of a terminal that the work under way takes at most."""

_BAR_WIDTH: Final = 20


class Lines:
    """The lines themselves. Any thread may draw them; ``erase`` takes them away."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._drawn = False

    def draw(self, lines: RenderableType) -> None:
        """Put ``lines`` in the place of those drawn before, in one write, so nothing flickers.

        Text that is too long for the terminal is cut.
        """
        with self._lock:
            with self._console.capture() as captured:
                self._console.print(lines, no_wrap=True, overflow="ellipsis", markup=False)
            shown = captured.get().splitlines()[: max(self._console.height - 1, 1)]
            back = f"\x1b[{len(shown) - 1}A" if len(shown) > 1 else ""
            self._write("\r" + "\x1b[K\n".join(shown) + f"\x1b[J\r{back}")
            self._drawn = True

    def erase(self) -> None:
        """Take the lines away."""
        with self._lock:
            if self._drawn:
                self._write("\r\x1b[J")
            self._drawn = False

    def _write(self, text: str) -> None:
        try:
            self._console.file.write(text)
            self._console.file.flush()
        except (OSError, ValueError):
            log.debug("the terminal is gone", exc_info=True)


def copy_lines(progress: CopyProgress) -> RenderableType:
    """Return how far a base copy is, as lines for a terminal, at most 15.

    They fit into 80 columns, so that what is asked for first, the time left, is never cut off.
    """
    if not progress.tables.total:
        text = f"{progress.step or 'preparing'}  {duration(progress.seconds)}"
        return Text(text, no_wrap=True, overflow="ellipsis")
    return Group(
        _overall(progress), _volume(progress), _numbers(progress), _work(progress.under_way)
    )


def _overall(progress: CopyProgress) -> Text:
    done = share(progress)
    if done == 1 and progress.built.total:
        done = progress.built.done / progress.built.total
    line = Text(f"{progress.step or ''}  {_bar(done)}", no_wrap=True, overflow="ellipsis")
    if progress.seconds_left:
        line.append(f"  about {duration(progress.seconds_left)} left", style="bold")
    return line


def _volume(progress: CopyProgress) -> Text:
    if share(progress) == 1:
        parts = [f"{size(progress.bytes)} copied"]
    else:
        parts = [f"{size(progress.bytes)} of about {size(progress.bytes_total)}"]
        if progress.bytes_per_second:
            parts.append(f"{size(progress.bytes_per_second)}/s")
    parts += [f"{progress.rows:,} rows", duration(progress.seconds)]
    return Text("  ".join(parts), no_wrap=True, overflow="ellipsis")


def _bar(done: float) -> str:
    filled = round(done * _BAR_WIDTH)
    return f"{done:4.0%}  {'█' * filled}{'░' * (_BAR_WIDTH - filled)}"


def _numbers(progress: CopyProgress) -> Text:
    parts = [f"{of(progress.tables)} tables", f"{of(progress.indexes)} indexes"]
    if progress.large_objects.total:
        parts.append(f"{of(progress.large_objects)} large objects")
    if progress.foreign_keys.total:
        parts.append(f"{of(progress.foreign_keys)} foreign keys")
    return Text("  ".join(parts), style="dim", no_wrap=True, overflow="ellipsis")


def _work(under_way: Sequence[UnderWay]) -> Table:
    now = time.time()
    table = Table.grid(padding=(0, 2), pad_edge=False)
    for _ in range(4):
        table.add_column(no_wrap=True, overflow="ellipsis")
    # small tables are claimed many at once, and done in a moment each
    known_first = sorted(under_way, key=lambda one: (not (one.bytes or one.phase), one.started))
    fits = len(known_first) <= _SHOWN_UNDER_WAY
    shown = known_first if fits else known_first[: _SHOWN_UNDER_WAY - 1]
    for one in shown:
        table.add_row(
            f"  {one.what}",
            printable(qualified(one.schema, one.name)) + _part(one),
            duration(max(now - one.started, 0)),
            _detail(one),
        )
    if not fits:
        table.add_row("", f"and {len(known_first) - len(shown)} more")
    return table


def _part(one: UnderWay) -> str:
    return f" {one.part}/{one.parts}" if one.parts and one.parts > 1 else ""


def _detail(one: UnderWay) -> str:
    if one.bytes is not None and one.bytes_total:
        return f"{size(one.bytes)} of about {size(max(one.bytes_total, one.bytes))}"
    return phase(one)
