"""Where a server can live on this machine: a free port and a folder that its user can reach."""

import os
import secrets
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

from pgcopydb.errors import ConfigurationError

LOOPBACK = "127.0.0.1"
"""The address of every server."""

# Below the range from which Linux takes the ports of outgoing connections (32768 and up), so that
# none of these can sit on a stopped server's port when it is to start again.
_PORTS = range(20000, 32000)


def free_port() -> int:
    """Return a port that is free now.

    Random, so that programs that look at the same time rarely meet, and not from the generator of
    the module random, which test runners seed alike in all their processes.
    """
    for _ in range(1000):
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port
    raise ConfigurationError(f"no free port between {_PORTS.start} and {_PORTS.stop - 1}")


def traversable_temporary_directory() -> Path:
    """Return a temporary directory that the server's user can reach."""
    candidates = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]  # noqa: S108
    if os.geteuid() != 0:
        return candidates[0]
    for candidate in candidates:
        path = candidate.resolve()
        if path.is_dir() and all(step.stat().st_mode & 0o001 for step in (path, *path.parents)):
            return path
    raise ConfigurationError(
        "the PostgreSQL server's user can reach no temporary directory",
        hint="set TMPDIR to a directory that everybody may enter",
    )
