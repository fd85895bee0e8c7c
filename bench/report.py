"""The figures of a benchmark as a table to read and as JSON to keep."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from contenders import Run
from workloads import Workload

OURS = "pgcopydb"
C_PROGRAM = "pgcopydb 0.10 (C)"
_LAG_FIGURES = ("p50", "p99", "slope", "last")


@dataclass(frozen=True, slots=True)
class Result:
    """Every run of one contender on one workload."""

    workload: Workload
    size: int
    wal_bytes: int
    contender: str
    runs: Sequence[Run]

    @property
    def seconds(self) -> float:
        """The median of the runs' times."""
        return statistics.median(run.seconds for run in self.runs)

    def median_cpu(self, process: str) -> float:
        """The median CPU seconds of one process."""
        return statistics.median(run.cpu.get(process, 0.0) for run in self.runs)

    @property
    def peak_mb(self) -> float:
        """The most memory that any client process held in any run."""
        return max((max(run.peak_mb.values(), default=0.0) for run in self.runs), default=0.0)


@dataclass(slots=True)
class Report:
    """All that was measured in one run of the benchmark."""

    servers: str
    scale: float
    machine: dict[str, object]
    fsync_ms: float
    results: list[Result] = field(default_factory=list)
    lag: dict[str, Any] = field(default_factory=dict)

    def wrong(self) -> bool:
        """Whether any target differed from the source, the C program's aside."""
        replayed = any(
            run.wrong
            for result in self.results
            if result.contender != C_PROGRAM
            for run in result.runs
        )
        return replayed or any(
            figures["wrong"] for found in self.lag.values() for figures in found.values()
        )

    def text(self) -> str:
        """The report in Markdown, which is also what the terminal shows."""
        facts = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        conditions = f"fsync p50 {self.fsync_ms:.2f} ms; scale {self.scale:g}"
        lines = [f"PostgreSQL {self.servers}; {facts}; {conditions}"]
        if self.results:
            lines += ["", *self._table(), "", *_cpu_table(self.results)]
        if self.lag:
            lines += ["", *_lag_table(self.lag)]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        rows: list[tuple[str, ...]] = [
            ("workload", "size", "contender", "median", "times ours", "pairs", "bar", "target")
        ]
        ours: Result | None = None
        for result in self.results:
            if result.contender == OURS:
                ours = result
            found = ratios(ours, result) if ours is not None else []
            quotient = statistics.median(found) if found else 1.0
            rows.append(
                (
                    result.workload.title,
                    f"{result.size:,} {result.workload.unit}",
                    result.contender,
                    f"{result.seconds:.2f} s",
                    f"{quotient:.2f}",
                    " ".join(f"{ratio:.2f}" for ratio in found) if result is not ours else "",
                    self._bar(result, quotient) if result is not ours else "",
                    "WRONG" if any(run.wrong for run in result.runs) else "equal",
                )
            )
        return markdown(rows)

    def _bar(self, result: Result, quotient: float) -> str:
        """Whether ours is fast enough; only said at full size, where starting up counts little."""
        wanted = 8.0 if result.contender == C_PROGRAM else result.workload.at_least
        if self.scale < 1:
            return f"{wanted:g}"
        return f"{wanted:g} {'met' if quotient >= wanted else 'MISSED'}"

    def save(self, directory: Path) -> Path:
        """Write the figures as JSON; return the file."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "cdc.json"
        path.write_text(json.dumps(self._figures(), indent=1) + "\n")
        (directory / "cdc.md").write_text(self.text() + "\n")
        return path

    def _figures(self) -> dict[str, Any]:
        return {
            "servers": self.servers,
            "scale": self.scale,
            "machine": self.machine,
            "fsync_p50_ms": self.fsync_ms,
            "results": [
                {
                    "workload": result.workload.name,
                    "size": result.size,
                    "wal_bytes": result.wal_bytes,
                    "contender": result.contender,
                    "runs": [asdict(run) for run in result.runs],
                }
                for result in self.results
            ],
            "lag": self.lag,
        }


def ratios(ours: Result, other: Result) -> list[float]:
    """How many times faster ours was, pair by pair."""
    return [
        theirs.seconds / mine.seconds for mine, theirs in zip(ours.runs, other.runs, strict=False)
    ]


def _cpu_table(results: Sequence[Result]) -> list[str]:
    processes = ("command", "workers", "receive", "apply", "walsender", "target")
    rows: list[tuple[str, ...]] = [("CPU seconds, medians", "contender", *processes, "peak MB")]
    for result in results:
        figures = [f"{result.median_cpu(name):.2f}" for name in processes]
        peak = f"{result.peak_mb:.0f}" if result.peak_mb else ""
        rows.append((result.workload.title, result.contender, *figures, peak))
    return markdown(rows)


def _lag_table(lag: dict[str, Any]) -> list[str]:
    rows = [("lag", "contender", "p50 ms", "p99 ms", "slope s/s", "to catch up s", "target")]
    for name, found in lag.items():
        for contender, figures in found.items():
            p50, p99, slope, last = (_figure(figures[key]) for key in _LAG_FIGURES)
            verdict = "WRONG" if figures["wrong"] else "equal"
            rows.append((name, contender, p50, p99, slope, last, verdict))
    return markdown(rows)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table; the first row is its head."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def show(text: str, stream: TextIO) -> None:
    """Print and flush, so that a long run can be watched."""
    print(text, file=stream, flush=True)
