"""Random schedules by the hundred: ``make campaign``. See ``tests.support.schedules``.

``SCHEDULES`` (200) of them for each pair of servers, drawn by ``SCHEDULES_SEED`` (the time). One
that fails is made as small as it gets before it is printed, and is tried first the next time.
Where one hangs, all stacks are printed and nothing further is tried.
"""

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, note, seed, settings

from tests.support.replay import ALL_WAYS, PGOUTPUT_WAYS, Replay, open_replay
from tests.support.schedules import Schedule, schedules
from tests.support.servers import Servers

SEED = int(os.environ.get("SCHEDULES_SEED", str(int(time.time()))))
COUNT = int(os.environ.get("SCHEDULES", "200"))
# For all of them on a busy machine, and to make one that fails small.
_SECONDS = 900 + 30 * COUNT


@pytest.fixture(scope="module", params=[(15, 15), (16, 18), (15, 18)], ids="{0[0]}-{0[1]}".format)
def replay(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Replay]:
    # Of the embedded servers none has the other plugins.
    ways = PGOUTPUT_WAYS if request.param[0] == 16 else ALL_WAYS
    with open_replay(servers, request.param, ways, tmp_path_factory.mktemp("schedules")) as replay:
        yield replay


# By a thread: what a signal raises here would be a failing schedule, which is then tried again.
@pytest.mark.timeout(_SECONDS, method="thread")
@seed(SEED)
@settings(max_examples=COUNT, deadline=None, suppress_health_check=list(HealthCheck))
@given(schedule=schedules())
def test_every_way_ends_as_the_source_does(replay: Replay, schedule: Schedule) -> None:
    note(f"SCHEDULES_SEED={SEED}")
    replay.check(schedule)
