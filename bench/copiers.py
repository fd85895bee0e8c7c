"""Those who copy a whole database: this program, pg_dump with pg_restore, and the C program."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from servers import Servers, client_environment

PROGRAM = Path(sys.executable).with_name("pgcopydb")
C_PROGRAM = Path("/usr/bin/pgcopydb")

_LIMIT = 3600
_LOOK_EVERY = 0.02


@dataclass(frozen=True, slots=True)
class Copied:
    """What one copy took: seconds, CPU seconds of all client processes, the most memory of one.

    ``first_copy`` is how long after the start the first rows were begun, None where not known.
    """

    seconds: float
    cpu: float
    peak_mb: float
    first_copy: float | None = None
    wrong: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """From which database to which, with how many jobs; ``directory`` is the copier's own."""

    servers: Servers
    source: str
    target: str
    jobs: int
    directory: Path


Copier = Callable[[Task], Copied]


def ours(task: Task) -> Copied:
    """Run `pgcopydb clone`, with the interpreter's start in the time."""
    command = [
        *[str(PROGRAM), "clone", "--quiet", "--dir", str(task.directory / "work")],
        *["--source", task.source, "--target", task.target],
        *["--table-jobs", str(task.jobs), "--index-jobs", str(task.jobs)],
        *["--large-objects-jobs", str(task.jobs)],
    ]
    with _first_copy(task) as found:
        cost = _run([command], client_environment())
    return Copied(cost.seconds, cost.cpu, cost.peak_mb, found[0] - cost.began if found else None)


def dump_and_restore(task: Task) -> Copied:
    """Run pg_dump and pg_restore in parallel and through a directory, then ANALYZE."""
    programs = task.servers.target.bindir
    folder = str(task.directory / "dump")
    jobs = f"--jobs={task.jobs}"
    commands = [
        [str(programs / "pg_dump"), "-Fd", jobs, "--file", folder, "--dbname", task.source],
        [str(programs / "pg_restore"), jobs, "--dbname", task.target, folder],
        [str(programs / "vacuumdb"), "--analyze-only", "-q", jobs, f"--dbname={task.target}"],
    ]
    return _copied(_run(commands, client_environment()))


def c_program(task: Task) -> Copied:
    """Run the C program's `clone` with the target's pg_dump and pg_restore."""
    environment = client_environment() | {
        "PATH": f"{task.servers.target.bindir}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(task.directory),
        "PGCOPYDB_SOURCE_PGURI": task.source,
        "PGCOPYDB_TARGET_PGURI": task.target,
    }
    command = [str(C_PROGRAM), "clone", "--dir", str(task.directory / "work")]
    command += ["--table-jobs", str(task.jobs), "--index-jobs", str(task.jobs)]
    return _copied(_run([command], environment))


@dataclass(frozen=True, slots=True)
class _Cost:
    began: float
    """Seconds since 1970."""
    seconds: float
    cpu: float
    peak_mb: float


def _copied(cost: _Cost) -> Copied:
    return Copied(cost.seconds, cost.cpu, cost.peak_mb)


def _run(commands: Sequence[Sequence[str]], environment: dict[str, str]) -> _Cost:
    """Run commands one after the other; raise when one fails. Their children count too."""
    began, start = time.time(), time.monotonic()
    cpu = peak = 0.0
    for command in commands:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        timer = threading.Timer(_LIMIT, process.kill)
        timer.start()
        try:
            assert process.stderr is not None
            errors = process.stderr.read().decode(errors="replace")
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stderr.close()
        if process.returncode:
            raise SystemExit(f"{command[0]} failed: {errors[-2000:]}")
        cpu += usage.ru_utime + usage.ru_stime
        peak = max(peak, usage.ru_maxrss / 1024)
    return _Cost(began, time.monotonic() - start, cpu, peak)


@contextmanager
def _first_copy(task: Task) -> Iterator[list[float]]:
    """Give the moment (seconds since 1970) at which the first rows were begun, once it is known.

    The markers that tell are in the target until the copy ends.
    """
    found: list[float] = []
    ended = threading.Event()

    def look() -> None:
        with psycopg.connect(task.target, autocommit=True) as connection:
            while not ended.wait(_LOOK_EVERY) and not found:
                try:
                    row = connection.execute(
                        "select extract(epoch from min(copied_at))::float8"
                        " from pgcopydb.copy_marker"
                    ).fetchone()
                except psycopg.Error:
                    continue
                if row is not None and row[0] is not None:
                    found.append(row[0])

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def clear(directory: Path) -> None:
    """Empty a copier's folder."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
