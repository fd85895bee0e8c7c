"""What came of campaigns: a line of JSON for each run, and the tables that are made of them.

::

    python -m tests.campaign.results [campaign-results.jsonl ...]
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import msgspec

from tests.support.disturbed import DisturbedRun, percentiles, run_and_report
from tests.support.source_health import Health

DEFAULT_FILE = "campaign-results.jsonl"

_TITLES = {
    "cut_copy": "networks fail during the base copy",
    "cut_follow": "networks fail while changes are followed",
    "kill_clone": "processes, sessions and the target are killed during a base copy",
    "kill_follow": "processes, sessions and servers are killed while changes are followed",
    "trouble_follow": "disks, locks, limits and full servers while changes are followed",
}

_SUFFERED = (
    "at most, while",
    "runs",
    "a statement waits behind pgcopydb",
    "WAL kept by the slot",
    "transactions since the slot's catalog_xmin",
    "and since a session's xmin",
    "a session is idle in a transaction",
)
"""What the source suffers; the last three once the base copy is complete."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of one run; times are in seconds, ``recovered`` has them by kind of fault."""

    campaign: str
    seed: int
    failure: str | None
    faults: dict[str, int]
    resumed: int
    survived: int
    recovered: dict[str, list[float]]
    seconds: float
    commit: str
    date: str
    health: Health | None = None
    """What the source suffered; lines that were written before that was looked at have none."""


def record(run: DisturbedRun, seed: int, campaign: str, file: Path) -> None:
    """Do a run, and add what came of it to ``file``, however it ends."""
    began = datetime.now(UTC)
    failure: str | None = "interrupted"
    try:
        run_and_report(run, seed)
        failure = None
    except BaseException as error:
        failure = f"{type(error).__name__}: {error}"[:2000]
        raise
    finally:
        outcome = Outcome(
            campaign=campaign,
            seed=seed,
            failure=failure,
            faults=dict(run.tally.faults),
            resumed=run.tally.resumed,
            survived=run.tally.survived,
            recovered=run.tally.recovered,
            seconds=(datetime.now(UTC) - began).total_seconds(),
            commit=_commit(),
            date=f"{began:%Y-%m-%d}",
            health=run.tally.health,
        )
        with file.open("ab", buffering=0) as results:  # one write: others add theirs meanwhile
            results.write(msgspec.json.encode(outcome) + b"\n")


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    described = subprocess.run(command, capture_output=True, text=True, check=False)
    return described.stdout.strip() or "unknown"


def read(files: Iterable[Path]) -> list[Outcome]:
    """Return the outcomes that were added to ``files``, by campaign and seed."""
    lines = [line for file in files for line in file.read_bytes().splitlines()]
    outcomes = [msgspec.json.decode(line, type=Outcome) for line in lines]
    return sorted(outcomes, key=lambda one: (one.campaign, one.seed))


def tables(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Give Markdown: a table of the campaigns, one of kinds for each, and the failures."""
    yield "| what happens | runs | faults | exact | failed | resumed | recovery p50 / p95 | seeds |"
    yield "|---|---|---|---|---|---|---|---|"
    grouped = {
        campaign: list(found) for campaign, found in groupby(outcomes, lambda one: one.campaign)
    }
    for campaign, found in grouped.items():
        yield _row(campaign, found)
    for what in ("commit", "date"):
        yield f"\n{what}: {', '.join(sorted({getattr(one, what) for one in outcomes}))}"
    if all(one.failure is None for one in outcomes):
        runs, faults = len(outcomes), sum(map(_faults, outcomes))
        yield (
            f"\nWith no failure in {runs} runs at most {3 / runs:.1%} of such runs fail, at 95 %;"
            f" with none after {faults} faults, at most {3 / faults:.2%} of the faults do harm."
        )
    yield from _source_table(grouped)
    for campaign, found in grouped.items():
        yield f"\n{_title(campaign)}:\n\n| fault | times | recovery p50 / p95 |\n|---|---|---|"
        yield from _kinds(found)
    for one in outcomes:
        if one.failure is not None:
            yield f"\n{one.campaign}, seed {one.seed}: {one.failure}"


def _row(campaign: str, found: Sequence[Outcome]) -> str:
    failed = sum(one.failure is not None for one in found)
    cells = [
        _title(campaign),
        len(found),
        sum(map(_faults, found)),
        len(found) - failed,
        failed,
        sum(one.resumed for one in found),
        percentiles(list(_times(found))),
        f"{found[0].seed} to {found[-1].seed}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _source_table(grouped: Mapping[str, Sequence[Outcome]]) -> Iterator[str]:
    """Give what the sources suffered at most, where that was looked at."""
    yield f"\n| {' | '.join(_SUFFERED)} |\n|{'---|' * len(_SUFFERED)}"
    for campaign, found in grouped.items():
        healths = [one.health for one in found if one.health is not None]
        if not healths:
            continue
        cells = [
            _title(campaign),
            len(healths),
            f"{max(one.waited for one in healths):.1f} s",
            f"{max(one.retained for one in healths) / 1e6:.0f} MB",
            max(one.slot_age for one in healths),
            max(one.session_age for one in healths),
            f"{max(one.idle for one in healths):.1f} s",
        ]
        yield f"| {' | '.join(map(str, cells))} |"


def _title(campaign: str) -> str:
    return _TITLES.get(campaign, campaign)


def _faults(outcome: Outcome) -> int:
    return sum(outcome.faults.values())


def _kinds(found: Sequence[Outcome]) -> Iterator[str]:
    counts: Counter[str] = Counter()
    for one in found:
        counts.update(one.faults)
    for kind, count in sorted(counts.items()):
        yield f"| {kind} | {count} | {percentiles(list(_times(found, kind)))} |"


def _times(found: Iterable[Outcome], wanted: str | None = None) -> Iterator[float]:
    for one in found:
        for kind, seconds in one.recovered.items():
            if wanted in {None, kind}:
                yield from seconds


def main(arguments: Sequence[str]) -> None:
    """Print the tables of the files that are named."""
    for line in tables(read(map(Path, arguments or [DEFAULT_FILE]))):
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
