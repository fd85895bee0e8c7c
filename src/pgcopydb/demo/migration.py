"""The migration itself: the real command in a process of its own, watched as a DBA would.

What is shown of it is read from its work directory, in the way that ``stream sentinel get`` does.
"""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from msgspec import Struct

from pgcopydb.cdc.steering import get_sentinel
from pgcopydb.clone.context import COPY
from pgcopydb.demo.workload import end
from pgcopydb.errors import StateError, WorkerError
from pgcopydb.model.options import WorkOptions
from pgcopydb.workdir.directory import attach_directory
from pgcopydb.workdir.jobs import JobQueue, PoolState
from pgcopydb.workdir.sentinel import Sentinel

_SHOWN_LINES: Final = 15
_COMMAND_SECONDS: Final = 60.0


class Progress(Struct, frozen=True):
    """Where the migration is; either part is None before there is something to tell."""

    copy: PoolState | None = None
    sentinel: Sentinel | None = None

    @property
    def copied(self) -> bool:
        """Whether the base copy is complete, so that changes may be applied."""
        return self.sentinel is not None and self.sentinel.apply


class Migration:
    """``pgcopydb clone --follow`` between two servers; a context manager that ends it."""

    def __init__(self, source: str, target: str, directory: Path) -> None:
        self._servers = ("--source", source, "--target", target)
        self._source = source
        self._options = WorkOptions(directory=directory / "work")
        self._log = directory / "pgcopydb.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("clone", "--follow", *self._servers),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C is for us, who end it in order
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            end(self._process)

    def progress(self) -> Progress:
        """Return where the migration is now."""
        with suppress(StateError, sqlite3.Error), attach_directory(self._options) as work:
            with work.store() as store:
                copy = JobQueue(store).state(COPY)
            with suppress(StateError):
                return Progress(copy, get_sentinel(work))
            return Progress(copy)
        return Progress()

    def is_running(self) -> bool:
        """Tell whether the command still runs; raise WorkerError when it failed."""
        assert self._process is not None
        status = self._process.poll()
        if status is None:
            return True
        if status != 0:
            ending = (
                f"ended with status {status}" if status > 0 else f"was killed by signal {-status}"
            )
            raise WorkerError(
                f"pgcopydb clone --follow {ending}",
                hint="its last words are above",
                status=status if status > 0 else WorkerError.exit_code,
            )
        return False

    def wait(self, seconds: float) -> None:
        """Wait for the command's end; raise WorkerError when it fails or takes too long."""
        deadline = time.monotonic() + seconds
        while self.is_running():
            if time.monotonic() > deadline:
                raise WorkerError(f"pgcopydb clone --follow did not end within {seconds:.0f} s")
            time.sleep(0.005)

    def set_end(self) -> str:
        """Say that the migration ends with what is committed by now; return the position."""
        work = ("--dir", str(self._options.directory))
        arguments = ("stream", "sentinel", "set", "endpos", "--current", "--source", self._source)
        return _run([*_PROGRAM, *arguments, *work]).strip()

    def clean_up(self) -> None:
        """Remove from both servers what the migration needed there."""
        _run(self._command("stream", "cleanup", *self._servers))

    def last_words(self) -> list[str]:
        """Return the end of what the command has logged."""
        return self._log.read_text(errors="replace").splitlines()[-_SHOWN_LINES:]

    def _command(self, *arguments: str) -> list[str]:
        return [*_PROGRAM, *arguments, "--dir", str(self._options.directory)]


_PROGRAM: Final = (sys.executable, "-m", "pgcopydb")


def _run(command: Sequence[str]) -> str:
    """Run another command of this program; return what it prints."""
    finished = subprocess.run(
        command,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_COMMAND_SECONDS,
        check=False,
    )
    if finished.returncode != 0:
        lines = finished.stderr.strip().splitlines()
        raise WorkerError(
            f"{command[3]} {command[4]} ended with status {finished.returncode}:"
            f" {lines[-1] if lines else 'no reason given'}",
            status=max(finished.returncode, 1),
        )
    return finished.stdout


def _environment() -> dict[str, str]:
    """Return our environment without what would speak to PostgreSQL of other servers."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
