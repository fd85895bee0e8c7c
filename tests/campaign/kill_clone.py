"""Kill a base copy many times over: ``make campaign``.

``CAMPAIGN_TABLES`` (0) are made besides, each of three rows: from 1000 on the rows of some are
copied while the others are still being made.
"""

import os
from pathlib import Path

import pytest

from tests.campaign.conftest import Disturb
from tests.support.clone_kills import DATABASE, CloneKillRun
from tests.support.commands import PgcopydbBackground
from tests.support.servers import SourceTarget

TABLES = int(os.environ.get("CAMPAIGN_TABLES", "0"))
_SMALL = f"""
do $$begin for n in 1..{TABLES} loop
  execute format('create table small_%s (id integer primary key, pad text)', n);
  execute format('insert into small_%s values (1, ''a''), (2, ''b''), (3, null)', n);
end loop; end$$;
"""


@pytest.mark.parametrize("source_target", [(16, 18, DATABASE + _SMALL)], indirect=True)
def test_kills(
    source_target: SourceTarget,
    pgcopydb_background: PgcopydbBackground,
    tmp_path: Path,
    seed: int,
    faults: int,
    disturb: Disturb,
) -> None:
    directory = tmp_path / "work"
    disturb(CloneKillRun(source_target, directory, pgcopydb_background, seed, faults=faults), seed)
