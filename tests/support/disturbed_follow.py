"""A migration that is disturbed while it follows, and must lose, double and betray nothing.

Whoever runs the command resumes it each time it has ended. What it was told to do is right when the
target has every transaction that the source acknowledged, once, whoever read it meanwhile saw only
what the source had been, no exit status said otherwise, and no process stays behind or waits for
ever. The same seed takes the same decisions; the moments are
never quite the same.
"""

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from random import Random

from tests.scenarios.migration import Migration, assert_alone
from tests.support.clock import wait_for
from tests.support.commands import Finished, Running
from tests.support.disturbed import Tally
from tests.support.recovery import Recovery
from tests.support.source_health import SourceHealth, assert_healthy

_DRAIN_SECONDS = 400.0
"""How long everything that piled up may take on a machine with much else to do."""

_RECOVERY_SECONDS = 30.0

SERVER_IS_GONE = frozenset({6, 7})
"""Statuses with which a command gives up that cannot reach a server: the source, the target."""

_LINE = re.compile(r"^\S+ (\d+) \w+ +(.*)$", re.MULTILINE)


class DisturbedFollow(ABC):
    """One ``clone --follow`` under a workload, with ``faults`` faults, ``pause`` seconds apart."""

    running: Running
    """The command that is, or was, at work."""
    recovery: Recovery
    kills_source = False
    """Whether the source is killed too; otherwise its application must never be cut off."""
    in_part = ""
    """A query for what is seen in part of what :meth:`further_writers` commit."""

    def __init__(
        self,
        migration: Migration,
        seed: int,
        *,
        faults: int,
        pause: float,
        resumed_by: Sequence[list[str]] = (["clone", "--follow"],),
    ) -> None:
        self.migration = migration
        self.random = Random(seed)
        self.tally = Tally()
        self.options = migration.receiving()
        self._faults = faults
        self._pause = pause
        self._resumed_by = resumed_by
        self._commands = ExitStack()

    def run(self) -> None:
        """Begin the migration, disturb and resume it, drain it and judge the outcome."""
        with (
            SourceHealth(self.migration.pair.source) as watch,
            self.migration.workload(enduring=self.kills_source) as workload,
            self.further_writers(),
            self._commands,
            Recovery(self.migration.pair.target, self.migration.ledger) as self.recovery,
        ):
            self.tally.recovered = self.recovery.seconds
            self.tally.health = watch.health
            started = self.migration.start_follow(workload, *self.options)
            self.running = self._commands.enter_context(started)
            watch.copied()
            # A target that crashes may show less than before, but nothing that never was.
            with self.migration.read_meanwhile(in_part=self.in_part):
                self._disturb_all()
                workload.stop()
                self.drain()
        self.migration.judge()
        assert watch.looks > 0
        assert_healthy(watch.health)

    def _disturb_all(self) -> None:
        for _ in range(self._faults):
            time.sleep(self.random.uniform(0, self._pause))
            self.disturb()
            # Half of the faults meet a command that works, the others one that recovers.
            if self.random.random() < 0.5:
                self._recover()

    def further_writers(self) -> AbstractContextManager[object]:
        """Return what writes beside the workload, until :meth:`drain`."""
        return nullcontext()

    @abstractmethod
    def disturb(self) -> None:
        """Do something to the migration; the command runs afterwards, resumed where it ended."""

    def _recover(self) -> None:
        """Wait until the target shows a commit that is later than the last fault.

        On a machine with much else to do it may not, before the writers stop.
        """
        wait_for(
            lambda: self.recovery.is_over or not self.running.is_running, seconds=_RECOVERY_SECONDS
        )
        if not self.running.is_running:
            self.gave_up()

    def gave_up(self) -> None:
        """See that a command which has ended by itself had reason to, and resume it."""
        self.ended(SERVER_IS_GONE)
        self.resume()

    def drain(self) -> None:
        """Let everything be applied that was written; nobody writes any more."""
        self.set_end()
        self.wait_for_end()

    def set_end(self) -> None:
        """Say that the command is to end when it has applied what is there now."""
        self.migration.sentinel("set", "endpos", "--current")

    def wait_for_end(self) -> None:
        """Wait until the command has come to its end, and repeat it where it could not."""
        finished = self.running.wait(_DRAIN_SECONDS)
        for _ in range(2):  # a server that recovers refuses a command that begins just then
            if finished.status == 0:
                break
            self.not_at_end()
            finished = self.running.wait(_DRAIN_SECONDS)
        assert finished.status == 0, finished.stderr
        assert_alone(self.running)

    def not_at_end(self) -> None:
        """See to a command that could not come to its end: resume it."""
        self.resume(draining=True)

    def ended(self, statuses: Collection[int]) -> Finished:
        """Return how the command ended, which has to be with one of these statuses."""
        finished = self.running.wait(1)
        assert finished.status in statuses, f"{finished.status}: {finished.stderr}"
        assert "Traceback" not in finished.stderr, finished.stderr
        assert_alone(self.running)
        return finished

    def resume(self, *, draining: bool = False) -> None:
        """Repeat the command; mostly wait until it applies, so that some are hit earlier."""
        self.tally.resumed += 1
        words = [*self.random.choice(self._resumed_by), "--resume", *self.options]
        self.running = self._commands.enter_context(self.migration.start(*words))
        if not draining and self.random.random() < 0.8:
            self.migration.wait_until_applying(self.running)

    def goes_on(self, seconds: float) -> bool:
        """Tell whether the command still runs after some seconds."""
        return not wait_for(lambda: not self.running.is_running, seconds=seconds)

    def worker(self, message: str) -> int | None:
        """Return the process that has logged a message last, if it still runs."""
        pids = [int(pid) for pid, text in _LINE.findall(self.running.stderr) if message in text]
        found = parent_and_session(pids[-1]) if pids else None
        return pids[-1] if found is not None and found[1] == self.running.pid else None


def parent_and_session(pid: int) -> tuple[int, int] | None:
    """Return the parent and the session of a process, None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]), int(fields[3])
