"""Runs a PostgreSQL program to its end, whatever happens to the thread that waits for it."""

import ctypes
import logging
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Final

from msgspec import Struct

from pgcopydb.errors import ExternalToolError

logger = logging.getLogger(__name__)

_LOOK_EVERY: Final = 0.2
_GRACE: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1

_NO_TLS: Final = "SSL support is not compiled in"
_NO_TLS_HINT: Final = (
    "the programs of pgcopydb[demo] have no TLS: install PostgreSQL's client programs, "
    "and have them in PATH or named by PG_CONFIG"
)

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Finished(Struct, frozen=True):
    """How a program ended: its exit status, what it printed, and what it complained of."""

    program: str
    status: int
    output: str
    complaints: tuple[str, ...]

    def error(self) -> ExternalToolError:
        """Return the error to raise for this end, with the first complaint as the reason."""
        reason = next(
            (line for line in self.complaints if "error:" in line or "ERROR:" in line),
            self.complaints[-1] if self.complaints else f"exit status {self.status}",
        )
        if self.status < 0:
            reason = f"ended by {signal.Signals(-self.status).name}"
        more = [line for line in self.complaints if line != reason][-3:]
        hint = _NO_TLS_HINT if _NO_TLS in reason else "; ".join(more) or None
        return ExternalToolError(
            f"{self.program} failed: {reason.removeprefix('error: ')}", hint=hint
        )


def run_tool(
    arguments: Sequence[str | Path],
    environment: Mapping[str, str],
    *,
    stopping: Callable[[], bool] = lambda: False,
) -> Finished:
    """Run a program with exactly ``environment`` and return how it ended.

    ``stopping`` is asked five times a second; once it says yes, and on any exception in this
    thread, the child is asked to end, then killed, and always waited for. Raises
    ExternalToolError when the program cannot be started.
    """
    program = Path(arguments[0]).name
    try:
        process = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            text=True,
            encoding="utf-8",
            errors="replace",
            preexec_fn=_end_with_parent if _LIBC else None,  # noqa: PLW1509 - one C call
        )
    except OSError as error:
        raise ExternalToolError(f"cannot start {arguments[0]}: {error.strerror}") from error
    with process:
        try:
            output, complaints = _wait(process, stopping)
        finally:
            _end(process)
    return Finished(program, process.returncode, output, _meaningful(program, complaints))


def _wait(process: "subprocess.Popen[str]", stopping: Callable[[], bool]) -> tuple[str, str]:
    asked: float | None = None
    while True:
        try:
            return process.communicate(timeout=_LOOK_EVERY)
        except subprocess.TimeoutExpired:
            if asked is None and stopping():
                process.terminate()
                asked = monotonic()
            elif asked is not None and monotonic() - asked > _GRACE:
                process.kill()  # it does not heed the other when something has stopped it


def _end(process: "subprocess.Popen[str]") -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()


def _end_with_parent() -> None:
    """Have the kernel end the child when the thread that started it is gone (kill -9 included).

    A pg_restore that goes on alone would write into a target that a resumed run restores again.
    """
    assert _LIBC is not None
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


_COMMAND = re.compile(r"""^Command was: (?P<begun>[A-Z][A-Z ]*(?:"(?:[^"]|"")*"|[^\s"'(;])*)?""")
"""A statement that failed, and of that what is done to which object."""

_CARET = re.compile(r"\s*\^")


def _meaningful(program: str, complaints: str) -> tuple[str, ...]:
    """Return the program's own lines, without the SQL that it quotes.

    The statement of a user mapping or a subscription holds a password; of "Command was:" and what
    follows, up to the program's next own line, only the kind and name of the object are kept, with
    the error.
    """
    kept: list[str] = []
    quoting = False
    failed = 0
    for line in complaints.splitlines():
        if line.startswith(f"{program}: "):
            quoting, failed = False, len(kept)
            kept.append(line.removeprefix(f"{program}: ").replace("ERROR:  ", "ERROR: "))
        elif command := _COMMAND.match(line):
            quoting = True
            if command["begun"] and failed < len(kept):
                kept[failed] += f", in {command['begun'].strip()}"
        elif not quoting and line.strip() and not _CARET.fullmatch(line):
            kept.append(line.strip())
    return tuple(kept)
