"""Kill a follow many times over: ``make campaign``.

``CAMPAIGN_RUNS`` migrations (20) with ``CAMPAIGN_KILLS`` kills each (6), of which the first takes
its decisions by ``CAMPAIGN_SEED`` (the time of day) and each further one by the next number, in
which a large transaction has up to ``CAMPAIGN_ROWS`` rows (30 000), by ``CAMPAIGN_PLUGIN``.
"""

import os
import time
from collections.abc import Iterator

import pytest

from tests.scenarios.conftest import migration  # noqa: F401 - a fixture
from tests.scenarios.migration import Migration
from tests.support.disturbed import Totals, totals
from tests.support.kills import KillRun
from tests.support.workload import APPLICATION

RUNS = int(os.environ.get("CAMPAIGN_RUNS", "20"))
KILLS = int(os.environ.get("CAMPAIGN_KILLS", "6"))
ROWS = int(os.environ.get("CAMPAIGN_ROWS", "30000"))
PLUGIN = os.environ.get("CAMPAIGN_PLUGIN", "pgoutput")
SOURCE = 16 if PLUGIN == "pgoutput" else 15  # of the embedded servers none has the others
SEED = int(os.environ.get("CAMPAIGN_SEED", str(int(time.time()))))


@pytest.fixture(scope="module")
def counted() -> Iterator[Totals]:
    """What happened in all runs."""
    with totals(SEED) as all_runs:
        yield all_runs


@pytest.mark.parametrize("seed", range(SEED, SEED + RUNS))
@pytest.mark.parametrize("source_target", [(SOURCE, 18, APPLICATION)], indirect=True)
def test_kills(migration: Migration, seed: int, counted: Totals) -> None:  # noqa: F811
    migration.plugin = PLUGIN
    counted.add(KillRun(migration, seed, kills=KILLS, rows=ROWS), seed)
