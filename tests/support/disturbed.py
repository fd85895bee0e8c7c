"""Migrations that are disturbed by the numbers of a seed: what is told of each, and of all."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol


class Disturbed(Protocol):
    """A run: its faults by kind, how often it was resumed, how often it went on by itself."""

    faults: Counter[str]
    resumed: int
    survived: int

    def run(self) -> None:
        """Begin, disturb, drain and judge it."""


@dataclass
class Totals:
    """What came of many runs, of which the first had the number ``seed``."""

    seed: int
    runs: int = 0
    exact: int = 0
    faults: int = 0
    resumed: int = 0

    def add(self, run: Disturbed, seed: int) -> None:
        """Do a run and count what came of it, however it ends."""
        self.runs += 1
        try:
            run_and_report(run, seed)
            self.exact += 1
        finally:
            self.faults += run.faults.total()
            self.resumed += run.resumed

    def __str__(self) -> str:
        exact = self.runs == self.exact
        bound = f"; at most {3 / self.runs:.1%} of runs fail (at 95 %)" if exact else ""
        return (
            f"{self.runs} runs from seed {self.seed}, {self.faults} faults, {self.resumed} resumes:"
            f" {self.exact} exact, {self.runs - self.exact} failed{bound}"
        )


@contextmanager
def totals(seed: int) -> Iterator[Totals]:
    """Count what came of many runs, and print it at the end."""
    counted = Totals(seed)
    yield counted
    sys.stdout.write(f"\n{counted}\n")


def run_and_report(run: Disturbed, seed: int) -> None:
    """Do a run, and print what was done in it, however it ends."""
    began = time.monotonic()
    outcome = "FAILED"
    try:
        run.run()
        outcome = "exact"
    finally:
        ways = ", ".join(f"{count} {way}" for way, count in sorted(run.faults.items()))
        sys.stdout.write(
            f"seed {seed}: {outcome}; {run.faults.total()} faults ({ways}), {run.resumed} resumes,"
            f" {run.survived} survived, {time.monotonic() - began:.0f} s\n"
        )
        sys.stdout.flush()
