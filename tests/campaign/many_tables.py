"""Migrate a database of very many tables, and of one with very many partitions: ``make campaign``.

``MANY_TABLES`` (20 000), each with a key and an index of its own and every tenth one a partition;
``MANY_PARTITIONS`` (100 000) of one table, a hundred in each partition of it, each with a part of
the key. Rows of some of them change while they are followed. No lock table, no list of arguments
and no SQLite file may turn out to be too small.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.litter import litter
from tests.support.servers import Database, MakeCluster, SourceTarget
from tests.support.steps import Stream

TABLES = int(os.environ.get("MANY_TABLES", "20000"))
PARTITIONS = int(os.environ.get("MANY_PARTITIONS", "100000"))
SECONDS = 3600.0

# A transaction has a lock for each table that it makes.
ROOT = "create table root (id integer, v text) partition by range (id)"
MAKE = f"""
do $$ begin
  for n in 1..{TABLES} loop
    if n % 10 = 0 then
      execute format('create table "t %s" partition of root (primary key (id))'
        ' for values from (%s) to (%s)', n, n, n + 10);
    else
      execute format('create table "t %s" (id integer primary key, v text)', n);
    end if;
    execute format('create index "i %s" on "t %s" (v)', n, n);
    execute format('insert into "t %s" values (%s, ''first'')', n, n);
    if n % 200 = 0 then commit; end if;
  end loop;
end $$;
"""
CHANGE = """
update "t %(n)s" set v = 'changed';
insert into "t %(n)s" select id + 1, null from "t %(n)s" where id %% 10 < 9;
"""

TREE = "create table root (id integer primary key, v text) partition by range (id)"
# To attach one takes the server as long as it has others beside it: with a thousand 15 ms.
MAKE_PARTITIONS = f"""
do $$ begin
  for branch in 0..{PARTITIONS // 100 - 1} loop
    execute format('create table branch_%s partition of root for values from (%s) to (%s)'
      ' partition by range (id)', branch, branch * 1000, (branch + 1) * 1000);
    for leaf in branch * 100 .. branch * 100 + 99 loop
      execute format('create table leaf_%s partition of branch_%s for values from (%s) to (%s)',
        leaf, branch, leaf * 10, (leaf + 1) * 10);
    end loop;
    execute format('insert into root select g * 10, ''first'' from generate_series(%s, %s) g',
      branch * 100, branch * 100 + 99);
    commit;
  end loop;
end $$;
"""
CHANGE_PARTITIONS = """
update root set v = 'changed' where id = %(n)s * 10;
insert into root values (%(n)s * 10 + 1, null);
"""

COUNT = """
select count(*), sum(pg_relation_size(c.oid)) from pg_class c
 where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'i')
"""


@pytest.mark.timeout(4 * SECONDS)
@pytest.mark.parametrize(
    ("tables", "scripts", "change"),
    [(TABLES, (ROOT, MAKE), CHANGE), (PARTITIONS, (TREE, MAKE_PARTITIONS), CHANGE_PARTITIONS)],
    ids=["tables", "partitions"],
)
def test_all_of_them_are_copied_and_followed(
    make_cluster: MakeCluster,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
    tables: int,
    scripts: Sequence[str],
    change: str,
) -> None:
    settings = {"max_locks_per_transaction": str(64 + tables // 20), "fsync": "off"}
    sides = [Database(make_cluster(major, settings=settings), "postgres") for major in (16, 18)]
    pair = SourceTarget(*sides)
    for script in scripts:
        pair.source.execute(script)
    stream = Stream(pair, tmp_path / "work", pgcopydb_command, pgcopydb_background)
    with stream.migrating(seconds=SECONDS):
        for number in range(1, tables, tables // 100):
            pair.source.execute(change % {"n": number})
    stream.run("compare", "schema", timeout=SECONDS)
    stream.run("compare", "data", timeout=SECONDS)
    assert pair.source.rows(COUNT)[0][0] == pair.target.rows(COUNT)[0][0]
    stream.run("stream", "cleanup", timeout=SECONDS)
    assert litter(pair.source) == litter(pair.target) == []
