"""Let the networks of a follow fail many times over: ``make campaign``.

``CAMPAIGN_RUNS`` migrations (20) with ``CAMPAIGN_CUTS`` faults each (6), of which the first takes
its decisions by ``CAMPAIGN_SEED`` (the time of day) and each further one by the next number.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.scenarios.conftest import migration  # noqa: F401 - a fixture
from tests.scenarios.migration import Migration
from tests.support.cuts import CutRun, ProxiedMigration, reported
from tests.support.proxy import Proxy
from tests.support.workload import APPLICATION

RUNS = int(os.environ.get("CAMPAIGN_RUNS", "20"))
CUTS = int(os.environ.get("CAMPAIGN_CUTS", "6"))
SEED = int(os.environ.get("CAMPAIGN_SEED", str(int(time.time()))))


@pytest.fixture(scope="module")
def totals() -> Iterator[Counter[str]]:
    """What happened in all runs; printed at the end."""
    totals: Counter[str] = Counter()
    yield totals
    runs, exact = totals["runs"], totals["exact"]
    bound = f"; at most {3 / runs:.1%} of runs fail (at 95 %)" if runs == exact else ""
    sys.stdout.write(
        f"\n{runs} runs from seed {SEED}, {totals['faults']} faults, {totals['resumed']} resumes:"
        f" {exact} exact, {runs - exact} failed{bound}\n"
    )


@pytest.mark.parametrize("seed", range(SEED, SEED + RUNS))
@pytest.mark.parametrize("source_target", [(16, 18, APPLICATION)], indirect=True)
def test_cuts(migration: Migration, seed: int, totals: Counter[str]) -> None:  # noqa: F811
    pair = migration.pair
    with Proxy(pair.source.cluster.port) as source, Proxy(pair.target.cluster.port) as target:
        proxied = ProxiedMigration(
            pair,
            migration.directory,
            migration.command,
            migration.background,
            proxies={"source": source, "target": target},
        )
        run = CutRun(proxied, seed, cuts=CUTS)
        totals["runs"] += 1
        try:
            with reported(run, seed):
                run.run()
            totals["exact"] += 1
        finally:
            totals["faults"] += run.faults.total()
            totals["resumed"] += run.resumed
