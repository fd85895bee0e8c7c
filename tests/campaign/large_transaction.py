"""Follow a transaction of 2 GB, received whole or in progress, in bounded memory.

Part of ``make campaign``. ``TRANSACTION_ROWS`` (2 000 000) rows of a kilobyte are inserted, most of
them are changed again, and some are deleted, all in one transaction.
"""

import os
import sys
from pathlib import Path

import pytest

from tests.support.clock import wait_for
from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.litter import litter
from tests.support.memory import MemoryWatch
from tests.support.servers import Database, MakeCluster, SourceTarget
from tests.support.steps import Stream

ROWS = int(os.environ.get("TRANSACTION_ROWS", "2000000"))
SECONDS = 1800.0

_MOST_MEMORY = 512 << 20

TABLE = "create table wide (id integer primary key, v text, n integer)"
TRANSACTION = """
begin;
insert into wide select g, repeat(md5(g::text), 31), 0 from generate_series(1, %(rows)s) g;
update wide set n = 1 where id %% 10 = 0;
delete from wide where id %% 100 = 1;
commit;
"""


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("streaming", ["off", "on"])
def test_it_arrives_whole_and_fills_no_memory(
    make_cluster: MakeCluster,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
    streaming: str,
) -> None:
    settings = {"fsync": "off", "max_wal_size": "4GB", "logical_decoding_work_mem": "16MB"}
    sides = [Database(make_cluster(major, settings=settings), "postgres") for major in (16, 18)]
    pair = SourceTarget(*sides)
    pair.source.execute(TABLE)
    stream = Stream(pair, tmp_path / "work", pgcopydb_command, pgcopydb_background)
    with (
        stream.start("clone", "--follow", "--streaming", streaming) as running,
        MemoryWatch(running.pid) as memory,
    ):
        assert wait_for(lambda: "applying from" in running.stderr, seconds=60), running.stderr
        pair.source.execute(TRANSACTION % {"rows": ROWS})
        stream.set_endpos()
        finished = running.wait(SECONDS)
    assert finished.status == 0, finished.stderr
    assert 0 < memory.highest < _MOST_MEMORY
    sys.stdout.write(f"streaming {streaming}: {memory.highest >> 20} MB at most\n")
    stream.run("compare", "data", timeout=SECONDS)
    stream.run("stream", "cleanup")
    assert litter(pair.source) == litter(pair.target) == []
