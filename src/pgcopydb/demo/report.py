"""What the demonstration has found out, for a person to read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from pgcopydb.demo.lag import RESOLUTION
from pgcopydb.demo.screen import seconds, size
from pgcopydb.demo.verify import Check


@dataclass(kw_only=True)
class Report:
    """Figures, filled in as they become known. Durations are seconds, sizes bytes."""

    source_version: str = ""
    target_version: str = ""
    database_bytes: int = 0
    copy_seconds: float = 0.0
    copied_rows: int = 0
    behind_at_copy_seconds: float = 0.0
    behind_at_copy_bytes: int = 0
    catch_up_seconds: float | None = None
    """None when it had not caught up before the cut-over."""
    delays: Sequence[float] = ()
    """Of each commit watched after that, from acknowledged to seen on the target."""
    applied_transactions: int = 0
    applied_changes: int = 0
    stopped_seconds: float = 0.0
    total_seconds: float = 0.0
    checks: list[Check] = field(default_factory=list)

    @property
    def failed(self) -> list[Check]:
        """The checks that did not pass."""
        return [check for check in self.checks if not check.passed]

    def lines(self) -> Iterator[str]:
        """Yield the report, a line at a time."""
        yield from (f"{name:<18}{value}" for name, value in self._figures())
        yield ""
        for check in self.checks:
            yield f"{'ok    ' if check.passed else 'FAILED'}  {check.claim} ({check.detail})"
        yield ""
        yield self._result()

    def _figures(self) -> Iterator[tuple[str, str]]:
        yield "source", f"PostgreSQL {self.source_version}, {size(self.database_bytes)}"
        yield "target", f"PostgreSQL {self.target_version}"
        yield "base copy", f"{seconds(self.copy_seconds)}, {self.copied_rows:,} rows"
        behind = f"{seconds(self.behind_at_copy_seconds)}, {size(self.behind_at_copy_bytes)} of WAL"
        yield "behind then by", behind
        yield "caught up in", self._caught_up()
        yield "lag after that", self._lag()
        yield (
            "applied",
            f"{self.applied_transactions:,} transactions with {self.applied_changes:,} changes",
        )
        yield "writers stopped", f"for {seconds(self.stopped_seconds)}"
        yield "in all", seconds(self.total_seconds)

    def _caught_up(self) -> str:
        if self.catch_up_seconds is None:
            return "not before the cut-over: this machine is too busy to follow that many writes"
        return seconds(self.catch_up_seconds)

    def _lag(self) -> str:
        if not self.delays:
            return "not measured"
        return (
            f"median {seconds(median(self.delays))}, largest {seconds(max(self.delays))}"
            f" (commit to visible, {len(self.delays):,} commits, watched every"
            f" {seconds(RESOLUTION)})"
        )

    def _result(self) -> str:
        if self.failed:
            return f"FAILED: {len(self.failed)} of {len(self.checks)} checks"
        return "Nothing was lost, and nothing is there that should not be."
