"""Give a follow trouble with disks, locks, limits and connections many times: ``make campaign``.

``CAMPAIGN_KINDS`` names the kinds of trouble that there are to be, with commas between. Root only.
"""

import os

import pytest

from tests.campaign.conftest import Disturb
from tests.scenarios.migration import Migration
from tests.support.follow_troubles import FollowTroubleRun, on_small_disks
from tests.support.workload import APPLICATION

KINDS = [kind for kind in os.environ.get("CAMPAIGN_KINDS", "").split(",") if kind]


@pytest.mark.parametrize("source_target", [(16, 18, APPLICATION)], indirect=True)
def test_troubles(
    migration: Migration, seed: int, faults: int, streaming: str, disturb: Disturb
) -> None:
    migration.streaming = streaming
    with on_small_disks(migration) as disks:
        disturb(FollowTroubleRun(migration, disks, seed, faults=faults, only=KINDS), seed)
