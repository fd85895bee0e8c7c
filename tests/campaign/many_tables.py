"""Migrate a database of very many tables: part of ``make campaign``.

``MANY_TABLES`` (20 000), each with a key and an index of its own and every tenth one a partition;
rows of some of them change while they are followed. No lock table, no list of arguments and no
SQLite file may turn out to be too small.
"""

import os
from pathlib import Path

import pytest

from tests.support.clock import wait_for
from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.litter import litter
from tests.support.servers import Database, MakeCluster, SourceTarget
from tests.support.steps import Stream

TABLES = int(os.environ.get("MANY_TABLES", "20000"))
SECONDS = 1800.0

# A transaction has a lock for each table that it makes.
ROOT = "create table root (id integer, v text) partition by range (id)"
MAKE = """
do $$ begin
  for n in 1..%(tables)s loop
    if n %% 10 = 0 then
      execute format('create table "t %%s" partition of root (primary key (id))'
        ' for values from (%%s) to (%%s)', n, n, n + 10);
    else
      execute format('create table "t %%s" (id integer primary key, v text)', n);
    end if;
    execute format('create index "i %%s" on "t %%s" (v)', n, n);
    execute format('insert into "t %%s" values (%%s, ''first'')', n, n);
    if n %% 200 = 0 then commit; end if;
  end loop;
end $$;
"""

COUNT = """
select count(*), sum(pg_relation_size(c.oid)) from pg_class c
 where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'i')
"""


@pytest.mark.timeout(4 * SECONDS)
def test_all_of_them_are_copied_and_followed(
    make_cluster: MakeCluster,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
) -> None:
    settings = {"max_locks_per_transaction": str(64 + TABLES // 20), "fsync": "off"}
    sides = [Database(make_cluster(major, settings=settings), "postgres") for major in (16, 18)]
    pair = SourceTarget(*sides)
    pair.source.execute(ROOT)
    pair.source.execute(MAKE % {"tables": TABLES})
    stream = Stream(pair, tmp_path / "work", pgcopydb_command, pgcopydb_background)
    with stream.start("clone", "--follow") as running:
        said = "the base copy is complete"
        assert wait_for(lambda: said in running.stderr or not running.is_running, seconds=SECONDS)
        for number in range(1, TABLES, TABLES // 100):
            pair.source.execute(
                f"update \"t {number}\" set v = 'changed';"
                f' insert into "t {number}" select id + 1, null from "t {number}" where id % 10 < 9'
            )
        stream.set_endpos()
        finished = running.wait(SECONDS)
    assert finished.status == 0, finished.stderr
    stream.run("compare", "schema", timeout=SECONDS)
    stream.run("compare", "data", timeout=SECONDS)
    assert pair.source.rows(COUNT)[0][0] == pair.target.rows(COUNT)[0][0]
    stream.run("stream", "cleanup", timeout=SECONDS)
    assert litter(pair.source) == litter(pair.target) == []
