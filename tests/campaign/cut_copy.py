"""Let the networks of a base copy fail many times over: ``make campaign``."""

import pytest

from tests.campaign.conftest import Disturb
from tests.scenarios.migration import Migration
from tests.support.copy_cuts import CopyCutRun
from tests.support.networks import proxied
from tests.support.workload import APPLICATION


@pytest.mark.parametrize("source_target", [(16, 18, APPLICATION)], indirect=True)
def test_cuts_during_the_copy(
    migration: Migration, seed: int, faults: int, disturb: Disturb
) -> None:
    with proxied(migration) as through_proxies:
        disturb(CopyCutRun(through_proxies, seed, faults=faults), seed)
