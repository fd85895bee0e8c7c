"""The parts of a base copy, run as scripts do: one command after another in one directory."""

from pathlib import Path

import pytest

from tests.support.commands import Finished, Pgcopydb
from tests.support.servers import AsRole, SourceTarget


class Phases:
    """The command, in one work directory, with both sides named as far as it takes them."""

    def __init__(self, command: Pgcopydb, pair: SourceTarget, directory: Path) -> None:
        self.command = command
        self.pair = pair
        self.directory = directory

    def run(self, *words: str, status: int = 0) -> Finished:
        """Run a command and check its status."""
        sides = {"dump": self.pair.options[:2], "restore": self.pair.options[2:]}
        options = sides.get(words[0], self.pair.options)
        finished = self.command(*words, "--dir", self.directory, *options)
        assert finished.status == status, finished.stderr
        return finished

    def with_rows_by(self, role: str) -> "Phases":
        """Return phases of a work directory of their own, which reach the target as ``role``."""
        source, target = self.pair.source, self.pair.target
        pair = SourceTarget(source, AsRole(target.cluster, target.name, role))
        return Phases(self.command, pair, self.directory.with_name("rows"))


@pytest.fixture
def phases(pgcopydb_command: Pgcopydb, source_target: SourceTarget, tmp_path: Path) -> Phases:
    """A work directory for the test's source and target."""
    return Phases(pgcopydb_command, source_target, tmp_path / "work")
