"""Let the networks of a follow fail many times over: ``make campaign``."""

import pytest

from tests.campaign.conftest import Disturb
from tests.scenarios.migration import Migration
from tests.support.follow_cuts import FollowCutRun
from tests.support.networks import proxied
from tests.support.workload import APPLICATION


@pytest.mark.parametrize("source_target", [(16, 18, APPLICATION)], indirect=True)
def test_cuts(
    migration: Migration, seed: int, faults: int, streaming: str, disturb: Disturb
) -> None:
    migration.streaming = streaming
    with proxied(migration) as through_proxies:
        disturb(FollowCutRun(through_proxies, seed, faults=faults), seed)
