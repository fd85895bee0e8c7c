"""A process from which workers are forked: it has imported what they need, and opened nothing.

An interpreter of its own for each worker costs 0.4 s of CPU, most of it imports (measured: receive
and apply of a follow; ``docs/explanation/performance.md``), and they come one after the other. A
fork costs 2 ms. It must not be one of the supervisor, which has threads, sessions and locks that
a child would inherit. So one more process is made before there is any of that (:func:`prepare`),
or, where that was missed, as a new interpreter; it waits for orders and forks.

The supervisor sends an order through a socket, with the descriptors that the worker is to have. It
gets the worker's process id and, when the worker has ended, its exit status through a pipe. All of
them go when the supervisor goes: each holds the end of a pipe that closes with it.
"""

import atexit
import gc
import importlib
import io
import logging
import os
import pickle
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NoReturn

from pgcopydb.errors import Interrupted, WorkerError
from pgcopydb.runtime import signals

log = logging.getLogger(__name__)

_SIZES: Final = struct.Struct(">II")
"""An order begins with the lengths of a module's name and of the pickled call."""

_NUMBER: Final = struct.Struct(">i")

_MOST_DESCRIPTORS: Final = 64

_COLLECT_AFTER: Final = 20_000
"""New objects after which a worker looks for garbage: a batch has as many rows, and no cycles.

With Python's own 700 apply spends a twentieth of its time on that.
"""

_LOOK_EVERY: Final = 0.1

_ANSWERS_WITHIN: Final = 2.0
"""Seconds in which a server that is let go on has to have forked, when all is to stop."""

_PARENT_DIED: Final = 3
"""Exit status of a worker whose parent is gone; nobody is left to read it."""

_BLOCKED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that the server leaves to the supervisor; a worker sees them when it has its handlers."""

Call = tuple[Callable[..., None], tuple[Any, ...]]


@dataclass(slots=True)
class Child:
    """A worker as its supervisor sees it; ``sentinel`` is readable when it has ended."""

    pid: int
    sentinel: int
    _status: int | None = field(default=None, init=False)

    def is_alive(self) -> bool:
        """Tell whether it has not ended yet."""
        return not connection.wait([self.sentinel], 0)

    def exit_status(self) -> int | None:
        """Wait for its end; return its status, below 0 for a signal, None when nobody knows it."""
        if self._status is None:
            self._status = _read_number(self.sentinel)
        return self._status

    def kill(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def close(self) -> None:
        """Forget it."""
        os.close(self.sentinel)


class ForkServer:
    """The supervisor's end of the socket."""

    def __init__(
        self,
        orders: socket.socket,
        life: int,
        pid: int,
        process: "subprocess.Popen[bytes] | None" = None,
    ) -> None:
        self.pid = pid
        self._orders = orders
        self._life = life  # open as long as this process is
        self._process = process

    def start(self, function: Callable[..., None], *arguments: Any) -> Child:
        """Fork a worker that calls ``function``, which is known by its name, and ends.

        Connections among the arguments are given to it; this process may close its own then.
        Raises WorkerError when it cannot be started.
        """
        module = _module_of(arguments, function).encode()
        call, descriptors = _pickled((function, arguments))
        sentinel, status = os.pipe()
        try:
            header = _SIZES.pack(len(module), len(call))
            socket.send_fds(self._orders, [header], [status, *descriptors])
            self._orders.sendall(module + call)
        except OSError as error:
            os.close(sentinel)
            raise WorkerError(f"a worker cannot be started: {error}") from error
        finally:
            os.close(status)
        try:
            self._wait_for_answer(sentinel)
            pid = _read_number(sentinel)
        except BaseException:
            os.close(sentinel)
            raise
        if pid is None:
            os.close(sentinel)
            raise WorkerError("a worker cannot be started: the process that forks them has ended")
        return Child(pid, sentinel)

    def _wait_for_answer(self, sentinel: int) -> None:
        """Wait until it has forked; raise Interrupted when all is to stop and it does not.

        What has stopped it is undone then, so that its worker can be ended with the others.
        """
        give_up_at: float | None = None
        while not connection.wait([sentinel], _LOOK_EVERY):
            if not signals.stop_requested():
                continue
            if give_up_at is None:
                give_up_at = time.monotonic() + _ANSWERS_WITHIN
                with suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGCONT)
            elif time.monotonic() > give_up_at:
                signals.raise_if_stopped()

    def close(self) -> None:
        """End it, also if something has stopped it, with every worker that is left."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._orders.close()
        os.close(self._life)
        if self._process is not None:
            self._process.wait()


class _Known:
    server: ForkServer | None = None


def prepare(*modules: str) -> None:
    """Fork the server off this process, with all that it has imported by now.

    To be called before anything is opened and any thread is started; where there are threads
    already it does nothing. ``modules`` are imported there, while this process goes on.
    """
    if _Known.server is not None or threading.active_count() > 1:
        return
    ours, theirs, life, alive = _channels()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        ours.close()
        os.close(alive)
        _in_child(lambda: _serve(theirs, life, modules))
    theirs.close()
    os.close(life)
    _Known.server = ForkServer(ours, alive, pid)
    atexit.register(close)


def start(function: Callable[..., None], *arguments: Any) -> Child:
    """Start a worker, see :meth:`ForkServer.start`; a server that is not there is launched."""
    if _Known.server is not None:
        try:
            return _Known.server.start(function, *arguments)
        except WorkerError as error:
            log.debug("another process to fork workers is started: %s", error.message)
            close()
        except Interrupted:
            close()  # it stands still, and would do so for ever
            raise
    _Known.server = _launched()
    return _Known.server.start(function, *arguments)


def pid() -> int | None:
    """Return the server's process id, None when there is none."""
    return None if _Known.server is None else _Known.server.pid


def close() -> None:
    """End the server, if there is one; nobody will know then how its workers ended."""
    if _Known.server is not None:
        server, _Known.server = _Known.server, None
        server.close()


def _launched() -> ForkServer:
    """Start the server as a new interpreter."""
    ours, theirs, life, alive = _channels()
    process = subprocess.Popen(
        # -P: what lies in the directory where the program was called is not to be imported
        [sys.executable, "-P", "-m", __name__, str(theirs.fileno()), str(life)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        pass_fds=(theirs.fileno(), life),
        stdin=subprocess.DEVNULL,
    )
    atexit.register(close)
    theirs.close()
    os.close(life)
    return ForkServer(ours, alive, process.pid, process)


def _channels() -> tuple[socket.socket, socket.socket, int, int]:
    """Return the ends of the socket, the supervisor's first, and those of the pipe of its life."""
    return *socket.socketpair(), *os.pipe()


# -- the server's side -----------------------------------------------------------------------------


@dataclass(slots=True)
class _Server:
    """What the server has open; a forked worker closes all of it but ``life`` and ``present``."""

    orders: socket.socket
    life: int
    present: int
    """Readable for a worker when this process is gone; ``presence`` is its other end."""
    presence: int
    waiting: selectors.BaseSelector
    statuses: dict[int, tuple[int, int]]
    """By the descriptor that closes when a worker ends: its process id, where to write its end."""


def _serve(orders: socket.socket, life: int, modules: Iterable[str]) -> None:
    """Import ``modules``, then fork a worker for each order until the supervisor is gone."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    os.umask(0o077)  # what workers write is private, as all that the supervisor writes
    _call_process("pgcopydb workers")
    for module in modules:
        importlib.import_module(module)
    gc.freeze()  # collections of a worker need not look at what all have in common
    gc.set_threshold(_COLLECT_AFTER)
    server = _Server(orders, life, *os.pipe(), selectors.DefaultSelector(), {})
    server.waiting.register(orders, selectors.EVENT_READ)
    while True:
        for key, _ in server.waiting.select():
            if key.fd != orders.fileno():
                _tell_end(server, key.fd)
            elif not _obey(server):
                return


def _obey(server: _Server) -> bool:
    """Take one order and fork; return False when there will be no more."""
    try:
        header, descriptors, _, _ = socket.recv_fds(
            server.orders, _SIZES.size, _MOST_DESCRIPTORS, socket.MSG_WAITALL
        )
    except ConnectionError:
        return False
    if len(header) < _SIZES.size:
        return False
    name_size, call_size = _SIZES.unpack(header)
    order = _read_all(server.orders, name_size + call_size)
    with suppress(ImportError):  # the worker meets it too, and can say so
        importlib.import_module(order[:name_size].decode())
    status, *given = descriptors
    ended, running = os.pipe()
    pid = os.fork()
    if pid == 0:
        _in_child(lambda: _become_worker(server, (status, ended), order[name_size:], given))
    os.close(running)
    for descriptor in given:
        os.close(descriptor)
    server.statuses[ended] = (pid, status)
    server.waiting.register(ended, selectors.EVENT_READ)
    _write_number(status, pid)
    return True


def _tell_end(server: _Server, ended: int) -> None:
    """Reap a worker and tell its status."""
    pid, status = server.statuses.pop(ended)
    server.waiting.unregister(ended)
    _write_number(status, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os.close(status)
    os.close(ended)


def _become_worker(
    server: _Server, own: Iterable[int], call: bytes, descriptors: Sequence[int]
) -> None:
    """Close what is the server's, then do what was ordered."""
    server.orders.close()
    server.waiting.close()
    os.close(server.presence)
    others = [fd for ended, (_, status) in server.statuses.items() for fd in (ended, status)]
    for descriptor in (*others, *own):
        os.close(descriptor)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    _end_with(server.life, server.present)
    function, arguments = _Unpickler(io.BytesIO(call), descriptors).load()
    function(*arguments)


def _end_with(*lives: int) -> None:
    """End this process as soon as one of those that it depends on is gone, however that came."""

    def watch() -> None:
        connection.wait(lives)
        os._exit(_PARENT_DIED)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


def ready_for_signals() -> None:
    """Let the signals come that were held back while a worker had no handlers."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)


def name_worker(name: str) -> None:
    """Show what a worker does in lists of processes."""
    _call_process(f"pgcopydb {name}")


def _call_process(name: str) -> None:
    with suppress(OSError):  # proc(5); 15 bytes at most, and only where there is a /proc
        Path("/proc/self/comm").write_bytes(name.encode()[:15])


def _in_child(run: Callable[[], None]) -> NoReturn:
    """Do what a fork is for, and never return into the code that forked."""
    status = 1
    try:
        run()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(BaseException):
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


# -- what goes through the pipes -------------------------------------------------------------------


class _Pickler(pickle.Pickler):
    """Pickles connections as the place of their descriptor among those that are sent along."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.descriptors: list[int] = []

    def persistent_id(self, obj: object) -> tuple[int, bool, bool] | None:
        """Return what stands for a connection; None for everything else."""
        if not isinstance(obj, Connection):
            return None
        self.descriptors.append(obj.fileno())
        return len(self.descriptors) - 1, obj.readable, obj.writable


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, descriptors: Sequence[int]) -> None:
        super().__init__(file)
        self._descriptors = descriptors

    def persistent_load(self, pid: Any) -> object:
        """Return the connection that ``pid`` stands for."""
        place, readable, writable = pid
        return Connection(self._descriptors[place], readable, writable)


def _pickled(call: Call) -> tuple[bytes, list[int]]:
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(call)
    return file.getvalue(), pickler.descriptors


def _module_of(arguments: Sequence[Any], function: Callable[..., None]) -> str:
    """Return the module that a worker needs first: of the function that it is given, if any."""
    given = (getattr(argument, "function", None) for argument in arguments)
    return next(filter(None, given), function).__module__


def _read_all(orders: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = orders.recv(size - len(parts))
        if not part:
            break
        parts += part
    return bytes(parts)


def _read_number(descriptor: int) -> int | None:
    data = os.read(descriptor, _NUMBER.size)
    return _NUMBER.unpack(data)[0] if len(data) == _NUMBER.size else None


def _write_number(descriptor: int, number: int) -> None:
    with suppress(BrokenPipeError):  # the supervisor is going
        os.write(descriptor, _NUMBER.pack(number))


if __name__ == "__main__":
    _in_child(lambda: _serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), ()))
