"""Worker processes, in groups that succeed or fail together.

A worker is a process that runs one module-level function with one picklable argument. Nothing that
was open in the parent is open in it (see ``fork_server``). A worker that fails sends its error
home; a worker whose parent dies ends at once; a group that is left, for whatever reason, leaves no
process behind.
"""

import logging
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe, connection
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from msgspec import Struct

from pgcopydb.errors import Interrupted, PgcopydbError, WorkerError, first_line
from pgcopydb.runtime import fork_server, logs, signals
from pgcopydb.runtime.standstill import StandstillWatch

log = logging.getLogger(__name__)

_CANCEL_AFTER = 5.0
"""Seconds that a worker has to finish its unit of work before its statement is cancelled."""

_KILL_AFTER = 8.5
"""Seconds after which a worker that did not stop is killed: a stop takes 10 s at most."""


class Worker(Struct, frozen=True):
    """A unit to run in a process of its own: ``function(argument)``, known as ``name`` in logs."""

    name: str
    function: Callable[[Any], None]
    argument: Any


@dataclass(slots=True)
class _Running:
    name: str
    process: fork_server.Child
    errors: Connection


class WorkerGroup:
    """Worker processes that succeed or fail together; leaving the block stops them all."""

    def __init__(self) -> None:
        self._running: list[_Running] = []
        self._standstill = StandstillWatch()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, worker: Worker) -> None:
        """Start ``worker`` in a process of its own."""
        receiving, sending = Pipe(duplex=False)
        with sending:
            process = fork_server.start(_run_worker, worker, sending, logs.current())
        self._running.append(_Running(worker.name, process, receiving))

    def alive(self, name: str | None = None) -> bool:
        """Tell whether any worker (of that name) is still running."""
        return any(name is None or running.name == name for running in self._running)

    def poll(self, timeout: float = 0.0) -> None:
        """Wait up to ``timeout`` seconds for a worker to end.

        Raises WorkerError with the causes when one or more failed, and Interrupted when a signal
        asked this process to stop.
        """
        signals.raise_if_stopped()
        if self._running:
            connection.wait([running.process.sentinel for running in self._running], timeout)
        elif timeout:
            time.sleep(timeout)
        signals.raise_if_stopped()
        self._reap()
        self._standstill.look(self._processes())

    def _processes(self) -> Iterator[tuple[str, int]]:
        for running in self._running:
            yield f"worker {running.name}", running.process.pid
        pid = fork_server.pid()
        if pid is not None:
            yield "the process that forks workers", pid

    def wait(self) -> None:
        """Wait until every worker has ended well; raise as :meth:`poll` does."""
        while self._running:
            self.poll(0.5)

    def _reap(self) -> None:
        ended = [running for running in self._running if not running.process.is_alive()]
        if not ended:
            return
        self._running = [running for running in self._running if running not in ended]
        causes = [cause for running in ended if (cause := _cause(running)) is not None]
        if causes:
            raise _combine(causes)

    def stop(self) -> None:
        """Stop every worker: ask, then cancel, then kill; return when all are gone."""
        started = time.monotonic()
        signalled = 0
        while self._running:
            elapsed = time.monotonic() - started
            if elapsed >= _KILL_AFTER:
                self._signal(signal.SIGKILL)
                fork_server.close()  # it tells of no end when something has stopped it
            elif signalled == 0 or (signalled == 1 and elapsed >= _CANCEL_AFTER):
                self._signal(signal.SIGTERM)
                self._let_go_on()
                signalled += 1
            connection.wait([running.process.sentinel for running in self._running], 0.1)
            self._forget_ended()

    def _signal(self, number: int) -> None:
        for running in self._running:
            running.process.kill(number)

    def _let_go_on(self) -> None:
        """Let those that something has stopped hear it, as systemd does after its SIGTERM."""
        self._signal(signal.SIGCONT)
        pid = fork_server.pid()
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _forget_ended(self) -> None:
        alive = []
        for running in self._running:
            if running.process.is_alive():
                alive.append(running)
                continue
            cause = _cause(running)
            if cause is not None and not isinstance(cause, Interrupted):
                log.debug("worker %s ended while stopping: %s", running.name, cause)
        self._running = alive


def _cause(running: _Running) -> PgcopydbError | None:
    """Return why a worker that has ended failed, or None when it ended well."""
    status = running.process.exit_status()
    try:
        if running.errors.poll():
            sent = running.errors.recv()
            if isinstance(sent, PgcopydbError):
                return sent
    except (EOFError, OSError):
        pass
    finally:
        running.errors.close()
        running.process.close()
    if status == 0:
        return None
    if status == -signal.SIGPROF:
        return WorkerError(
            f"worker {running.name} was ended: it went round and round over one message, which"
            " broke the protocol",
            hint="see what is between this machine and the servers, then run again with --resume",
        )
    if status is not None and status < 0:
        name = signal.Signals(-status).name
        return WorkerError(
            f"worker {running.name} was ended by {name}",
            hint="see what ended it (out of memory?), then run again with --resume",
        )
    if status is None:
        return WorkerError(f"worker {running.name} was lost: the process that forked it has ended")
    return WorkerError(f"worker {running.name} ended with status {status}")


def _combine(causes: Iterable[PgcopydbError]) -> PgcopydbError:
    """Return one error for several: the first that is not a mere consequence, with the others."""
    ordered = sorted(causes, key=lambda cause: isinstance(cause, Interrupted))
    first, others = ordered[0], ordered[1:]
    if not others:
        return first
    texts = "; ".join(dict.fromkeys(first_line(cause) for cause in ordered))
    return WorkerError(texts, hint=first.hint, status=first.status)


def _run_worker(worker: Worker, errors: Connection, log_options: logs.LogOptions) -> None:
    """Run in the new process: the worker's function, with its error sent home."""
    fork_server.name_worker(worker.name)
    signals.install_in_worker()
    fork_server.ready_for_signals()
    logs.configure(log_options)
    try:
        worker.function(worker.argument)
    except Interrupted as error:
        errors.send(error)
        raise SystemExit(error.status) from None
    except PgcopydbError as error:
        log.debug("worker %s failed", worker.name, exc_info=True)
        errors.send(error)
        raise SystemExit(error.status) from None
    except BaseException as error:
        log.debug("worker %s failed unexpectedly", worker.name, exc_info=True)
        where = traceback.extract_tb(error.__traceback__)[-1]
        errors.send(
            WorkerError(
                f"worker {worker.name} failed: {type(error).__name__}: {first_line(error)}"
                f" ({where.name}, line {where.lineno})",
                hint="this is a defect of pgcopydb: run again with --debug for the details",
            )
        )
        raise SystemExit(WorkerError.exit_code) from None
