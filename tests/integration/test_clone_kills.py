"""A short sample of the campaign in tests/campaign, with seeds that stay the same."""

from pathlib import Path

import pytest

from tests.support.clone_kills import DATABASE, CloneKillRun
from tests.support.commands import PgcopydbBackground
from tests.support.disturbed import run_and_report
from tests.support.servers import SourceTarget


@pytest.mark.parametrize("source_target", [(16, 18, DATABASE)], indirect=True)
@pytest.mark.parametrize(("seed", "in_phases"), [(1, False), (2, True)], ids=["clone", "phases"])
def test_killed_at_random_it_ends_as_a_clean_run(
    source_target: SourceTarget,
    pgcopydb_background: PgcopydbBackground,
    tmp_path: Path,
    seed: int,
    in_phases: bool,
) -> None:
    run = CloneKillRun(
        source_target, tmp_path / "work", pgcopydb_background, seed, faults=3, in_phases=in_phases
    )
    run_and_report(run, seed)
    assert run.tally.faults.total() > 0
