"""A migration over networks that fail again and again, at random moments.

::

    CutRun(ProxiedMigration(...), seed=7, cuts=5).run()

What is right is what kills.KillRun asks for: every acknowledged transaction once, an exit status
that is true, nobody who waits for ever. The same seed takes the same decisions.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from random import Random

from tests.scenarios.migration import Migration, assert_alone
from tests.support.clock import wait_for
from tests.support.commands import Running
from tests.support.proxy import Proxy
from tests.support.recovery import Recovery


@dataclass
class ProxiedMigration(Migration):
    """A migration whose commands reach both servers through proxies only."""

    proxies: dict[str, Proxy] = field(default_factory=dict)

    def arguments(self, *words: str) -> list[str]:
        """Return a command's words with the options that lead through the proxies."""
        pair = self.pair
        source = self.proxies["source"].through(pair.source.conninfo)
        target = self.proxies["target"].through(pair.target.conninfo)
        directory = ["--dir", str(self.directory)]
        return [*words, *directory, "--source", source, "--target", target]


class CutRun:
    """One migration with ``cuts`` faults of the network in it."""

    def __init__(self, migration: ProxiedMigration, seed: int, *, cuts: int) -> None:
        self._migration = migration
        self._random = Random(seed)
        self._cuts = cuts
        self.faults: Counter[str] = Counter()
        self.resumed = 0
        self.survived = 0
        self.recovered: list[float] = []

    def run(self) -> None:
        """Begin the migration, disturb and resume it, drain it and judge the outcome."""
        migration, random = self._migration, self._random
        with (
            migration.workload() as workload,
            ExitStack() as command,
            Recovery(migration.pair.target, migration.ledger) as recovery,
        ):
            self.recovered = recovery.seconds
            running = command.enter_context(migration.start_follow(workload))
            for _ in range(self._cuts):
                time.sleep(random.uniform(0, 1.5))
                running = self._disturb(running, command, recovery)
            workload.stop()
            self._drain(running, command)
        migration.judge()

    def _drain(self, running: Running, command: ExitStack) -> None:
        self._migration.sentinel("set", "endpos", "--current")
        finished = running.wait(120)
        for _ in range(2):  # it may have ended just before everything was healed
            if finished.status == 0:
                break
            running = self._resume(command)
            finished = running.wait(120)
        assert finished.status == 0, finished.stderr
        assert_alone(running)

    def _disturb(self, running: Running, command: ExitStack, recovery: Recovery) -> Running:
        """Let one network fail for a while; return the command that runs on, or resumes."""
        side = self._random.choice(["source", "target"])
        proxy = self._migration.proxies[side]
        number = self._random.randint(1, 30)
        ways: dict[str, Callable[[], object]] = {
            "reset": proxy.reset,
            "half close": proxy.half_close,
            "refused": lambda: proxy.refuse(2),
            "silence": lambda: proxy.silence(3),
            "lost answer": lambda: proxy.cut_before(b"C", number),
            "lost rows": lambda: proxy.cut_before(b"d", number),
            "slow": lambda: setattr(proxy, "latency", 0.05),
            "slices": lambda: setattr(proxy, "slice_bytes", self._random.randint(1, 7)),
        }
        way = self._random.choice(list(ways))
        self.faults[f"{way} ({side})"] += 1
        ways[way]()
        wait_for(lambda: not running.is_running, seconds=self._random.uniform(0.5, 4))
        proxy.heal()
        recovery.after_fault()
        if running.is_running:
            self.survived += 1
            return running
        finished = running.wait(1)
        assert finished.status in {6, 7}, finished.stderr
        assert "Traceback" not in finished.stderr
        assert_alone(running)
        return self._resume(command)

    def _resume(self, command: ExitStack) -> Running:
        self.resumed += 1
        running = command.enter_context(self._migration.start("clone", "--follow", "--resume"))
        wait_for(lambda: not running.is_running, seconds=1)
        return running


@contextmanager
def proxied(migration: Migration) -> Iterator[ProxiedMigration]:
    """Give a migration whose connections all go through a proxy for each server."""
    pair = migration.pair
    with Proxy(pair.source.cluster.port) as source, Proxy(pair.target.cluster.port) as target:
        yield ProxiedMigration(
            pair,
            migration.directory,
            migration.command,
            migration.background,
            proxies={"source": source, "target": target},
        )
