"""What the application was told: every transaction whose commit the source acknowledged."""

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock


@dataclass(frozen=True, slots=True)
class Commit:
    """An acknowledged commit: a writer's ``n``-th transaction, and when it asked and was answered.

    Times are of the monotonic clock, in seconds. A writer's commits follow each other in the order
    of ``n``, which has gaps where a transaction was rolled back.
    """

    writer: str
    n: int
    asked: float
    answered: float


class Ledger:
    """The acknowledged commits of all writers; safe to write to from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._commits: dict[str, list[Commit]] = {}

    def acknowledge(self, commit: Commit) -> None:
        """Record a commit that the source has acknowledged."""
        with self._lock:
            commits = self._commits.setdefault(commit.writer, [])
            assert not commits or commits[-1].n < commit.n, "a writer's commits are in order"
            commits.append(commit)

    @property
    def commits(self) -> Mapping[str, list[Commit]]:
        """The commits of each writer so far, in their order."""
        with self._lock:
            return {writer: list(commits) for writer, commits in self._commits.items()}

    def __len__(self) -> int:
        return sum(len(commits) for commits in self.commits.values())
