"""A disk on which one attempt to make something durable fails, the n-th of each process.

::

    finished, failed = run_with_failing_sync(place, ["stream", "replay", *options], 3)

What the page cache holds after that cannot be trusted any more, so whatever rests on it must not be
believed. Only root can do that to system calls, with strace.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import Finished, clean_environment, running
from tests.support.requirements import missing
from tests.support.steps import Stream

_CALLS = "fsync,fdatasync"
_SECONDS = 120.0
_PGCOPYDB = str(Path(sys.executable).with_name("pgcopydb"))


def run_with_failing_sync(
    place: Path, words: Sequence[str], number: int, *, program: Sequence[str] = (_PGCOPYDB,)
) -> tuple[Finished, list[str]]:
    """Run a command to its end; return how it ended, and the calls that were made to fail.

    ``place`` is a directory that is not there yet.
    """
    trace = place.with_name(place.name + ".trace")
    command = [*_tracing(trace, number), "-qq", *program, *words]
    environment = clean_environment(place.with_name("home"))
    with running(command, place, environment, subprocess.DEVNULL) as started:
        finished = started.wait(_SECONDS)
    return finished, _failed(trace)


@contextmanager
def failing_to_sync(pid: int, trace: Path) -> Iterator[Callable[[], list[str]]]:
    """Let the next attempt of a process to bring a file to disk fail with EIO.

    Gives what tells the calls that were made to fail: none, when the process has ended just before.
    ``trace`` is a file for them.
    """
    command = [*_tracing(trace, 1), "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracing:
        assert tracing.stderr is not None
        said = tracing.stderr.readline()
        assert b"attached" in said or b"No such process" in said, said
        try:
            yield lambda: _failed(trace)
        finally:
            # It may wait for ever for threads of a process that was killed.
            tracing.kill()


def _tracing(trace: Path, number: int) -> list[str]:
    """Return the beginning of a command that lets the n-th attempt of each process fail."""
    strace = shutil.which("strace")
    if strace is None or os.geteuid() != 0:
        missing("only root can let system calls of another process fail, with strace")
    injected = f"inject={_CALLS}:error=EIO:when={number}"
    return [strace, "-f", "-y", "-o", str(trace), "-e", f"trace={_CALLS}", "-e", injected]


def _failed(trace: Path) -> list[str]:
    """Return the calls that were made to fail, each with the path of its file."""
    lines = trace.read_text(errors="replace").splitlines() if trace.exists() else []
    return [line for line in lines if "INJECTED" in line]


def replay_with_failing_syncs(
    stream: Stream, numbers: Iterable[int], commit: Callable[[int], None]
) -> int:
    """Replay what ``commit`` writes, once for each number; return how many attempts failed.

    A command must not end well without what it was to do, and the next one must make it good. Ends
    with the first number that no process comes to.
    """
    options = ["--dir", str(stream.directory), *stream.pair.options]
    failures = 0
    for number in numbers:
        commit(number)
        stream.set_endpos()
        place = stream.directory.with_name(f"failing-{number}")
        finished, failed = run_with_failing_sync(place, ["stream", "replay", *options], number)
        assert "Traceback" not in finished.stderr
        if finished.status == 0:
            stream.assert_equal()
        if not failed:
            return failures
        failures += len(failed)
        stream.run("stream", "replay")
        stream.assert_equal()
    return failures
