"""Migrations that are disturbed by the numbers of a seed: what is told of each, and of all."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Protocol


class Disturbed(Protocol):
    """A run: its faults by kind, how often it was resumed, how often it went on by itself.

    ``recovered`` are the seconds from a fault to the first later commit that the target shows;
    of a base copy, until a later command that nobody disturbed was through.
    """

    faults: Counter[str]
    resumed: int
    survived: int
    recovered: list[float]

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
    recovered: list[float] = field(default_factory=list)
    ways: Counter[str] = field(default_factory=Counter)

    def add(self, run: Disturbed, seed: int) -> None:
        """Do a run and count what came of it, however it ends."""
        self.runs += 1
        try:
            run_and_report(run, seed)
            self.exact += 1
        finally:
            self.faults += run.faults.total()
            self.resumed += run.resumed
            self.recovered += run.recovered
            self.ways += run.faults

    def __str__(self) -> str:
        exact = self.runs == self.exact
        bound = f"; at most {3 / self.runs:.1%} of runs fail (at 95 %)" if exact else ""
        return (
            f"{self.runs} runs from seed {self.seed}, {self.faults} faults, {self.resumed} resumes:"
            f" {self.exact} exact, {self.runs - self.exact} failed{bound}"
            f"{_times(self.recovered)}\n{_by_kind(self.ways)}"
        )


def _times(seconds: list[float]) -> str:
    """Return the median and the 95th percentile of recoveries, as far as there are any."""
    if len(seconds) < 2:
        return ""
    cuts = quantiles(seconds, n=20, method="inclusive")
    return f"; recovery p50 {cuts[9]:.1f} s, p95 {cuts[18]:.1f} s of {len(seconds)}"


def _by_kind(faults: Counter[str]) -> str:
    return ", ".join(f"{count} {way}" for way, count in sorted(faults.items()))


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
        sys.stdout.write(
            f"seed {seed}: {outcome}; {run.faults.total()} faults ({_by_kind(run.faults)}),"
            f" {run.resumed} resumes, {run.survived} survived{_times(run.recovered)},"
            f" {time.monotonic() - began:.0f} s\n"
        )
        sys.stdout.flush()
