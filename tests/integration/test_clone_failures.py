"""A clone that is disturbed goes on, or ends with the cause; it never hangs and never lies."""

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from msgspec.structs import replace
from psycopg.conninfo import make_conninfo

from pgcopydb.clone import run, verify
from pgcopydb.errors import (
    Interrupted,
    PgcopydbError,
    SourceError,
    SqlError,
    StateError,
    TargetError,
)
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.options import WorkOptions
from pgcopydb.postgres.transfer import ATTEMPTS
from pgcopydb.workdir.directory import open_directory
from pgcopydb.workdir.steps import read_steps
from pgcopydb.workdir.store import open_store
from tests.integration.test_clone import (
    OBJECTS,
    TWO_JOBS,
    ended_after,
    helper_schemas,
    run_clone,
)
from tests.support.clock import wait_for
from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.equality import differences
from tests.support.litter import assert_quiet, litter
from tests.support.proxy import Proxy
from tests.support.servers import AsRole, Connection, Database, MakeCluster, SourceTarget

pytestmark = pytest.mark.forked_commands

BIG = """
create table big (id bigint primary key, pad text not null);
insert into big select g, repeat(md5(g::text), 8) from generate_series(1, 150000) g;
create index big_pad on big (left(pad, 10));
create table small (id integer primary key references big);
insert into small select generate_series(1, 100);
"""

SIDES = [(16, 18, BIG)]

_MOVING = "select pid from pg_stat_progress_copy where datname = current_database() and {}"
READING = _MOVING.format("command = 'COPY TO' and bytes_processed > 100000")
WRITING = _MOVING.format("command = 'COPY FROM' and bytes_processed > 100000")
HOLDING = "select pid from pg_stat_activity where application_name like 'pgcopydb lock holder%'"


@contextmanager
def disturbing(database: Database, act: Callable[[Connection], None]) -> Iterator[None]:
    """Run ``act`` beside the block, with a connection of its own; it must have come to its end."""
    failure: list[BaseException] = []

    def work() -> None:
        try:
            with database.connect() as connection:
                act(connection)
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(20)
    assert not failure, failure
    assert not thread.is_alive()


def pids(connection: Connection, query: str) -> list[int]:
    return [pid for (pid,) in connection.execute(query.encode())]


def any_rows(connection: Connection, query: str) -> bool:
    return connection.execute(query.encode()).rowcount > 0


def end_one(connection: Connection, query: str) -> bool:
    """End the first session that ``query`` finds; tell whether there was one."""
    statement = f"select pg_terminate_backend(pid, 5000) from ({query} limit 1) as found"
    return connection.execute(statement.encode()).fetchall() == [(True,)]


def ending(query: str, times: int = 1) -> Callable[[Connection], None]:
    """Return an act that ends the first session that ``query`` finds, some times over."""

    def act(connection: Connection) -> None:
        for _ in range(times):
            assert wait_for(lambda: end_one(connection, query))

    return act


def sides_of(sides: SourceTarget, which: str) -> Database:
    return sides.source if which == "source" else sides.target


@pytest.mark.parametrize("source_target", SIDES, indirect=True)
@pytest.mark.parametrize(("side", "query"), [("target", WRITING), ("source", READING)])
@pytest.mark.parametrize("split", [0, 4 << 20], ids=["whole", "parts"])
def test_a_lane_that_loses_its_connection_goes_on(
    source_target: SourceTarget, side: str, query: str, split: int, tmp_path: Path
) -> None:
    copy = replace(TWO_JOBS, split_tables_larger_than=split)
    with disturbing(sides_of(source_target, side), ending(query, times=2)):
        run_clone(source_target, tmp_path / "work", copy)
    assert differences(source_target.source, source_target.target) == []


@pytest.mark.parametrize("source_target", SIDES, indirect=True)
def test_rows_that_a_server_sends_in_no_message_are_copied_again(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    """asyncpg passes over a message whose type it does not know, so the rows are counted."""
    source = source_target.source
    with (
        Proxy(source.cluster.port) as proxy,
        open_directory(WorkOptions(directory=tmp_path / "work"), command="clone") as work,
    ):
        proxy.garble(b"d", 20_000, "unknown type")
        through = Endpoint(Side.SOURCE, proxy.through(source.conninfo))
        run.clone(work, through, source_target.target.endpoint(Side.TARGET), TWO_JOBS)
        assert proxy.garbled == 1
    assert differences(source, source_target.target) == []


@pytest.mark.parametrize("source_target", SIDES, indirect=True)
def test_a_builder_that_loses_its_connection_goes_on(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    building = "select pid from pg_stat_progress_create_index where relid = to_regclass('big')"
    with disturbing(source_target.target, ending(building)):
        run_clone(source_target, tmp_path / "work")
    assert differences(source_target.source, source_target.target) == []


@pytest.mark.parametrize("source_target", SIDES, indirect=True)
def test_connections_that_are_lost_again_and_again_end_the_run(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    copy = replace(TWO_JOBS, table_jobs=1)
    with (
        disturbing(source_target.target, ending(WRITING, times=ATTEMPTS)),
        pytest.raises(TargetError, match=r"copying public\.big"),
    ):
        run_clone(source_target, tmp_path / "work", copy)


@pytest.mark.parametrize("source_target", SIDES, indirect=True)
def test_the_loss_of_the_snapshot_ends_the_run(source_target: SourceTarget, tmp_path: Path) -> None:
    def act(connection: Connection) -> None:
        assert wait_for(lambda: bool(pids(connection, READING)))
        ending(HOLDING)(connection)

    with (
        disturbing(source_target.source, act),
        pytest.raises(SourceError, match="holds the snapshot was lost"),
    ):
        run_clone(source_target, tmp_path / "work")


@pytest.mark.parametrize("source_target", SIDES, indirect=True)
@pytest.mark.parametrize("tenths", [1, 5, 8, "restart"])
def test_the_loss_of_the_snapshot_at_any_moment_leaves_nothing_newer_behind(
    source_target: SourceTarget,
    tenths: int | str,
    pgcopydb_background: PgcopydbBackground,
    tmp_path: Path,
) -> None:
    """The session that holds it ends, or the source restarts, and rows change meanwhile."""
    source, target = source_target.source, source_target.target
    parts = 10
    with Proxy(source.cluster.port) as proxy:
        proxy.latency = 0.005  # so that it has tenths
        options = ["--source", proxy.through(source.conninfo), "--target", target.conninfo]
        options += ["--split-tables-larger-than", "4MB", "--split-max-parts", str(parts)]
        options += ["--dir", str(tmp_path / "work"), "--table-jobs", "2"]
        with pgcopydb_background("clone", "--follow", *options) as running:
            enough = tenths if isinstance(tenths, int) else 3
            assert wait_for(lambda: len(copied(target)) >= enough, seconds=60), running.stderr
            proxy.silence(3)
            source.execute("update big set pad = 'newer' where id % 1000 = 7")
            if tenths == "restart":
                source.cluster.restart()
            else:
                source.rows(f"select pg_terminate_backend(pid, 5000) from ({HOLDING}) as held")
            ended = running.wait(30)
    assert ended.status == 6, ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(copied(target)) <= parts + 1
    assert target.rows("select count(*) from big where pad = 'newer'") == [(0,)]
    assert source.rows("select slot_name from pg_replication_slots") == []


@pytest.mark.parametrize(("major", "jobs"), [(16, 1), (16, 2)])
def test_rows_that_the_target_refuses_end_the_run(
    source_target: SourceTarget, major: int, jobs: int, tmp_path: Path
) -> None:
    source_target.source.execute("""
        create function allowed(integer) returns boolean language sql as 'select true';
        create table strict (id integer check (allowed(id)));
        insert into strict select generate_series(1, 1000);
        create table more (id integer); insert into more select generate_series(1, 1000);
        create or replace function allowed(integer) returns boolean language sql
            as 'select $1 < 1000';
    """)
    started = time.monotonic()
    with pytest.raises(SqlError, match=r"^target: copying public\.strict failed: .*violates check"):
        run_clone(source_target, tmp_path / "work", replace(TWO_JOBS, table_jobs=jobs))
    # A hang would not end by itself; the machine may have other work.
    assert time.monotonic() - started < 60
    assert source_target.target.rows("select count(*) from strict") == [(0,)]


@pytest.mark.parametrize("source_target", [(15, 15)], indirect=True)
@pytest.mark.parametrize(
    ("object_", "doing"),
    [
        ("create index t_lower on t (lowered(v))", "building indexes and constraints of public.t"),
        ("alter table t add check (lowered(v) <> '')", "copying public.t"),
        ("create materialized view m as select lowered(v) from t", "view public.m"),
    ],
    ids=["index", "constraint", "view"],
)
def test_what_a_function_finds_by_a_path_of_its_user(
    source_target: SourceTarget, tmp_path: Path, object_: str, doing: str
) -> None:
    """Applications call their functions with a search_path, as no copy and no restore does."""
    source_target.source.execute(
        """
        create function shortened(text) returns text language sql immutable
          as 'select lower(left($1, 10))';
        create function lowered(text) returns text language plpgsql immutable
          as 'begin return shortened($1); end';
        create table t (id integer primary key, v text);
        insert into t select g, 'V' || g from generate_series(1, 3) g;
        """
        + object_
    )
    with pytest.raises(SqlError) as caught:
        run_clone(source_target, tmp_path)
    assert doing in caught.value.message
    assert "shortened(text) does not exist" in caught.value.message
    assert caught.value.message.endswith(", which function public.lowered(text) names")
    assert "ALTER FUNCTION ... SET search_path" in (caught.value.hint or "")
    for database in (source_target.source, source_target.target):
        database.execute("alter function lowered(text) set search_path = public")
    run_clone(source_target, tmp_path, resume=True, not_consistent=True)
    assert differences(source_target.source, source_target.target) == []


def test_rows_hidden_from_the_role_are_refused(source_target: SourceTarget, tmp_path: Path) -> None:
    """That keeps the tables from being locked, and is told with all else that is in the way."""
    source_target.source.execute("""
        create role clone_reader login; create table t (id integer); insert into t values (1);
        grant select on t to clone_reader; alter table t enable row level security;
        create policy partly on t using (false);
    """)
    reader = dataclasses.replace(
        source_target,
        source=AsRole(source_target.source.cluster, source_target.source.name, "clone_reader"),
    )
    source_target.target.execute("create table t (id integer)")
    with pytest.raises(PgcopydbError, match="row security would hide rows") as refused:
        run_clone(reader, tmp_path / "work")
    assert "not empty" in refused.value.message


@pytest.mark.parametrize("source_target", SIDES, indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_stopped_and_resumed_with_a_snapshot_that_lives(
    source_target: SourceTarget,
    number: signal.Signals,
    pgcopydb_background: PgcopydbBackground,
    tmp_path: Path,
) -> None:
    directory = tmp_path / "work"
    with source_target.source.connect() as holder:
        holder.execute("begin isolation level repeatable read")
        (snapshot,) = holder.execute("select pg_export_snapshot()").fetchone() or ("",)
        options = [*source_target.options, "--dir", str(directory), "--snapshot", snapshot]
        options += ["--table-jobs", "2", "--split-tables-larger-than", "4MB"]
        with pgcopydb_background("clone", *options) as running:
            assert wait_for(lambda: bool(copied(source_target.target)))
            running.send_signal(number)
            ended = running.wait(15)
        assert ended.status == (-number if number is signal.SIGKILL else 128 + number)
        before = copied(source_target.target)
        assert before
        with pgcopydb_background("clone", *options) as again:
            refused = again.wait(15)
        assert refused.status == 3
        assert "--resume" in refused.stderr
        source_target.source.execute("delete from big where id > 149000")
        with pgcopydb_background("clone", *options, "--resume") as resumed:
            done = resumed.wait(60)
        assert done.status == 0, done.stderr
    assert source_target.target.rows("select count(*) from big") == [(150000,)]
    assert helper_schemas(source_target.target) == 0


def copied(target: Database) -> list[tuple[int, ...]]:
    """Return the parts that have a marker."""
    if not target.rows("select from pg_class where relname = 'copy_marker'"):
        return []
    return target.rows("select table_oid::int8, part from pgcopydb.copy_marker")


@pytest.mark.parametrize("source_target", SIDES, indirect=True)
def test_stopped_and_its_own_snapshot_gone(
    source_target: SourceTarget, pgcopydb_background: PgcopydbBackground, tmp_path: Path
) -> None:
    directory = tmp_path / "work"
    copy = replace(TWO_JOBS, split_tables_larger_than=4 << 20)
    options = [*source_target.options, "--dir", str(directory), "--split-tables-larger-than", "4MB"]
    with pgcopydb_background("clone", *options) as running:
        assert wait_for(lambda: bool(copied(source_target.target)))
        running.kill_all()
        running.wait(5)
    with pytest.raises(StateError, match="snapshot is gone") as refused:
        run_clone(source_target, directory, copy, resume=True)
    assert "--not-consistent" in (refused.value.hint or "")
    source_target.source.execute("delete from big where id > 100 and id % 3 = 0")
    source_target.source.execute("insert into big select -g, 'new' from generate_series(1, 100) g")
    run_clone(source_target, directory, copy, resume=True, not_consistent=True)
    target = source_target.target
    assert target.rows("select count(*) from big") == [(100133,)]


@pytest.mark.parametrize("source_target", SIDES, indirect=True)
@pytest.mark.parametrize("catalog", ["pg_transform", "pg_ts_template"])
def test_stopped_while_pg_dump_is_at_work_it_says_nothing_else(
    source_target: SourceTarget, tmp_path: Path, catalog: str
) -> None:
    """Only pg_dump reads the one catalogue; the other one the check reads too."""
    waiting = (
        "select from pg_stat_activity where application_name like '%schema'"
        " and wait_event_type = 'Lock'"
    )

    def stop(connection: Connection) -> None:
        assert wait_for(lambda: any_rows(connection, waiting))
        os.kill(os.getpid(), signal.SIGTERM)

    with source_target.source.connect() as holder, holder.transaction():
        holder.execute(f"lock table {catalog} in access exclusive mode")
        with disturbing(source_target.source, stop), pytest.raises(Interrupted) as stopped:
            run_clone(source_target, tmp_path / "work")
    assert stopped.value.status == 143


def interrupt_after(
    moment: str, pair: SourceTarget, monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    """Run a clone that ends right after a step is noted as done."""
    with ended_after(moment, monkeypatch):
        run_clone(pair, directory)


@pytest.mark.parametrize("source_target", [(16, 18, OBJECTS)], indirect=True)
@pytest.mark.parametrize(
    "moment",
    [
        "schema before the data begun",
        "jobs planned",
        "objects after the data",
        "materialized views",
        "triggers",
    ],
)
def test_killed_after_a_step_and_resumed(
    source_target: SourceTarget, moment: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the step did is not done twice."""
    interrupt_after(moment, source_target, monkeypatch, tmp_path / "work")
    not_consistent = moment == "jobs planned"
    run_clone(source_target, tmp_path / "work", resume=True, not_consistent=not_consistent)
    assert differences(source_target.source, source_target.target) == []


@pytest.mark.parametrize("source_target", [(16, 18, OBJECTS)], indirect=True)
def test_what_a_crash_of_the_target_took_is_built_again(
    source_target: SourceTarget, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Indexes are committed without waiting for the disk, so their jobs may know too much."""

    class Crashed(Exception):
        pass

    def crash(*_: object) -> None:
        raise Crashed

    monkeypatch.setattr(verify, "verify_parts", crash)
    with pytest.raises(Crashed):
        run_clone(source_target, tmp_path / "work")
    monkeypatch.undo()
    source_target.target.execute(
        "drop index shop.items_gin; alter table shop.items drop constraint items_sku_unique;"
        " alter table shop.events drop constraint events_pkey cascade; drop index shop.events_body"
    )
    run_clone(source_target, tmp_path / "work", resume=True)
    assert differences(source_target.source, source_target.target) == []


@pytest.mark.parametrize("source_target", [(16, 18, OBJECTS)], indirect=True)
def test_foreign_keys_that_a_crash_of_the_target_took_are_made_again(
    source_target: SourceTarget, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They are committed without waiting for the disk as well, until all of them are there."""
    interrupt_after("triggers begun", source_target, monkeypatch, tmp_path / "work")
    source_target.target.execute(
        "alter table shop.people drop constraint people_team_fkey;"
        " alter table shop.old_orders drop constraint never_checked"
    )
    run_clone(source_target, tmp_path / "work", resume=True)
    assert differences(source_target.source, source_target.target) == []


@pytest.mark.parametrize("source_target", [(16, 18, OBJECTS)], indirect=True)
def test_unlogged_tables_that_a_crash_of_the_target_emptied_are_copied_again(
    source_target: SourceTarget,
    make_cluster: MakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Their markers are unlogged too, so that they go with the rows."""
    cluster = make_cluster(18)
    cluster.create_database("crashing")
    pair = SourceTarget(source_target.source, Database(cluster, "crashing"))

    def crash_before(original: Callable[..., None]) -> Callable[..., None]:
        def crash(*arguments: object) -> None:
            cluster.kill()
            cluster.start()
            original(*arguments)

        return crash

    def run_to_a_crash(owner: ModuleType, function: str, *, resume: bool) -> None:
        with monkeypatch.context() as patching:
            patching.setattr(owner, function, crash_before(getattr(owner, function)))
            with pytest.raises(TargetError, match=r"rows that .* shop\.scratch") as told:
                run_clone(pair, tmp_path / "work", resume=resume, not_consistent=resume)
        assert "--resume" in (told.value.hint or "")

    run_to_a_crash(verify, "verify_parts", resume=False)
    # Once more at the very end, when triggers and foreign keys are there.
    run_to_a_crash(run, "limit_connections", resume=True)
    run_clone(pair, tmp_path / "work", resume=True, not_consistent=True)
    assert differences(pair.source, pair.target) == []


@pytest.mark.parametrize("source_target", SIDES, indirect=True)
def test_stopped_and_started_over(
    source_target: SourceTarget, pgcopydb_background: PgcopydbBackground, tmp_path: Path
) -> None:
    options = [*source_target.options, "--dir", str(tmp_path / "work"), "--restart"]
    with pgcopydb_background("clone", *options) as running:
        assert wait_for(lambda: bool(copied(source_target.target)))
        running.kill_all()
        running.wait(5)
    source_target.source.execute("insert into big select -g, 'new' from generate_series(1, 100) g")
    with pgcopydb_background("clone", *options) as again:
        done = again.wait(60)
    assert done.status == 0, done.stderr
    assert differences(source_target.source, source_target.target) == []
    assert helper_schemas(source_target.target) == 0
    with pgcopydb_background("clone", *options) as third:
        refused = third.wait(60)
    assert refused.status == 7, "a finished copy is the user's: " + refused.stderr


@pytest.mark.parametrize("source_target", SIDES, indirect=True)
def test_a_finished_copy_is_not_resumed(source_target: SourceTarget, tmp_path: Path) -> None:
    run_clone(source_target, tmp_path / "work")
    source_target.target.execute("delete from small")
    summary = run_clone(source_target, tmp_path / "work", resume=True)
    assert {table.name: table.rows for table in summary.tables}["small"] == 100
    assert source_target.target.rows("select count(*) from small") == [(0,)]


@pytest.mark.parametrize("source_target", SIDES, indirect=True)
def test_without_its_markers_a_copy_is_not_resumed(
    source_target: SourceTarget, pgcopydb_background: PgcopydbBackground, tmp_path: Path
) -> None:
    options = [*source_target.options, "--dir", str(tmp_path / "work")]
    with pgcopydb_background("clone", *options) as running:
        assert wait_for(lambda: bool(copied(source_target.target)))
        running.kill_all()
        running.wait(5)
    source_target.target.execute("drop schema pgcopydb cascade")
    with pytest.raises(StateError, match="which says what is copied"):
        run_clone(source_target, tmp_path / "work", resume=True, not_consistent=True)


@pytest.mark.parametrize("source_target", SIDES, indirect=True)
@pytest.mark.parametrize(
    "change",
    [
        "alter table big add more integer",
        "vacuum full big",
        "cluster big using big_pkey",
        "truncate small, big",
    ],
)
def test_a_change_that_waits_for_a_table_holds_nothing_up(
    source_target: SourceTarget, tmp_path: Path, change: str
) -> None:
    """Rows are read by their places, which each of these changes, or takes them away."""
    rows = "select count(*), sum(id), sum(hashtext(pad)) from big"
    before = source_target.source.rows(rows)

    def act(connection: Connection) -> None:
        assert wait_for(lambda: bool(pids(connection, READING)))
        connection.execute(change.encode())

    place = "select pg_relation_filenode('big'), (select count(*) from pg_attribute"
    place += " where attrelid = 'big'::regclass)"
    was = source_target.source.rows(place)
    with disturbing(source_target.source, act):
        run_clone(source_target, tmp_path / "work", replace(TWO_JOBS, split_max_parts=50))
    assert source_target.source.rows(place) != was  # it was let through in the end
    assert source_target.target.rows(rows) == before


MANY_OBJECTS = """
create schema "odd. one";
create function touch() returns trigger language plpgsql as 'begin return new; end';
do $$begin for n in 1..60 loop
  execute format('create type kind_%s as enum (''a'', ''b'')', n);
  execute format('create table "odd. one"."t %s" (id integer primary key, kind kind_%s,'
    ' parent integer references "odd. one"."t %s", pad text)', n, n, greatest(n - 1, 1));
  execute format('insert into "odd. one"."t %s" select g, ''b'', 1, repeat(md5(g::text), 9)'
    ' from generate_series(1, 500) g', n);
  execute format('create index "i %s" on "odd. one"."t %s" (pad, id)', n, n);
  execute format('create materialized view m%s as select count(*) from "odd. one"."t %s"', n, n);
  execute format('create policy p%s on "odd. one"."t %s" using (id > 0)', n, n);
  execute format('create rule r%s as on delete to "odd. one"."t %s" do also nothing', n, n);
  execute format('create statistics s%s on id, pad from "odd. one"."t %s"', n, n);
  execute format('create trigger "tr %s" before insert on "odd. one"."t %s" for each row'
    ' execute function touch()', n, n);
  execute format('alter table "odd. one"."t %s" enable always trigger "tr %s"', n, n);
  execute format('comment on trigger "tr %s" on "odd. one"."t %s" is ''it''''s''', n, n);
end loop; end$$;
create publication everything for tables in schema "odd. one";
create function slowly(integer) returns integer immutable language plpgsql as
    'begin perform pg_catalog.pg_sleep(0.005); return $1; end';
create table slow (id integer); insert into slow select generate_series(1, 200);
create index slow_index on slow (slowly(id));  -- an index and statistics that take a second
create sequence called; select nextval('called');
select count(lo_from_bytea(0, decode(repeat('ab', 500), 'hex'))) from generate_series(1, 3000);
"""

DUMPING = (
    "select 1 from pg_stat_activity where datname = current_database()"
    " and application_name = 'pgcopydb source schema'"
)
LARGE_OBJECTS = "select loid, lo_get(loid) from pg_largeobject order by 1"
IN_THE_MIDDLE = {
    "schema before the data": "select 1 from pg_class where relname like 't %' limit 20",
    "large objects": "select 1 from pg_largeobject_metadata",
    "rows": "select 1 from pg_class where relname = 't 60' and pg_relation_size(oid) > 0",
    "indexes": "select 1 from pg_class where relkind = 'i' and relname like 'i %'",
    "vacuum": "select 1 from pg_stat_activity where datname = current_database()"
    " and query ~* '^(vacuum|analyze)' and state = 'active'",
    "sequences": "select 1 from pg_sequences where sequencename = 'called' and last_value = 1",
    "objects after the data": "select 1 from pg_policy union all select 1 from pg_rewrite"
    " where rulename ~ '^r[0-9]'",
    "materialized views": "select 1 from pg_class where relkind = 'm' and relispopulated",
    "foreign keys": "select 1 from pg_constraint where contype = 'f'",
    "triggers": "select 1 from pg_trigger where tgname like 'tr %'",
    "comments": "select 1 from pg_description where classoid = 'pg_trigger'::regclass"
    " and description = 'it''s'",
}
"""Steps of a copy, in their order, and what shows on the target that one is under way; the schema
is dumped before the first."""


@pytest.mark.parametrize("source_target", [(16, 18, MANY_OBJECTS)], indirect=True)
def test_killed_inside_each_step_and_resumed(
    source_target: SourceTarget, pgcopydb_background: PgcopydbBackground, tmp_path: Path
) -> None:
    source, target = source_target.source, source_target.target
    steps = [(source, "schema dump", DUMPING)]
    steps += [(target, step, query) for step, query in IN_THE_MIDDLE.items()]
    with source.connect() as holder:
        holder.execute("begin isolation level repeatable read")
        (snapshot,) = holder.execute("select pg_export_snapshot()").fetchone() or ("",)
        options = [*source_target.options, "--dir", str(tmp_path / "work"), "--snapshot", snapshot]
        for side, step, query in steps:
            with side.connect() as watching, pgcopydb_background("clone", *options) as running:
                shown = partial(any_rows, watching, query)
                assert wait_for(shown), f"{step}: {running.stderr}"
                assert running.is_running, f"{step} was over"
                running.kill_all()
                running.wait(5)
            if "--resume" not in options:
                options.append("--resume")
        with pgcopydb_background("clone", *options) as resumed:
            done = resumed.wait(60)
        assert done.status == 0, done.stderr
    assert differences(source, target) == []
    assert source.rows(LARGE_OBJECTS) == target.rows(LARGE_OBJECTS)


SLOW_INDEX = """
create function slowly(integer) returns integer immutable language plpgsql as
    'begin perform pg_catalog.pg_sleep(0.005); return $1; end';
create table t (id integer); insert into t select generate_series(1, 400);
create index slow on t (slowly(id));
"""


@pytest.mark.parametrize("source_target", [(16, 18, SLOW_INDEX)], indirect=True)
def test_an_index_that_a_killed_run_still_builds(
    source_target: SourceTarget, pgcopydb_background: PgcopydbBackground, tmp_path: Path
) -> None:
    building = "select pid from pg_stat_progress_create_index where relid = to_regclass('t')"
    options = [*source_target.options, "--dir", str(tmp_path / "work")]
    with source_target.target.connect() as watching:
        with pgcopydb_background("clone", *options) as running:
            assert wait_for(lambda: bool(pids(watching, building))), running.stderr
            running.kill_all()
            running.wait(5)
        assert pids(watching, building), "the server should have gone on"
    with pgcopydb_background("clone", *options, "--resume") as resumed:
        done = resumed.wait(60)
    assert done.status == 0, done.stderr
    assert differences(source_target.source, source_target.target) == []


@pytest.mark.parametrize("source_target", SIDES, indirect=True)
def test_a_start_over_that_fails_forgets_nothing_of_the_run_before(
    source_target: SourceTarget, pgcopydb_background: PgcopydbBackground, tmp_path: Path
) -> None:
    """Slot, rows and helper schema of the first run are known to the third."""
    words = ["clone", "--follow", "--dir", str(tmp_path / "work")]
    with pgcopydb_background(*words, *source_target.options) as running:
        assert wait_for(lambda: bool(copied(source_target.target)), seconds=60)
        running.kill_all()
        running.wait(5)
    assert source_target.source.rows("select slot_name from pg_replication_slots")
    nowhere = make_conninfo(source_target.source.conninfo, port=1)
    unreachable = ["--source", nowhere, *source_target.options[2:]]
    with pgcopydb_background(*words, *unreachable, "--restart") as second:
        assert second.wait(30).status == 6
    with pgcopydb_background(*words, *source_target.options, "--restart") as third:
        said = "the base copy is complete"
        assert wait_for(lambda: said in third.stderr or not third.is_running, seconds=60)
        assert third.is_running, third.stderr
        third.kill_all()
        third.wait(5)
    assert differences(source_target.source, source_target.target) == []
    with pgcopydb_background("stream", "cleanup", *words[2:], *source_target.options) as cleaning:
        assert cleaning.wait(30).status == 0
    assert litter(source_target.source) == litter(source_target.target) == []


def test_a_copy_that_is_refused_leaves_nothing_of_its_beginning(
    source_target: SourceTarget, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its snapshot, its locks and pg_dump are under way while both sides are looked at."""
    source_target.target.execute("create table big (id integer)")
    work = tmp_path / "work"
    caplog.set_level("DEBUG")
    with pytest.raises(TargetError, match="not empty"):
        run_clone(source_target, work)
    assert "could not begin" not in caplog.text
    assert [path.name for path in (work / "schema").iterdir()] == []
    with open_store(work / "catalogue.db") as store:
        assert read_steps(store) == []
    assert_quiet(source_target)
    source_target.target.execute("drop table big")
    run_clone(source_target, work)
    assert differences(source_target.source, source_target.target) == []


GUARDED = """
create table a (id integer primary key); insert into a values (1);
create table b (id integer primary key references a); insert into b values (1);
create table noted (id integer generated always as identity primary key, tag text);
create function refuse() returns event_trigger language plpgsql as $$
begin
  if tg_tag !~ 'PUBLICATION' then raise exception 'no % here', tg_tag; end if;
end $$;
create function note() returns event_trigger language plpgsql as $$
begin
  if tg_tag !~ 'PUBLICATION' then insert into public.noted (tag) values (tg_tag); end if;
end $$;
create event trigger note on sql_drop execute function note();
create event trigger refuse on ddl_command_start execute function refuse();
"""


@pytest.mark.parametrize("source_target", [(15, 18)], indirect=True)
@pytest.mark.parametrize("follow", [False, True])
def test_event_triggers_of_the_copy_do_not_meet_what_comes_after_them(
    source_target: SourceTarget,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
    tmp_path: Path,
    follow: bool,
) -> None:
    """They would refuse the end of it, or note it in a table."""
    source, target = source_target.source, source_target.target
    source.execute(GUARDED)
    sides = ["--dir", str(tmp_path / "work"), *source_target.options]
    if follow:
        end = ["stream", "sentinel", "set", "endpos", "--current", *sides[:4]]
        with pgcopydb_background("clone", "--follow", *sides) as running:
            assert wait_for(lambda: pgcopydb_command(*end).status == 0, seconds=60)
            assert running.wait(60).status == 0, running.stderr
        cleaned = pgcopydb_command("stream", "cleanup", *sides)
        assert cleaned.status == 0, cleaned.stderr
    else:
        copied = pgcopydb_command("clone", *sides)
        assert copied.status == 0, copied.stderr
    assert helper_schemas(target) == 0
    assert target.rows("select count(*) from noted") == [(0,)]
    assert differences(source, target) == []
