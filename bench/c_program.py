"""The C program of the same name as a contender, as Debian packages it (0.10, wal2json).

Its positions are in a table of the source, and its slot must be of its own plugin, so it has a
slot beside the recording's. It is not stopped at the recording's end by a signal: it ends at
endpos, or is given up.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from contenders import Run, differing, no_origin_left, server_watch
from measure import Watch
from recording import C_SLOT, Recording
from servers import client_environment, digest, fresh_target

from pgcopydb.lsn import format_lsn

_PROGRAM = Path("/usr/bin/pgcopydb")
_LIMIT = 600.0


def missing() -> str | None:
    """Return why the C program cannot run here, or None when it can."""
    return None if _PROGRAM.exists() else f"{_PROGRAM} is not installed (apt-get install pgcopydb)"


def c_program(recording: Recording, name: str) -> Run:
    """Run its `follow` until endpos."""
    servers = recording.servers
    directory = recording.directory / name
    with (
        fresh_target(servers.target, recording.base, name) as database,
        recording.slot(name, C_SLOT),
        no_origin_left(servers, name),
        server_watch(servers, database) as server,
    ):
        environment = client_environment() | {
            "PGCOPYDB_SOURCE_PGURI": recording.source,
            "PGCOPYDB_TARGET_PGURI": servers.target.conninfo(database),
            "TMPDIR": str(recording.directory),
        }
        start, end = format_lsn(recording.start), format_lsn(recording.endpos)
        _run(["stream", "sentinel", "create", "--startpos", start, "--endpos", end], environment)
        _run(["stream", "sentinel", "set", "apply"], environment)
        command = ["follow", "--dir", str(directory), "--slot-name", name, "--origin", name]
        command += ["--endpos", end, "--resume", "--not-consistent"]
        try:
            began = time.monotonic()
            process = subprocess.Popen(
                [str(_PROGRAM), *command],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            with Watch(lambda: [process.pid]) as client:
                _wait(process)
            taken = time.monotonic() - began
        finally:
            _run(["stream", "sentinel", "drop"], environment)
            shutil.rmtree(directory, ignore_errors=True)
        usages = {f"{usage.title[:20]} {pid}": usage for pid, usage in client.processes.items()}
        found = usages | server()
        return Run(
            seconds=taken,
            command_seconds=taken,
            cpu={key: usage.cpu for key, usage in found.items()},
            peak_mb={key: usage.peak_mb for key, usage in usages.items()},
            wrong=differing(recording.expected, digest(servers.target, database)),
        )


def _wait(process: "subprocess.Popen[bytes]") -> None:
    """Wait for its end; after a while end it and all that it started."""
    try:
        process.wait(_LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 15)
        process.wait(60)


def _run(arguments: Sequence[str], environment: dict[str, str]) -> None:
    subprocess.run(
        [str(_PROGRAM), *arguments],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
