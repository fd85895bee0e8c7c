"""A short sample of the campaign in tests/campaign, with seeds that stay the same."""

import pytest

from tests.scenarios.migration import Migration
from tests.support.disturbed import run_and_report
from tests.support.follow_kills import FollowKillRun
from tests.support.workload import APPLICATION


@pytest.mark.parametrize("source_target", [(16, 18, APPLICATION)], indirect=True)
@pytest.mark.parametrize(("seed", "streaming"), [(1, "off"), (2, "on")])
def test_killed_at_random_it_loses_and_doubles_nothing(
    migration: Migration, seed: int, streaming: str
) -> None:
    migration.streaming = streaming
    begin_with = ("group and both servers", "source server")
    run = FollowKillRun(migration, seed, faults=3, pause=1.5, begin_with=begin_with)
    run_and_report(run, seed)
