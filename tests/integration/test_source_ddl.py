"""DDL on the source while it is followed: nothing that no stream carries ends in status 0."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgcopydb.cdc.targets import read_shapes, read_target_tables
from pgcopydb.demo.cluster import Cluster
from pgcopydb.model.changes import Change, Delete, Insert, Relation, Truncate, Update
from pgcopydb.model.endpoint import Side
from pgcopydb.model.options import Plugin
from pgcopydb.postgres.connect import connect
from pgcopydb.rules.routing import make_route
from tests.golden import forms
from tests.golden.record import statements
from tests.support.clock import wait_for
from tests.support.commands import Finished, Pgcopydb, PgcopydbBackground, Running
from tests.support.equality import differing_tables
from tests.support.servers import MakeDatabase, SourceTarget

pytestmark = pytest.mark.forked_commands

SCHEMA = """
create table item (id integer primary key, label text, price numeric(10,2));
insert into item select g, 'item ' || g, g from generate_series(1, 20) g;
create table other (id integer primary key, v text);
insert into other values (1, 'one'), (2, 'two');
create table measured (id integer, day date, v integer, primary key (id, day))
  partition by range (day);
create table measured_1 partition of measured for values from ('2026-01-01') to ('2026-02-01');
insert into measured values (1, '2026-01-05', 5);
"""

TYPES = """
create type mood as enum ('sad', 'glad');
create domain moods as mood[];
create type pair as (a integer, b integer);
create type weather as enum ('dry');
create table felt (id integer primary key, m moods);
insert into felt values (1, array['sad', 'glad']::mood[]);
create table paired (id integer primary key, p pair);
insert into paired values (1, row(1, 2));
create table sky (id integer primary key, w weather);
insert into sky values (1, 'dry');
"""

KEYLESS = "create table log (what text, n integer); insert into log values ('a', 1), ('b', 2);"

NOW = ("stream", "sentinel", "set", "endpos", "--current")


@dataclass(frozen=True)
class Migration:
    """An online migration of a test's databases, which can be run again with --resume."""

    pair: SourceTarget
    directory: Path
    command: Pgcopydb
    background: PgcopydbBackground
    options: tuple[str, ...] = ()

    @contextmanager
    def running(self) -> Iterator[Running]:
        """Start it, and give it when it applies changes."""
        with self.background(*self._arguments()) as running:
            assert wait_for(lambda: "applying from" in running.stderr or not running.is_running)
            yield running

    def end(self) -> None:
        """Set the end where the source is now."""
        source = ("--source", self.pair.source.conninfo)
        finished = self.command(*NOW, *source, "--dir", self.directory)
        assert finished.status == 0, finished.stderr

    def resume(self) -> Finished:
        """Go on, to where the source is now."""
        self.end()
        return self.command(*self._arguments(), "--resume")

    def step(self, name: str, *, status: int) -> str:
        """Go on by one of the commands of ``stream``; return what it logs."""
        finished = self.command("stream", name, *self._place(), "--resume")
        assert finished.status == status, finished.stderr
        return finished.stderr

    def _arguments(self) -> list[str]:
        return ["clone", "--follow", *self._place(), *self.options]

    def _place(self) -> list[str]:
        return [*self.pair.options, "--dir", str(self.directory)]


@pytest.fixture
def migration(
    request: pytest.FixtureRequest,
    source_target: SourceTarget,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
) -> Migration:
    options = getattr(request, "param", ())
    directory = tmp_path / "work"
    return Migration(source_target, directory, pgcopydb_command, pgcopydb_background, options)


def finished(running: Running, *, status: int) -> str:
    result = running.wait(60)
    assert result.status == status, result.stderr
    return result.stderr


embedded = pytest.mark.parametrize("source_target", [(16, 18, SCHEMA)], indirect=True)


@embedded
@pytest.mark.parametrize(
    ("ddl", "change", "difference"),
    [
        (
            "alter table item add column extra text",
            "update item set extra = 'new' where id = 1",
            "it lacks column extra text",
        ),
        (
            "alter table item alter label type text[] using array[label]",
            "insert into item values (100, array['x', null], 1)",
            "column label is text, on the source text[]",
        ),
        (
            "alter table item alter price type numeric(12,4)",
            "insert into item values (100, 'exact', 1.2345)",
            "column price is numeric(10,2), on the source numeric with another length",
        ),
    ],
    ids=["column added", "type changed", "precision changed"],
)
def test_apply_stops_before_the_transaction_that_the_target_cannot_take(
    migration: Migration, ddl: str, change: str, difference: str
) -> None:
    """Ruling 24 and pitfall 56: everything before is committed, and --resume goes on."""
    source, target = migration.pair.source, migration.pair.target
    with migration.running() as running:
        source.execute("update other set v = 'before' where id = 1")
        source.execute(ddl)
        source.execute("begin; update other set v = 'with' where id = 2; " + change + "; commit")
        source.execute("update other set v = 'after' where id = 1")
        log = finished(running, status=3)
    assert difference in log
    assert "--resume" in log
    assert target.rows("select v from other order by id") == [("before",), ("two",)]
    target.execute(ddl)
    again = migration.resume()
    assert again.status == 0, again.stderr
    assert "public.item changed its columns" in again.stderr
    assert differing_tables(source, target) == []


@embedded
def test_a_rewrite_that_the_stream_says_nothing_of_is_told_at_once_and_not_exit_0(
    migration: Migration,
) -> None:
    """Ruling 24: ALTER TYPE ... USING to the same type changes rows, and nothing else."""
    source, target = migration.pair.source, migration.pair.target
    ddl = "alter table item alter label type text using label || '!'"
    with migration.running() as running:
        source.execute(ddl)
        source.execute("insert into item values (200, 'later', 1)")
        assert wait_for(lambda: "the stream does not carry that" in running.stderr, seconds=20)
        migration.end()
        log = finished(running, status=3)
    assert "public.item had columns altered" in log
    assert "21 rows are not the same" in log
    for step in ("replay", "catchup"):
        assert "21 rows are not the same" in migration.step(step, status=3)
    target.execute("update item set label = label || '!' where id < 200")
    again = migration.resume()
    assert again.status == 0, again.stderr
    assert differing_tables(source, target) == []


@pytest.mark.parametrize("source_target", [(16, 18, TYPES + SCHEMA)], indirect=True)
def test_a_type_that_was_altered_under_its_rows_is_not_exit_0(migration: Migration) -> None:
    """Ruling 24: another label or attribute changes the text of old rows, and no table."""
    source, target = migration.pair.source, migration.pair.target
    alterations = [
        "alter type mood rename value 'sad' to 'low'",
        "alter type pair add attribute c integer",
        "alter type weather add value 'wet'",  # old rows stay as they are
    ]
    with migration.running() as running:
        for ddl in alterations:
            source.execute(ddl)
        migration.end()
        log = finished(running, status=3)
    assert "public.felt holds values of a type that was altered: it was public.mood 'sad'" in log
    assert "public.paired holds values of a type that was altered: it was public.pair (a" in log
    assert "public.sky" not in log
    for ddl in alterations:
        target.execute(ddl)
    again = migration.resume()
    assert again.status == 0, again.stderr
    assert differing_tables(source, target) == []


@embedded
def test_what_only_moves_rows_is_not_drift(migration: Migration) -> None:
    """TRUNCATE, VACUUM FULL and CLUSTER give tables new files, and are carried or harmless."""
    source = migration.pair.source
    with migration.running() as running:
        source.execute("truncate other")
        source.execute("insert into other select g, 'new' from generate_series(1, 5) g")
        with source.connect() as connection:
            connection.execute("vacuum full item")
            connection.execute("cluster other using other_pkey")
        migration.end()
        log = finished(running, status=0)
    assert "the stream does not carry" not in log
    assert "comparing" not in log
    assert differing_tables(source, migration.pair.target) == []


@pytest.mark.parametrize(
    ("source_target", "migration"),
    [((15, 18, SCHEMA), ("--plugin", "test_decoding"))],
    indirect=True,
)
def test_a_table_that_was_unlogged_for_a_while_is_not_exit_0(migration: Migration) -> None:
    """Nothing is written to the log of such a table, and afterwards it looks as before."""
    source, target = migration.pair.source, migration.pair.target
    with migration.running() as running:
        source.execute("alter table item set unlogged")
        source.execute("update item set label = 'unseen' where id = 1")
        source.execute("alter table item set logged")
        source.execute("truncate other")
        migration.end()
        log = finished(running, status=3)
    assert "public.item was rewritten, as one that was unlogged meanwhile is; its 20 rows" in log
    assert "public.other was" not in log
    target.execute("update item set label = 'unseen' where id = 1")
    again = migration.resume()
    assert again.status == 0, again.stderr
    assert "WARNING" not in again.stderr
    assert differing_tables(source, target) == []


@embedded
def test_a_column_of_the_targets_own_is_not_one_that_the_source_dropped(
    migration: Migration,
) -> None:
    """Not even where its name begins the name of one that is there."""
    source, target = migration.pair.source, migration.pair.target
    source.execute('alter table item rename column label to "own label"')
    with migration.running() as running:
        target.execute("alter table item add column own text")
        source.execute("alter table item alter price set default 0")
        migration.end()
        finished(running, status=0)


@embedded
def test_a_column_that_the_source_dropped_is_not_equal_on_the_target(migration: Migration) -> None:
    source, target = migration.pair.source, migration.pair.target
    with migration.running() as running:
        source.execute("alter table item drop column price")
        source.execute("insert into item values (99, 'short')")
        source.execute("alter table other alter v type varchar(9)")
        target.execute("alter table other add column of_its_own integer")
        migration.end()
        log = finished(running, status=3)
    assert "public.item changed its columns (-price numeric(10,2))" in log
    assert "; the target still has column price" in log
    assert "of_its_own" not in log
    target.execute("alter table item drop column price")
    again = migration.resume()
    assert again.status == 0, again.stderr


@pytest.mark.parametrize(
    ("source_target", "migration"),
    [((15, 18, SCHEMA), ("--plugin", "test_decoding"))],
    indirect=True,
)
def test_a_table_that_lost_a_partition_is_compared_too(migration: Migration) -> None:
    """The partition's rows are the same on both sides, and those of the table over it are not."""
    source, target = migration.pair.source, migration.pair.target
    ddl = "alter table measured detach partition measured_1"
    with migration.running() as running:
        source.execute(ddl)
        source.execute("insert into measured_1 values (2, '2026-01-06', 1)")
        migration.end()
        log = finished(running, status=3)
    assert "public.measured lost or got a partition; 0 rows on the source, 2 on the target" in log
    target.execute(ddl)
    again = migration.resume()
    assert again.status == 0, again.stderr
    assert differing_tables(source, target) == []


@embedded
def test_a_column_that_the_target_began_to_compute_stops_apply(migration: Migration) -> None:
    """The values that the source has would be left out, without an error of the server."""
    source, target = migration.pair.source, migration.pair.target
    with migration.running() as running:
        target.execute("alter table item drop column price")
        target.execute("alter table item add price numeric(10,2) generated always as (id) stored")
        source.execute("insert into item values (50, 'priced', 1000)")
        log = finished(running, status=3)
    assert "column price is generated, on the source it is not" in log


@embedded
def test_a_key_that_the_source_dropped_stops_apply_with_what_to_do(migration: Migration) -> None:
    source = migration.pair.source
    with migration.running() as running:
        source.execute("alter table other drop constraint other_pkey")
        source.execute("insert into other values (1, 'once more')")
        log = finished(running, status=7)
    assert "INSERT on public.other (id=1) of source transaction" in log
    assert "HINT: the target's rows or constraints are not what the source's were by then" in log


@pytest.mark.parametrize(
    "source_target",
    [(16, 18, "create sequence invoice; select setval('invoice', 900);" + SCHEMA)],
    indirect=True,
)
def test_sequences_that_are_not_as_on_the_source_are_named(migration: Migration) -> None:
    """One that was set back may have given values away on the target; one was made meanwhile."""
    source, target = migration.pair.source, migration.pair.target
    with migration.running() as running:
        source.execute("select setval('invoice', 5)")
        source.execute("create sequence later")
        migration.end()
        log = finished(running, status=0)
    assert "sequences are further than on the source, and were left there: public.invoice;" in log
    assert "sequences of the source are not there, and were not set: public.later;" in log
    assert target.rows("select last_value from invoice") == [(900,)]


@embedded
def test_new_tables_and_partitions_of_the_source_are_named(migration: Migration) -> None:
    """Pitfall 42: a new partition's rows are in the stream, a new table's are not."""
    source, target = migration.pair.source, migration.pair.target
    partition = (
        "create table measured_2 partition of measured"
        " for values from ('2026-02-01') to ('2026-03-01')"
    )
    table = "create table later (id integer primary key, v text); insert into later values (1, 'x')"
    with migration.running() as running:
        source.execute(partition)
        source.execute("insert into measured values (2, '2026-02-05', 7)")
        log = finished(running, status=3)
    assert "table public.measured_2 was made after the change capture began" in log
    target.execute(partition)
    source.execute(table)
    source.execute("alter table other rename to renamed")
    again = migration.resume()
    assert again.status == 3
    for text in ("public.later was made after", "public.other was dropped", "public.renamed was"):
        assert text in again.stderr
    target.execute(table)
    target.execute("alter table other rename to renamed")
    again = migration.resume()
    assert again.status == 0, again.stderr
    assert differing_tables(source, target) == []


@embedded
def test_a_table_taken_out_of_the_publication_is_named(migration: Migration) -> None:
    source = migration.pair.source
    with migration.running() as running:
        source.execute("alter publication pgcopydb drop table item")
        source.execute("insert into item values (300, 'not carried', 1)")
        migration.end()
        log = finished(running, status=3)
    assert "public.item is not in the publication any more; 21 rows on the source" in log


@embedded
@pytest.mark.parametrize(
    ("away", "again", "table", "change", "why"),
    [
        (
            "drop table item",
            "add table only item",
            "item",
            "insert into item values (300, 'not carried', 1)",
            "was taken out of the publication for a while; 21 rows on the source",
        ),
        (
            "drop table measured",
            "add table measured",
            "measured_1",
            "insert into measured values (2, '2026-01-06', 6)",
            "was taken out of the publication for a while; 2 rows on the source",
        ),
        (
            "set (publish = 'insert')",
            "set (publish = 'insert, update, delete, truncate')",
            "item",
            "update item set label = 'not carried' where id = 1",
            "is in a publication that was altered; its 20 rows are not the same",
        ),
    ],
    ids=["table", "partitioned table", "actions"],
)
def test_a_publication_that_was_other_for_a_moment_is_not_exit_0(
    migration: Migration, away: str, again: str, table: str, change: str, why: str
) -> None:
    """Sooner put back than anybody looked."""
    source = migration.pair.source
    with migration.running() as running:
        source.execute(f"alter publication pgcopydb {away}")
        source.execute(change)
        source.execute(f"alter publication pgcopydb {again}")
        migration.end()
        log = finished(running, status=3)
    assert f"public.{table} {why}" in log


@pytest.mark.parametrize(
    ("source_target", "migration"),
    [((16, 18, KEYLESS), ("--no-identity", "insert-only"))],
    indirect=True,
)
def test_insert_only_tables_must_be_equal_at_the_end(migration: Migration) -> None:
    """Ruling 17: their updates work on the source, are not carried, and so do not end in 0."""
    source, target = migration.pair.source, migration.pair.target
    with migration.running() as running:
        source.execute("insert into log values ('c', 3)")
        source.execute("update log set n = 20 where what = 'b'")
        migration.end()
        log = finished(running, status=3)
    assert "public.log has no identity" in log
    assert target.rows("select count(*) from log") == [(3,)]
    target.execute("update log set n = 20 where what = 'b'")
    again = migration.resume()
    assert again.status == 0, again.stderr
    assert differing_tables(source, target) == []


KEYLESS_AND_LONG = """
create table log (v bit varying);
do $$declare part bit varying := B'1'::bit(83886080); whole bit varying := part; begin
  for n in 1..12 loop whole := whole || part; end loop;  -- in 136 MB
  insert into log values (whole);
end$$
"""


@pytest.mark.parametrize(
    ("source_target", "migration"),
    [((16, 18, KEYLESS_AND_LONG), ("--no-identity", "insert-only"))],
    indirect=True,
)
def test_a_value_too_long_to_be_compared_is_told_as_that(migration: Migration) -> None:
    """Which is the server's limit: it was called a defect of this program."""
    with migration.running() as running:
        migration.end()
        log = finished(running, status=6)
    assert "source: reading public.log failed: invalid memory alloc request size" in log
    assert "1 GB" in log


def described(change: Change) -> tuple[Relation, ...]:
    if isinstance(change, Truncate):
        return change.relations
    return (change.relation,) if isinstance(change, Insert | Update | Delete) else ()


@pytest.mark.parametrize("plugin", list(Plugin))
def test_equal_schemas_never_stop_apply(
    pg15: Cluster, make_database: MakeDatabase, plugin: Plugin
) -> None:
    """Every type of the recorded work, as each plugin names it, finds its column."""
    database = make_database(pg15)
    with database.connect() as session:
        for statement in statements()[0]:
            session.execute(statement.encode())
    endpoint = database.endpoint(Side.TARGET)
    with connect(endpoint, purpose="test") as connection:
        tables = read_target_tables(connection, endpoint)
        shapes = read_shapes(connection, endpoint)
    assert {(one.schema, one.name): one for one in shapes} == {
        name: table.shape for name, table in tables.items() if table.columns
    }
    relations = [
        relation
        for _, change in forms.decoded(plugin)
        for relation in described(change)
        # the recorded work itself adds a column to that table
        if "added" not in relation.columns
    ]
    assert len({relation.name for relation in relations}) > 15
    for relation in relations:
        make_route(relation, tables)
