"""Random values of every type by the hundred thousand: ``make campaign``.

``VALUES`` (100,000) rows of 40 types for each plugin, drawn by ``VALUES_SEED`` (the time).
"""

import os
import time

import pytest

from tests.support.random_values import carry_random_values
from tests.support.steps import Stream
from tests.support.workload import APPLICATION

SEED = int(os.environ.get("VALUES_SEED", str(int(time.time()))))
COUNT = int(os.environ.get("VALUES", "100000"))


@pytest.mark.timeout(0)
@pytest.mark.parametrize("source_target", [(15, 18, APPLICATION)], indirect=True)
@pytest.mark.parametrize("plugin", ["pgoutput", "wal2json", "test_decoding"])
def test_random_values_of_every_type(stream: Stream) -> None:
    carry_random_values(stream, SEED, COUNT)
