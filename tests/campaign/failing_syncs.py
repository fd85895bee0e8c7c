"""Let each single attempt to make something durable fail, one a run: part of ``make campaign``.

First of a replay of changes, then of a base copy, which has 115 of them. ``FAILING_SYNCS`` (200)
bounds how many are tried, and ``FAILING_SYNCS_FROM`` (1) is the first one.
"""

import itertools
import os
import sys
from pathlib import Path

import pytest

from tests.support.commands import Pgcopydb
from tests.support.equality import differences
from tests.support.failing_syncs import replay_with_failing_syncs, run_with_failing_sync
from tests.support.servers import Database, MakeDatabase, Servers, SourceTarget
from tests.support.steps import Stream

MOST = int(os.environ.get("FAILING_SYNCS", "200"))
FIRST = int(os.environ.get("FAILING_SYNCS_FROM", "1"))

ROWS = """
create table item (id integer primary key, name text);
insert into item select g, repeat(md5(g::text), 9) from generate_series(1, 20000) g;
create index on item (name);
create materialized view names as select count(*) from item;
select lo_from_bytea(0, 'large');
"""


@pytest.mark.timeout(3600)
def test_each_sync_of_a_replay(stream: Stream) -> None:
    stream.both("create table item (id integer primary key, name text)")
    stream.set_up()

    def commit(number: int) -> None:
        first = number * 10_000
        stream.pair.source.execute(
            f"insert into item select {first} + g, repeat('x', 400) from generate_series(1, 4000) g"
        )

    failed = replay_with_failing_syncs(stream, range(FIRST, MOST + 1), commit)
    sys.stdout.write(
        f"\n{failed} failed attempts of replays, one a process and run: none did harm\n"
    )
    assert failed > 3


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("source_target", [(16, 18, ROWS)], indirect=True)
def test_each_sync_of_a_copy(
    source_target: SourceTarget,
    servers: Servers,
    make_database: MakeDatabase,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
) -> None:
    source = source_target.source
    failed = 0
    for number in itertools.count(FIRST):
        target = make_database(servers.get(18, "target"))
        options = _options(source, target, tmp_path / f"work-{number}")
        finished, calls = run_with_failing_sync(
            tmp_path / f"failing-{number}", ["clone", *options], number
        )
        assert "Traceback" not in finished.stderr
        if finished.status:
            again = pgcopydb_command("clone", *options, "--resume")
            if "--restart" in again.stderr:  # the snapshot went with the run
                again = pgcopydb_command("clone", *options, "--restart")
            assert again.status == 0, again.stderr
        assert differences(source, target) == []
        failed += len(calls)
        if not calls or number >= MOST:
            break
    sys.stdout.write(
        f"\n{failed} failed attempts of copies, one a process and run: none did harm\n"
    )
    assert failed > 3


def _options(source: Database, target: Database, directory: Path) -> list[str]:
    return [*SourceTarget(source, target).options, "--dir", str(directory), "--table-jobs", "2"]
