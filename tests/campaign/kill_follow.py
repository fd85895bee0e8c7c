"""Kill a follow many times over: ``make campaign``.

A large transaction in it has up to ``CAMPAIGN_ROWS`` rows (15 000); ``CAMPAIGN_PLUGIN`` (pgoutput)
decodes. ``CAMPAIGN_KINDS`` names the kinds of kills that there are to be, with commas between.
"""

import os

import pytest

from tests.campaign.conftest import Disturb
from tests.scenarios.migration import Migration
from tests.support.follow_kills import FollowKillRun
from tests.support.workload import APPLICATION

ROWS = int(os.environ.get("CAMPAIGN_ROWS", "15000"))
KINDS = [kind for kind in os.environ.get("CAMPAIGN_KINDS", "").split(",") if kind]
PLUGIN = os.environ.get("CAMPAIGN_PLUGIN", "pgoutput")
SOURCE = 16 if PLUGIN == "pgoutput" else 15  # of the embedded servers none has the others


@pytest.mark.parametrize("source_target", [(SOURCE, 18, APPLICATION)], indirect=True)
def test_kills(
    migration: Migration, seed: int, faults: int, streaming: str, disturb: Disturb
) -> None:
    migration.plugin, migration.streaming = PLUGIN, streaming
    disturb(FollowKillRun(migration, seed, faults=faults, rows=ROWS, only=KINDS), seed)
