"""The processes of a server: under which user, how they die, and how ours ends in order."""

import os
import pwd
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from pgcopydb.errors import ConfigurationError

_LAUNCHER = Path(__file__).with_name("launch.py")
_GONE_SECONDS = 60.0


def server_user() -> str | None:
    """Return the user that a server started by us must run as, or None to stay who we are.

    Raises ConfigurationError when we are root and the machine has no such user.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise ConfigurationError(
        "PostgreSQL does not run as root, and there is neither a user postgres nor nobody",
        hint="run the command as an ordinary user",
    )


def launch_command(command: Sequence[str], user: str | None) -> list[str]:
    """Return the command line that runs a server program as a user and lets it die with us.

    The kernel ties a child's life to the thread that made it, so only the main thread, which
    lives as long as the program, asks for that.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    parent = os.getpid() if in_main_thread else 0
    return [sys.executable, "-I", "-S", str(_LAUNCHER), str(parent), user or "-", *command]


def children(parent: int) -> list[int]:
    """Return the process ids of a process's children, from /proc (none where there is no /proc)."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name, in parentheses, may hold anything; behind it come the state and the parent.
            fields = status.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found.append(int(status.parent.name))
    return found


def wait_until_gone(pids: Sequence[int]) -> None:
    """Wait until none of these processes is left, for a minute at most."""
    deadline = time.monotonic() + _GONE_SECONDS
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Tell whether a process is there and no zombie that its new parent has yet to reap."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def exit_on_sigterm() -> None:
    """Let SIGTERM end this program in order, unless the program decided otherwise.

    Its default ends a program on the spot, without a chance to stop servers and remove data.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
