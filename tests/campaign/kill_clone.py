"""Kill a base copy many times over: ``make campaign``.

``CAMPAIGN_RUNS`` copies (20) with ``CAMPAIGN_KILLS`` kills each (6), of which the first takes its
decisions by ``CAMPAIGN_SEED`` (the time of day) and each further one by the next number.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clone_kills import DATABASE, CloneKillRun
from tests.support.commands import PgcopydbBackground
from tests.support.disturbed import Totals, totals
from tests.support.servers import SourceTarget

RUNS = int(os.environ.get("CAMPAIGN_RUNS", "20"))
KILLS = int(os.environ.get("CAMPAIGN_KILLS", "6"))
SEED = int(os.environ.get("CAMPAIGN_SEED", str(int(time.time()))))


@pytest.fixture(scope="module")
def counted() -> Iterator[Totals]:
    """What happened in all runs."""
    with totals(SEED) as all_runs:
        yield all_runs


@pytest.mark.parametrize("seed", range(SEED, SEED + RUNS))
@pytest.mark.parametrize("source_target", [(16, 18, DATABASE)], indirect=True)
def test_kills(
    source_target: SourceTarget,
    pgcopydb_background: PgcopydbBackground,
    tmp_path: Path,
    seed: int,
    counted: Totals,
) -> None:
    run = CloneKillRun(source_target, tmp_path / "work", pgcopydb_background, seed, kills=KILLS)
    counted.add(run, seed)
