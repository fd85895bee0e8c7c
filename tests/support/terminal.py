"""A terminal: what a program that redraws its lines leaves on the screen, and one to run it in."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.commands import clean_environment

_TOKEN = re.compile(r"\x1b\[[?\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+")


def screen(written: str) -> list[str]:
    """Return the lines that a terminal shows of what was written to it; colours are left out."""
    rows, row, column = [""], 0, 0
    for token in _TOKEN.findall(written):
        if token == "\r":
            column = 0
        elif token == "\n":
            row, column = row + 1, 0
            rows += [""] * (row + 1 - len(rows))
        elif token == "\x1b[K":
            rows[row] = rows[row][:column]
        elif token == "\x1b[J":
            rows[row:] = [rows[row][:column]]
        elif token.endswith("A") and token.startswith("\x1b"):
            row -= int(token[2:-1])
        elif not token.startswith("\x1b"):
            line = rows[row]
            rows[row] = line[:column].ljust(column) + token + line[column + len(token) :]
            column += len(token)
    return [line.rstrip() for line in rows]


@dataclass(frozen=True)
class Shown:
    """What a command left on its terminal, and all that it wrote there."""

    status: int
    screen: list[str]
    written: str


def run_in_terminal(
    arguments: Sequence[str | Path],
    home: Path,
    *,
    interrupt_when: Callable[[str], bool] = lambda _: False,
    seconds: float = 60.0,
) -> Shown:
    """Run ``pgcopydb ARGUMENTS`` in a terminal; press Ctrl-C once ``interrupt_when`` says so.

    It is called with all that was written so far.
    """
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("pgcopydb")), *map(str, arguments)],
        env=clean_environment(home) | {"TERM": "xterm", "COLUMNS": "120", "LINES": "30"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    written, interrupted, until = b"", False, time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    piece = os.read(ours, 1 << 16)
                except OSError:  # the other side is closed
                    break
                written += piece
            if not interrupted and interrupt_when(written.decode(errors="replace")):
                interrupted = True
                process.send_signal(signal.SIGINT)
        status = process.wait(max(until - time.monotonic(), 1.0))
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    text = written.decode()
    return Shown(status, screen(text), text)
