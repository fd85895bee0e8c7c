"""Base copies over networks that fail, at random moments of the copy.

::

    CopyCutRun(ProxiedMigration(...), seed=7, faults=3).run()

With an even seed nobody writes and ``clone`` is run, with an odd one ``clone --follow`` while the
application works. A command that ended is repeated, as its hint says, until the faults are used up
and one comes to its end. Status 0 must mean that both sides are the same; any other must come
without a traceback and leave no process behind.
"""

import time
from contextlib import ExitStack
from random import Random

from tests.scenarios.migration import assert_alone
from tests.support import networks
from tests.support.clock import wait_for
from tests.support.commands import Finished, Running
from tests.support.disturbed import Tally
from tests.support.equality import differences
from tests.support.litter import assert_no_litter, assert_quiet
from tests.support.networks import COPYING, ProxiedMigration
from tests.support.source_health import SourceHealth, assert_healthy

LARGE_TABLES = """
create table big (id bigint primary key, pad text not null);
insert into big select g, repeat(md5(g::text), 8) from generate_series(1, 120000) g;
create index big_pad on big (left(pad, 10));
create table wide (id integer primary key references big, pad text);
insert into wide select g, repeat(md5(g::text), 300) from generate_series(1, 3000) g;
select lo_from_bytea(0, convert_to(repeat(md5(g::text), 2000), 'UTF8'))
  from generate_series(1, 40) g;
"""
"""What takes some seconds to copy: a table for several parts, long rows, large objects."""

_COPY_SECONDS = 90.0

_TOLD = {3, 4, 5, 6, 7}
"""Statuses that say what a failing network does to a copy; never 0, never one of a defect."""


class CopyCutRun:
    """One migration with ``faults`` faults of the network during its base copy."""

    def __init__(self, migration: ProxiedMigration, seed: int, *, faults: int) -> None:
        self._migration = migration
        self._random = Random(seed)
        self._online = bool(seed % 2)
        self._left = faults
        self._last_fault: tuple[str, float] | None = None
        """Its kind, and when the network was whole again."""
        self.tally = Tally()

    def run(self) -> None:
        """Copy, cut, repeat what ended, and judge what came of it."""
        migration = self._migration
        migration.pair.source.execute(LARGE_TABLES)
        with ExitStack() as stack:
            watch = stack.enter_context(SourceHealth(migration.pair.source))
            self.tally.health = watch.health
            if self._online:
                workload = stack.enter_context(migration.workload())
                with workload.not_truncating():
                    running = self._copy_at_last(stack)
                watch.copied()
                migration.drain(running, workload)
            else:
                self._copy_at_last(stack)
        assert_healthy(watch.health)
        if self._online:
            migration.judge()
            return
        assert_quiet(migration.pair)
        assert differences(migration.pair.source, migration.pair.target) == []
        assert_no_litter(migration.pair)

    def _copy_at_last(self, stack: ExitStack) -> Running:
        """Run the command until a copy is complete; return the one that completed it."""
        repeated: list[str] = []
        while True:
            running = stack.enter_context(self._migration.start(*self._words(), *repeated))
            while self._left and not self._is_done(running):
                self._disturb(running)
            assert wait_for(lambda: self._is_done(running), seconds=_COPY_SECONDS)  # noqa: B023
            if running.is_running:
                self._note_end()
                return running
            finished = running.wait(1)
            assert_alone(running)
            if finished.status == 0:
                self._note_end()
                return running
            self._judge_failure(finished)
            self.tally.resumed += 1
            repeated = ["--restart", *(["--drop-if-exists"] if self._online else [])]

    def _note_end(self) -> None:
        self.tally.survived += 1
        if self._last_fault is not None:
            kind, healed = self._last_fault
            self.tally.recovered = {kind: [time.monotonic() - healed]}

    def _words(self) -> list[str]:
        words = ["clone", *(["--follow"] if self._online else [])]
        return [*words, "--table-jobs", "3", "--split-tables-larger-than", "4MB"]

    def _is_done(self, running: Running) -> bool:
        return not running.is_running or (
            self._online and "the base copy is complete" in running.stderr
        )

    @staticmethod
    def _judge_failure(finished: Finished) -> None:
        assert finished.status in _TOLD, finished.stderr
        assert "Traceback" not in finished.stderr
        assert "ERROR: " in finished.stderr

    def _disturb(self, running: Running) -> None:
        """Let one network fail for a while, at a moment of the copy."""
        if self._random.random() < 0.8:
            wait_for(lambda: "copying" in running.stderr or self._is_done(running))
        wait_for(lambda: self._is_done(running), seconds=self._random.uniform(0, 0.6))
        if self._is_done(running):
            return
        self._left -= 1
        fault = networks.fail(self._migration, self._random, COPYING)
        wait_for(lambda: not running.is_running, seconds=self._random.uniform(0.5, 3))
        if fault.heal():
            self.tally.faults[fault.kind] += 1
            self._last_fault = fault.kind, time.monotonic()
