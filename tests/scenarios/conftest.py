"""Fixtures of the scenarios."""

from pathlib import Path

import pytest

from tests.scenarios.migration import Migration
from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.servers import SourceTarget


@pytest.fixture
def migration(
    source_target: SourceTarget,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
) -> Migration:
    """A migration that is still to be begun, between the databases of ``source_target``."""
    return Migration(source_target, tmp_path / "work", pgcopydb_command, pgcopydb_background)
