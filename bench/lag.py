"""How long a commit takes to be seen on the target while the source is at work."""

import random
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from contenders import (
    PROGRAM,
    differing,
    no_origin_left,
    replay_command,
    running,
    subscribed,
)
from recording import MARKER, Recording, open_recording
from servers import Servers, background_pgbench, client_environment, digest, fresh_target
from workloads import WORKLOADS

_RATE = 500
_CLIENTS = 8
_BEAT_EVERY = 0.05
_LOOK_EVERY = 0.0005
_CATCH_UP_WITHIN = 600.0

Live = Callable[[Recording, str, Path], AbstractContextManager[Callable[[], None]]]
"""Replays into a database (named second) for the length of a block; call what it gives to end."""


@dataclass(frozen=True, slots=True)
class Lag:
    """Delays in milliseconds, or lag in seconds over time; ``wrong`` names tables that differ.

    ``slope`` is seconds of lag a second over the last half; ``last`` is how long the target took
    to come level after the load had ended.
    """

    samples: Sequence[tuple[float, float]]
    p50: float | None
    p99: float | None
    slope: float | None
    last: float
    wrong: Sequence[str]


@contextmanager
def ours_live(recording: Recording, database: str, directory: Path) -> Iterator[Callable[[], None]]:
    """Run `pgcopydb stream replay` without an end; ending it sets one."""
    with running(replay_command(recording, directory, database)) as process:

        def end() -> None:
            options = ("--quiet", "--dir", str(directory), "--source", recording.source)
            subprocess.run(
                [*PROGRAM, "stream", "sentinel", "set", "endpos", "--current", *options],
                env=client_environment(),
                stdout=subprocess.DEVNULL,
                check=True,
            )
            if process.wait(_CATCH_UP_WITHIN):
                raise SystemExit(f"pgcopydb stream replay ended with {process.returncode}")

        yield end


@contextmanager
def subscription_live(
    recording: Recording, database: str, directory: Path
) -> Iterator[Callable[[], None]]:
    """Subscribe; nothing is to be done to end it."""
    with subscribed(recording, database, directory.name, "off"):
        yield lambda: None


def steady(servers: Servers, live: Live, seconds: float, directory: Path) -> Lag:
    """Delay of single commits while the source makes 500 transactions a second."""
    load = ["-n", "-c4", "-j2", f"--rate={_RATE}", f"-T{seconds:.0f}"]
    with _following(servers, live, directory) as following:
        with background_pgbench(servers.source, following.database, load, durable=True) as pgbench:
            delays = list(_delays(following, pgbench))
        following.finish()
    ordered = sorted(delay * 1000 for _, delay in delays)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return following.lag(delays, p50=statistics.median(ordered), p99=p99)


def saturated(servers: Servers, live: Live, seconds: float, directory: Path) -> Lag:
    """Lag each second while eight clients do what they can."""
    load = ["-n", f"-c{_CLIENTS}", "-j2", f"-T{seconds:.0f}"]
    with _following(servers, live, directory) as following:
        with (
            background_pgbench(servers.source, following.database, load, durable=True) as pgbench,
            _Heart(servers, following.database),
        ):
            samples = list(_samples(following, pgbench))
        following.finish()
    half = samples[len(samples) // 2 :]
    slope = statistics.linear_regression(*zip(*half, strict=True)).slope if len(half) > 1 else 0.0
    return following.lag(samples, slope=slope)


class _Following:
    """A live replay: the connections that watch it, and its end."""

    def __init__(self, recording: Recording, target: str, end: Callable[[], None]) -> None:
        self.database = recording.database
        self._servers = recording.servers
        self._target = target
        self._end = end
        self._last = 0.0
        self._wrong: Sequence[str] = ()
        self.source = self._servers.source.connect(self.database)
        self.target = self._servers.target.connect(target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.source.close()
        self.target.close()

    def beat(self) -> tuple[int, float]:
        """Commit a row; return its number and when, by the server's clock, it was made."""
        return _beat(self.source)

    def seen(self) -> tuple[int, float]:
        """Return the number and the time of the newest row on the target."""
        row = self.target.execute(
            f"select id, extract(epoch from at)::float8 from {MARKER} order by id desc limit 1"
        ).fetchone()
        return (0, 0.0) if row is None else (row[0], row[1])

    def wait_for(self, number: int) -> float:
        """Wait until a row is on the target; return when it was, by this machine's clock."""
        deadline = time.time() + _CATCH_UP_WITHIN
        while self.seen()[0] < number:
            if time.time() > deadline:
                raise SystemExit(f"row {number} did not come in {_CATCH_UP_WITHIN:.0f} s")
            time.sleep(_LOOK_EVERY)
        return time.time()

    def finish(self) -> None:
        """Wait until the target is level, end the replay, and compare."""
        number, made = self.beat()
        self._last = self.wait_for(number) - made
        self._end()
        expected = digest(self._servers.source, self.database)
        self._wrong = differing(expected, digest(self._servers.target, self._target))

    def lag(
        self,
        samples: Sequence[tuple[float, float]],
        *,
        p50: float | None = None,
        p99: float | None = None,
        slope: float | None = None,
    ) -> Lag:
        """Return what was measured together with how it ended."""
        return Lag(samples, p50, p99, slope, self._last, self._wrong)


def _beat(connection: psycopg.Connection[Any]) -> tuple[int, float]:
    row = connection.execute(
        f"insert into {MARKER} default values returning id, extract(epoch from at)::float8"
    ).fetchone()
    assert row is not None
    return row[0], row[1]


@contextmanager
def _following(servers: Servers, live: Live, directory: Path) -> Iterator[_Following]:
    """Give a replay that runs, and has shown that it does."""
    workload, name = WORKLOADS["tpcb"], "bench_live"
    with ExitStack() as stack:
        open_recording(servers, workload, directory, stack)
        recording = Recording(
            servers=servers,
            workload=workload,
            database=f"bench_{workload.name}",
            base=f"base_{workload.name}",
            directory=directory,
            start=0,
            last=0,
            endpos=0,
            expected={},
        )
        database = stack.enter_context(fresh_target(servers.target, recording.base, name))
        stack.enter_context(recording.slot(name))
        work = stack.enter_context(recording.work_directory(name))
        stack.enter_context(no_origin_left(servers, name))
        end = stack.enter_context(live(recording, database, work))
        following = stack.enter_context(_Following(recording, database, end))
        following.wait_for(following.beat()[0])
        yield following


def _delays(
    following: _Following, pgbench: "subprocess.Popen[str]"
) -> Iterator[tuple[float, float]]:
    """Commit a row now and then, and wait until it is seen."""
    start = time.time()
    while pgbench.poll() is None:
        number, made = following.beat()
        yield made - start, following.wait_for(number) - made
        time.sleep(random.uniform(0, 2 * _BEAT_EVERY))


def _samples(
    following: _Following, pgbench: "subprocess.Popen[str]"
) -> Iterator[tuple[float, float]]:
    """Look each second how old the newest row on the target is."""
    start = time.time()
    while pgbench.poll() is None:
        time.sleep(1)
        _, made = following.seen()
        now = time.time()
        yield now - start, max(0.0, now - made)


class _Heart(threading.Thread):
    """Commits a row twenty times a second until left; a context manager."""

    def __init__(self, servers: Servers, database: str) -> None:
        super().__init__(name="heart", daemon=True)
        self._conninfo = servers.source.conninfo(database)
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self.join()

    def run(self) -> None:
        with closing(psycopg.connect(self._conninfo, autocommit=True)) as connection:
            while not self._stopped.wait(_BEAT_EVERY):
                _beat(connection)


LIVE: Mapping[str, Live] = {"pgcopydb": ours_live, "subscription": subscription_live}
