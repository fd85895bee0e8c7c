"""Commands forked from one process that has imported all of ``pgcopydb``, as a new one must.

To import it takes a new interpreter 0.4 s of CPU, which for most of a thousand commands shows
nothing. A module asks for it by ``pytestmark = pytest.mark.forked_commands``; what the start of
the program, its environment or its memory matter for is started as users do.

A forked command is the installed script, run as a program's main module in a session of its own,
and it ends as an interpreter does. This file is both sides: the test's, and, run as a script, that
of the process that forks.
"""

import json
import os
import pkgutil
import selectors
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Final, Protocol, Self

_NUMBER: Final = struct.Struct(">i")


class Process(Protocol):
    """What a test needs of a command's first process, forked or not."""

    @property
    def pid(self) -> int: ...

    @property
    def stdin(self) -> IO[bytes] | None: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int, /) -> None: ...


@dataclass(frozen=True)
class Order:
    """A command as it is to be run."""

    command: Sequence[str]
    directory: str
    env: Mapping[str, str]
    umask: int = 0o022


class Forked:
    """A process that was forked; as of a Popen, its status is minus the signal that killed it."""

    stdin = None

    def __init__(self, pid: int, sentinel: int) -> None:
        self.pid = pid
        self._sentinel = sentinel
        self._status: int | None = None

    def poll(self) -> int | None:
        return self._status_within(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._status_within(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(["pgcopydb"], timeout or 0)
        return status

    def send_signal(self, sig: int, /) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def _status_within(self, timeout: float | None) -> int | None:
        if self._status is not None:
            return self._status
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._sentinel, selectors.EVENT_READ)
            if not waiting.select(timeout):
                return None
        self._status = _read_number(self._sentinel)
        os.close(self._sentinel)
        return self._status


class Forker:
    """The process that has imported everything, started when the first command is; a context."""

    def __init__(self) -> None:
        self._orders: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._orders is not None and self._process is not None:
            # Another process, forked from this one meanwhile, may have the socket too.
            self._orders.shutdown(socket.SHUT_RDWR)
            self._orders.close()
            self._process.wait(60)

    def start(self, order: Order, output: tuple[int, int]) -> Forked:
        """Fork a process whose standard output and standard error are these descriptors."""
        orders = self._orders or self._launch()
        sentinel, status = os.pipe()
        text = json.dumps(asdict(order)).encode()
        try:
            socket.send_fds(orders, [_NUMBER.pack(len(text))], [status, *output])
            orders.sendall(text)
        finally:
            os.close(status)
        return Forked(_read_number(sentinel), sentinel)

    def _launch(self) -> socket.socket:
        self._orders, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                # -P: what lies beside this file is not to be imported
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self._orders


def _read_number(descriptor: int) -> int:
    number: int = _NUMBER.unpack(os.read(descriptor, _NUMBER.size))[0]
    return number


# -- the side of the process that forks ------------------------------------------------------------


def _import_everything() -> None:
    import pgcopydb  # noqa: PLC0415

    for module in pkgutil.walk_packages(pgcopydb.__path__, "pgcopydb."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


def _next_command(orders: socket.socket) -> Order:
    """Fork a process for each order; return in it, with what it is to do, and nowhere else."""
    ends: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as waiting:
        waiting.register(orders, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fd != orders.fileno():
                    waiting.unregister(key.fd)
                    _tell_end(key.fd, *ends.pop(key.fd))
                    continue
                order, status, streams = _receive(orders)
                pid = os.fork()
                if pid == 0:
                    inherited = [fd for pidfd, (_, other) in ends.items() for fd in (pidfd, other)]
                    _close(orders.detach(), *inherited)
                    _begin(order, streams)
                    # Not sooner: who knows of the process may kill it with its session.
                    os.write(status, _NUMBER.pack(os.getpid()))
                    _close(status)
                    return order
                _close(*streams)
                pidfd = os.pidfd_open(pid)
                ends[pidfd] = (pid, status)
                waiting.register(pidfd, selectors.EVENT_READ)


def _receive(orders: socket.socket) -> tuple[Order, int, list[int]]:
    header, descriptors, _, _ = socket.recv_fds(orders, _NUMBER.size, 3, socket.MSG_WAITALL)
    if not header:
        os._exit(0)  # the tests are over
    text = orders.recv(_NUMBER.unpack(header)[0], socket.MSG_WAITALL)
    status, *streams = descriptors
    return Order(**json.loads(text)), status, streams


def _tell_end(pidfd: int, pid: int, status: int) -> None:
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(BrokenPipeError):  # who started it does not ask any more
        os.write(status, _NUMBER.pack(ended))
    _close(pidfd, status)


def _begin(order: Order, streams: list[int]) -> None:
    """Make this process what one that was started anew is before its first line."""
    os.setsid()
    for number, descriptor in enumerate(streams, start=1):
        os.dup2(descriptor, number)
    _close(*streams)
    os.chdir(order.directory)
    os.umask(order.umask)
    os.environ.clear()
    os.environ.update(order.env)
    sys.argv = list(order.command)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


if __name__ == "__main__":
    _import_everything()
    _program = Path(_next_command(socket.socket(fileno=int(sys.argv[1]))).command[0])
    exec(compile(_program.read_text(), _program, "exec"), {"__name__": "__main__"})
