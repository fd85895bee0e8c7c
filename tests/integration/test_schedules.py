"""Random schedules end the same in batches, by transactions, and by PostgreSQL's own subscription.

A short sample; ``make campaign`` tries many more. What one printed as failing is repeated with
``SCHEDULES_SEED``.
"""

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, note, seed, settings

from tests.support.replay import ALL_WAYS, Replay, open_replay
from tests.support.schedules import Schedule, schedules
from tests.support.servers import Servers

SEED = int(os.environ.get("SCHEDULES_SEED", str(time.time_ns() // 1000)))


@pytest.fixture(scope="module")
def replay(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    with open_replay(servers, (15, 15), ALL_WAYS, tmp_path_factory.mktemp("schedules")) as replay:
        yield replay


@seed(SEED)
@settings(
    max_examples=int(os.environ.get("SCHEDULES", "8")),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(schedule=schedules())
def test_every_way_ends_as_the_source_does(replay: Replay, schedule: Schedule) -> None:
    note(f"SCHEDULES_SEED={SEED}")
    replay.check(schedule)
