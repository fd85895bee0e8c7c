"""What happens on the target in the middle of a copy or a follow, and what becomes of the rows."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clock import wait_for
from tests.support.equality import differences
from tests.support.servers import AsRole, Database, SourceTarget
from tests.support.small_disks import database_on_disk, resize
from tests.support.steps import Stream, apply_waits_for_a_lock

pytestmark = pytest.mark.forked_commands

PAIR = """
create table first (id integer primary key, n integer);
create table second (id integer primary key, n integer);
insert into first select g, 0 from generate_series(1, 3) g;
insert into second select g, 0 from generate_series(1, 3) g;
"""

LARGE = """
create table large (id integer primary key, pad text);
insert into large select g, (select string_agg(md5(random()::text || i), '')
  from generate_series(1, 32) i) from generate_series(1, 12000) g;
"""
"""Some 14 MB that no compression makes smaller."""


BUSY = """
create table item (id integer);
alter table item replica identity full;
"""

BUSY_TARGET = """
create table busy ();
create function slowly(integer) returns integer immutable language plpgsql as $$
begin
    if exists (select from public.busy) then perform pg_catalog.pg_sleep(120); end if;
    return $1;
end $$;
create index slow on item (slowly(id));
insert into busy default values;
"""
"""An index that takes minutes for a row, as long as there is a row in another table."""

_AT_WORK = """
select pid from pg_stat_activity
 where datname = current_database() and application_name like 'pgcopydb apply%'
   and wait_event = 'PgSleep'
"""


@pytest.mark.parametrize("words", [["stream", "replay"], ["follow", "--resume"]])
def test_a_statement_that_outlives_a_killed_apply_is_ended(
    stream: Stream, words: list[str]
) -> None:
    """By the next one, which starts at once; a session of another run is none of its business."""
    target = stream.pair.target
    stream.both(BUSY)
    target.execute(BUSY_TARGET)
    stream.set_up()
    stream.sentinel("set", "apply")  # there is no base copy to wait for
    target.execute("select pg_replication_origin_create('of another run')")
    with target.connect(application_name="pgcopydb apply 76543210") as other:
        other.execute("select pg_replication_origin_session_setup('of another run')")
        other.execute("begin; create table theirs ()")
        stream.pair.source.execute("insert into item values (1), (1), (2)")
        with stream.start(*words) as running:
            assert wait_for(lambda: target.rows(_AT_WORK) != []), running.stderr
            ((busy,),) = target.rows(_AT_WORK)
            target.execute("delete from busy")
            running.kill_all()
            killed = time.monotonic()
            with stream.start(*words) as resumed:
                assert wait_for(lambda: stream.count("item") == 3), resumed.stderr
                seconds = time.monotonic() - killed
                stream.pair.source.execute("insert into item values (3)")
                stream.set_endpos()
                finished = resumed.wait(60)
        other.execute("commit")
    assert finished.status == 0, finished.stderr
    assert seconds < 60, finished.stderr  # the statement would sleep for twice as long
    assert re.findall(r"ended session (\d+)", finished.stderr) == [str(busy)]
    assert target.rows("select id from item order by id") == [(1,), (1,), (2,), (3,)]
    assert target.rows("select to_regclass('theirs')::text") == [("theirs",)]


@pytest.mark.parametrize("mode", ["batch", "transaction"])
def test_a_deadlock_with_a_session_of_the_target_is_got_over(stream: Stream, mode: str) -> None:
    """Apply is the victim, as it looks for the deadlock first; it does everything again.

    It looks once, so long after it began to wait that the other session waits too by then.
    """
    stream.both(PAIR)
    stream.set_up()
    target = stream.pair.target
    target.execute(f"alter database {target.name} set deadlock_timeout to '5s'")
    with stream.start("stream", "replay", "--apply-mode", mode) as running:
        stream.pair.source.execute("update first set n = 1")
        assert wait_for(lambda: target.rows("select from first where n = 1") != [])
        with target.connect() as other:
            other.execute("set deadlock_timeout to '1min'")
            other.execute("begin; update second set n = n where id = 2")
            stream.pair.source.execute(
                "begin; update first set n = 2; update second set n = 2; commit"
            )
            assert wait_for(lambda: apply_waits_for_a_lock(target))
            other.execute("update first set n = n where id = 2")  # returns when apply has lost
            other.execute("commit")
        stream.set_endpos()
        finished = running.wait(60)
    assert finished.status == 0, finished.stderr
    assert "deadlock detected" in finished.stderr
    stream.assert_equal()


def test_a_role_without_rights_is_told_and_one_without_room_for_a_session_waits(
    stream: Stream,
) -> None:
    """A limit of 0 stands for a full server: the role that applies gets no session."""
    stream.both("create table item (id integer primary key)")
    target = stream.pair.target
    role = f"mover_{target.name}"
    target.execute(
        f"create role {role} login; grant create on database {target.name} to {role};"
        f" grant select, insert on item to {role}; revoke usage on schema public from public"
    )
    stream.pair = SourceTarget(stream.pair.source, AsRole(target.cluster, target.name, role))
    refused = stream.run("stream", "setup", "--create-slot", status=7)
    assert f"the role {role} may not write public.item" in refused.stderr
    target.execute(refused.stderr[refused.stderr.index("GRANT") :])
    stream.set_up()
    target.execute(f"alter role {role} connection limit 0")
    refused = stream.run("stream", "replay", status=7)
    assert "too many connections for role" in refused.stderr
    assert "connection limit" in refused.stderr.partition("HINT:")[2]
    target.execute(f"alter role {role} connection limit -1")
    with stream.start("stream", "replay") as running:
        assert wait_for(lambda: _applies(target))
        target.execute(f"alter role {role} connection limit 0")
        target.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name like 'pgcopydb apply%'"
        )
        stream.pair.source.execute("insert into item values (1)")
        assert wait_for(lambda: "too many connections" in running.stderr)
        target.execute(f"alter role {role} connection limit -1")
        assert wait_for(lambda: stream.count("item") == 1, seconds=30)
        stream.set_endpos()
        finished = running.wait(60)
    assert finished.status == 0, finished.stderr
    stream.assert_equal()


def _applies(database: Database) -> bool:
    query = "select from pg_stat_activity where application_name like 'pgcopydb apply%'"
    return database.rows(query) != []


@pytest.fixture
def small_disk(stream: Stream) -> Iterator[Path]:
    """A disk of 20 MB under the target's database, of which an empty one takes 8."""
    with database_on_disk(stream.pair.target, megabytes=20) as disk:
        yield disk


@pytest.mark.parametrize("source_target", [(16, 18, LARGE)], indirect=True)
def test_a_target_whose_disk_is_full_stops_it_and_with_room_it_goes_on(
    stream: Stream, small_disk: Path
) -> None:
    source = stream.pair.source
    refused = stream.run("clone", "--follow", status=7)
    assert "No space left on device" in refused.stderr
    assert "free disk space" in refused.stderr.partition("HINT:")[2]
    assert source.rows("select from pg_replication_slots") == []
    resize(small_disk, megabytes=32)
    with stream.start("clone", "--follow", "--restart", "--drop-if-exists") as running:
        assert wait_for(lambda: "applying from" in running.stderr, seconds=60), running.stderr
        source.execute("insert into large select id + 100000, pad from large")
        stopped = running.wait(60)
    assert stopped.status == 7, stopped.stderr
    assert "No space left on device" in stopped.stderr
    assert "free disk space" in stopped.stderr.partition("HINT:")[2]
    assert stream.count("large") == 12000
    resize(small_disk, megabytes=64)
    stream.set_endpos()
    stream.run("clone", "--follow", "--resume")
    assert differences(source, stream.pair.target) == []


READING = """
create table other (id integer); create table ruled (id integer);
create rule "as well" as on delete to ruled do also select id from other;
"""


@pytest.mark.parametrize("source_target", [(16, 18, READING)], indirect=True)
def test_a_deadlock_of_pg_restore_is_got_over(stream: Stream) -> None:
    """Its job holds the one table and waits for the other, as another job of its own may want."""
    target = stream.pair.target
    stream.run("dump", "schema")
    stream.run("restore", "pre-data")
    with target.connect() as other:
        other.execute("begin; lock table other in access exclusive mode")
        with stream.start("restore", "post-data", "--restore-jobs", "2") as running:
            waits = "select from pg_locks where relation = 'other'::regclass and not granted"
            holds = "select from pg_locks where relation = 'ruled'::regclass and granted"
            assert wait_for(lambda: bool(target.rows(waits)) and bool(target.rows(holds)))
            other.execute("lock table ruled in access exclusive mode")  # returns when it has lost
            other.execute("commit")
            finished = running.wait(60)
    assert finished.status == 0, finished.stderr
    assert "made again, one after the other" in finished.stderr
    rules = "select rulename::text from pg_rules where schemaname = 'public'"
    assert target.rows(rules) == [("as well",)]


NARROWED = """
create table item (id integer primary key, label text, price numeric, at timestamptz, x float8);
create table other (id integer primary key, n numeric);
"""


NARROWER = """
alter table item alter label type char(8), alter price type numeric(5,1),
  alter at type timestamptz(0), alter x type float4
"""

AS_IT_WAS = """
alter table item alter label type text, alter price type numeric,
  alter at type timestamptz, alter x type float8
"""


def test_columns_that_are_narrowed_while_changes_are_applied_are_told_and_not_exit_0(
    stream: Stream,
) -> None:
    """The session that applies knows the columns as they were when it began."""
    row = "'abc ', 1.25, '2026-01-02 03:04:05.678+00', 0.1"
    stream.both(NARROWED)
    stream.set_up()
    with stream.start("stream", "replay") as running:
        stream.pair.source.execute(f"insert into item values (1, {row})")
        assert wait_for(lambda: stream.count("item") == 1), running.stderr
        stream.pair.target.execute(NARROWER)
        stream.pair.source.execute(f"insert into item values (2, {row})")
        assert wait_for(lambda: "public.item was altered" in running.stderr, seconds=20)
        stream.set_endpos()
        finished = running.wait(60)
    assert finished.status == 3, finished.stderr
    for narrowed in (
        "label is character(8), on the source text",
        "price is numeric(5,1), on the source numeric",
        "at is timestamp(0) with time zone, on the source timestamp with time zone",
        "x is real, on the source double precision",
    ):
        assert f"column {narrowed}" in finished.stderr
    stream.pair.target.execute(AS_IT_WAS)
    assert "rows are not the same" in stream.run("stream", "replay", "--resume", status=3).stderr
    stream.pair.target.execute(f"delete from item; insert into item values (1, {row}), (2, {row})")
    assert "altered" in stream.run("stream", "replay", "--resume").stderr
    assert "altered" not in stream.run("stream", "replay", "--resume").stderr
    stream.assert_equal()


def test_what_else_is_altered_on_the_target_keeps_no_follow_from_its_end(stream: Stream) -> None:
    """Neither what the source's values fit into, nor what touches no value."""
    stream.both(NARROWED)
    stream.set_up()
    with stream.start("stream", "replay") as running:
        stream.pair.source.execute("insert into item values (1, 'abc', 1.25)")
        assert wait_for(lambda: stream.count("item") == 1), running.stderr
        stream.pair.target.execute(
            "alter table item alter label set default 'x', alter label set not null,"
            " add column mine integer default 1; alter table other alter n set statistics 50;"
            " truncate other"
        )
        stream.pair.target.execute("vacuum full item")
        stream.pair.source.execute("insert into item values (2, 'def', 2.5)")
        assert wait_for(lambda: stream.count("item") == 2), running.stderr
        stream.set_endpos()
        finished = running.wait(60)
    assert finished.status == 0, finished.stderr
    assert stream.pair.target.rows("select id, label, price from item order by id") == (
        stream.pair.source.rows("select id, label, price from item order by id")
    )
