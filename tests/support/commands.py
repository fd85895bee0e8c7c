"""Run the installed command ``pgcopydb`` as its users do: a process of its own, never for ever.

The command sees nothing of the person who runs the tests: no ``PG*`` or ``PGCOPYDB_*`` variable,
no service or password file. Whatever it started is killed with it at the end.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import pytest

from tests.support.forked import Forker, Order, Process

DEFAULT_SECONDS = 120.0


@dataclass(frozen=True)
class Finished:
    """What a command left: its exit status (minus the signal that killed it) and its output."""

    status: int
    stdout: str
    stderr: str


class Running:
    """A command that is still running, or was."""

    def __init__(self, process: Process, stdout: Path, stderr: Path) -> None:
        self._process = process
        self._stdout = stdout
        self._stderr = stderr

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdin(self) -> IO[bytes]:
        """The command's standard input, for one that was started with ``stdin_pipe``."""
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self._stdout.read_text()

    @property
    def stderr(self) -> str:
        """What it has logged so far."""
        return self._stderr.read_text()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the command's first process, and not to those that it started."""
        self._process.send_signal(number)

    def ask_to_stop(self, number: signal.Signals) -> bool:
        """Send a signal that asks for a stop; False, and none sent, before it would be heard."""
        if not self._handles(signal.SIGTERM):
            return False
        self.send_signal(number)
        return True

    def _handles(self, number: signal.Signals) -> bool:
        """Tell whether the first process has a handler of its own for a signal (proc(5), Linux)."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return False
        caught = re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)
        return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)

    def kill_all(self) -> None:
        """Kill the command and all that it started at once; the first process is gone then."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def wait(self, timeout: float = DEFAULT_SECONDS) -> Finished:
        """Wait until it ends; fail the test, with its output, when it does not within seconds."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill_all()
            pytest.fail(
                f"still running after {timeout:.0f} s\n"
                f"--- stdout\n{self.stdout[-4000:]}\n--- stderr\n{self.stderr[-8000:]}",
                pytrace=False,
            )
        return Finished(status, self.stdout, self.stderr)


class Pgcopydb(Protocol):
    """Runs the command to its end."""

    def __call__(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        timeout: float = DEFAULT_SECONDS,
    ) -> Finished:
        """Run ``pgcopydb ARGUMENTS``; ``env`` is added to the clean environment."""


class PgcopydbBackground(Protocol):
    """Runs the command beside the test."""

    def __call__(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        stdin_pipe: bool = False,
    ) -> AbstractContextManager[Running]:
        """Start ``pgcopydb ARGUMENTS``; it and all it started are dead when the context ends."""


def clean_environment(home: Path) -> dict[str, str]:
    """Return an environment in which nothing of the person who runs the tests can be seen."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG", "XDG_", "PYTEST_"))
    }
    temporary = home / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    return kept | {"HOME": str(home), "TMPDIR": str(temporary)}


@contextmanager
def running(
    command: list[str],
    directory: Path,
    env: dict[str, str],
    stdin: int | IO[bytes],
    forker: Forker | None = None,
) -> Iterator[Running]:
    """Run a command in a session of its own, with its output in files of ``directory``.

    With a ``forker`` it is a script of Python that needs no new interpreter.
    """
    directory.mkdir(parents=True)
    stdout, stderr = directory / "stdout", directory / "stderr"
    process: Process
    with stdout.open("wb") as out, stderr.open("wb") as err:
        if forker is not None:
            process = forker.start(
                Order(command, str(directory), env), (out.fileno(), err.fileno())
            )
        else:
            process = subprocess.Popen(
                command,
                cwd=directory,
                env=env,
                stdin=stdin,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
    started = Running(process, stdout, stderr)
    try:
        yield started
    finally:
        started.kill_all()
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    """The process that ``forked_commands`` come from."""
    with Forker() as forker:
        yield forker


@pytest.fixture
def pgcopydb_background(
    request: pytest.FixtureRequest, tmp_path: Path, forker: Forker
) -> PgcopydbBackground:
    """Starts the command beside the test: ``with pgcopydb_background("follow") as running:``."""
    marked = request.node.get_closest_marker("forked_commands") is not None
    forked = marked and hasattr(os, "pidfd_open")  # elsewhere than on Linux they are started
    home = tmp_path / "home"
    program = str(Path(sys.executable).with_name("pgcopydb"))
    number = 0

    def start(
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        stdin_pipe: bool = False,
    ) -> AbstractContextManager[Running]:
        nonlocal number
        number += 1
        # What may matter to the interpreter itself is left to a new one.
        forks = forked and not stdin_pipe and all(name.startswith("PG") for name in env or {})
        return running(
            [program, *map(str, arguments)],
            tmp_path / f"command-{number}",
            clean_environment(home) | dict(env or {}),
            subprocess.PIPE if stdin_pipe else subprocess.DEVNULL,
            forker if forks else None,
        )

    return start


@pytest.fixture
def pgcopydb_command(pgcopydb_background: PgcopydbBackground) -> Pgcopydb:
    """Runs the command to its end: ``finished = pgcopydb_command("ping", *options)``."""

    def run(
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        timeout: float = DEFAULT_SECONDS,
    ) -> Finished:
        with pgcopydb_background(*arguments, env=env, stdin_pipe=stdin is not None) as started:
            if stdin is not None:
                # A command that ends before it has read everything says so by its status.
                with suppress(BrokenPipeError):
                    started.stdin.write(stdin)
                    started.stdin.close()
            return started.wait(timeout)

    return run
