"""Let the networks of a base copy fail many times over: ``make campaign``.

``CAMPAIGN_RUNS`` migrations (20) with ``CAMPAIGN_CUTS`` faults each (6), of which the first takes
its decisions by ``CAMPAIGN_SEED`` (the time of day) and each further one by the next number.
"""

import os
import time
from collections.abc import Iterator

import pytest

from tests.scenarios.conftest import migration  # noqa: F401 - a fixture
from tests.scenarios.migration import Migration
from tests.support.copy_cuts import CopyCutRun
from tests.support.cuts import proxied
from tests.support.disturbed import Totals, totals
from tests.support.workload import APPLICATION

RUNS = int(os.environ.get("CAMPAIGN_RUNS", "20"))
CUTS = int(os.environ.get("CAMPAIGN_CUTS", "6"))
SEED = int(os.environ.get("CAMPAIGN_SEED", str(int(time.time()))))


@pytest.fixture(scope="module")
def counted() -> Iterator[Totals]:
    """What happened in all runs."""
    with totals(SEED) as all_runs:
        yield all_runs


@pytest.mark.parametrize("seed", range(SEED, SEED + RUNS))
@pytest.mark.parametrize("source_target", [(16, 18, APPLICATION)], indirect=True)
def test_cuts_during_the_copy(migration: Migration, seed: int, counted: Totals) -> None:  # noqa: F811
    with proxied(migration) as through_proxies:
        counted.add(CopyCutRun(through_proxies, seed, cuts=CUTS), seed)
