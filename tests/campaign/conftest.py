"""What the campaigns of random faults have in common.

``CAMPAIGN_RUNS`` migrations (20) with ``CAMPAIGN_FAULTS`` faults each (6), of which the first takes
its decisions by ``CAMPAIGN_SEED`` (the time of day) and each further one by the next number. What
came of each is added to the file ``CAMPAIGN_RESULTS`` (``campaign-results.jsonl``), of which
``python -m tests.campaign.results`` makes the tables of ``docs/explanation/reliability.md``.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.campaign.results import DEFAULT_FILE, record
from tests.scenarios.conftest import migration
from tests.support.disturbed import DisturbedRun

__all__ = ["migration"]  # a fixture

RUNS = int(os.environ.get("CAMPAIGN_RUNS", "20"))
# With pytest-xdist every worker has to draw the same numbers: they are told by the first process.
SEED = int(os.environ.setdefault("CAMPAIGN_SEED", str(int(time.time()))))

Disturb = Callable[[DisturbedRun, int], None]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test as many seeds as there are to be runs."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(SEED, SEED + RUNS))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a run the time that everything takes which piled up on a busy machine."""
    for item in items:
        if "disturb" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture
def streaming() -> str:
    """Whether follows receive large transactions in progress: ``CAMPAIGN_STREAMING`` (off)."""
    return os.environ.get("CAMPAIGN_STREAMING", "off")


@pytest.fixture
def faults() -> int:
    """How many faults a run has."""
    return int(os.environ.get("CAMPAIGN_FAULTS", "6"))


@pytest.fixture
def disturb(request: pytest.FixtureRequest) -> Disturb:
    """Does a run, and writes down what came of it, however it ends: ``disturb(run, seed)``."""
    file = Path(os.environ.get("CAMPAIGN_RESULTS", DEFAULT_FILE))
    campaign = request.path.stem

    def disturb(run: DisturbedRun, seed: int) -> None:
        record(run, seed, campaign, file)

    return disturb
