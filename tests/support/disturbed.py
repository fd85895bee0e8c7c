"""Migrations that are disturbed by the numbers of a seed: what is told of each."""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Protocol

from tests.support.source_health import Health

STOP_SECONDS = 12.0
"""A stop takes ten seconds at most, on a machine that has nothing else to do."""


@dataclass
class Tally:
    """What happened in a run.

    ``recovered`` has, by kind of fault, the seconds until the target showed the first later commit;
    of a base copy, until a later command that nobody disturbed was through.
    """

    faults: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    """How often a command had to be repeated."""
    survived: int = 0
    """How often one went on by itself."""
    recovered: dict[str, list[float]] = field(default_factory=dict)
    health: Health | None = None
    """What the source and its application suffered, where that was looked at."""

    def __str__(self) -> str:
        times = [seconds for found in self.recovered.values() for seconds in found]
        return (
            f"{self.faults.total()} faults ({by_kind(self.faults)}), {self.resumed} resumes,"
            f" {self.survived} survived; recovery {percentiles(times)}"
        )


class DisturbedRun(Protocol):
    """A migration that takes its decisions by a seed."""

    tally: Tally

    def run(self) -> None:
        """Begin, disturb, drain and judge it."""


def percentiles(seconds: Sequence[float]) -> str:
    """Return the median and the 95th percentile, as far as there are any."""
    if len(seconds) < 2:
        return "not measured"
    cuts = quantiles(seconds, n=20, method="inclusive")
    return f"{cuts[9]:.1f} / {cuts[18]:.1f} s of {len(seconds)}"


def by_kind(faults: Mapping[str, int]) -> str:
    """Return how many faults there were of each kind."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(faults.items()))


def run_and_report(run: DisturbedRun, seed: int) -> None:
    """Do a run, and print what was done in it, however it ends."""
    began = time.monotonic()
    outcome = "FAILED"
    try:
        run.run()
        outcome = "exact"
    finally:
        seconds = time.monotonic() - began
        sys.stdout.write(f"seed {seed}: {outcome}; {run.tally}; {seconds:.0f} s\n")
        sys.stdout.flush()
