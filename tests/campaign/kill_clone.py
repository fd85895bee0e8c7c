"""Kill a base copy many times over: ``make campaign``."""

from pathlib import Path

import pytest

from tests.campaign.conftest import Disturb
from tests.support.clone_kills import DATABASE, CloneKillRun
from tests.support.commands import PgcopydbBackground
from tests.support.servers import SourceTarget


@pytest.mark.parametrize("source_target", [(16, 18, DATABASE)], indirect=True)
def test_kills(
    source_target: SourceTarget,
    pgcopydb_background: PgcopydbBackground,
    tmp_path: Path,
    seed: int,
    faults: int,
    disturb: Disturb,
) -> None:
    directory = tmp_path / "work"
    disturb(CloneKillRun(source_target, directory, pgcopydb_background, seed, faults=faults), seed)
