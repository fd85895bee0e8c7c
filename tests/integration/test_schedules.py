"""Random schedules end the same in batches, by transactions, and by PostgreSQL's own subscription.

A short sample; ``make campaign`` tries many more. What one printed as failing is repeated with
``SCHEDULES_SEED``.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, note, seed, settings

from tests.support.replay import ALL_WAYS, PGOUTPUT_WAYS, Replay, open_replay
from tests.support.schedules import Schedule, Step, Table, schedules
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


def test_rows_that_the_source_logged_and_refused(servers: Servers, tmp_path: Path) -> None:
    """A row with a key that is there is in the WAL, and in the stream, before it is refused."""
    steps = (Step(0, "count", 0, 2, 3), Step(0, "insert twins", 0, 20), Step(0, "insert", 0, 20))
    schedule = Schedule(tables=(Table("key", ()),), before=(), steps=steps)
    with open_replay(servers, (16, 18), PGOUTPUT_WAYS, tmp_path) as replay:
        replay.check(schedule)
