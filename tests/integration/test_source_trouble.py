"""What happens on the source in the middle of a follow, and what becomes of the rows."""

import signal
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgcopydb.cdc.source_setup import create_capture
from pgcopydb.errors import SourceError
from pgcopydb.model.endpoint import Side
from pgcopydb.model.options import FollowOptions, WorkOptions
from pgcopydb.workdir.directory import open_directory
from tests.support.clock import wait_for
from tests.support.commands import PgcopydbBackground
from tests.support.litter import litter
from tests.support.servers import AsRole, Database, MakeCluster, SourceTarget
from tests.support.steps import Stream

pytestmark = pytest.mark.forked_commands

MOVED = "update item set id = id + 3 where id > 3"

TWO_KEYS = """
create table item (id integer primary key, code text not null unique, n integer);
insert into item select g, 'code ' || g, 0 from generate_series(1, 6) g;
"""

AROUND = """
create table item (id text primary key);
create sequence up; create sequence down increment -1; create sequence unset start 7;
create sequence round maxvalue 40 cycle; create table owner (id serial primary key);
"""

USED = ("up", "down", "round", "owner_id_seq")

WALSENDER = "select active_pid from pg_replication_slots where active"


@pytest.mark.parametrize("source_target", [(15, 18)], indirect=True)
@pytest.mark.parametrize("plugin", ["pgoutput", "wal2json", "test_decoding"])
def test_an_identity_that_is_changed_meanwhile(stream: Stream, plugin: str) -> None:
    """pgoutput and wal2json tell it with the changes; test_decoding does not, and stops."""
    stream.both(TWO_KEYS)
    stream.set_up()
    stream.sentinel("set", "apply")
    source = stream.pair.source
    with stream.start("follow") as running:
        source.execute("update item set n = 1 where id = 1")
        assert wait_for(lambda: stream.pair.target.rows("select from item where n = 1") != [])
        source.execute("alter table item replica identity using index item_code_key")
        source.execute("update item set code = code || '''', n = n + 1")
        source.execute(MOVED)  # the key of before, which is none now
        source.execute("delete from item where id = 8")
        source.execute("alter table item replica identity full")
        source.execute("update item set id = id - 3, code = 'new ' || id where id > 3")
        stream.set_endpos()
        finished = running.wait(60)
    if plugin == "test_decoding":
        assert finished.status == 7, finished.stderr
        assert "(id=7) of source transaction" in finished.stderr
        stream.pair.target.execute(MOVED)  # as the hint says
        finished = stream.run("follow", "--resume")
    assert finished.status == 0, finished.stderr
    assert "public.item changed its replica identity; it is equal on the target" in finished.stderr
    stream.assert_equal()


@pytest.mark.parametrize("lost", ["noreplication", "nologin"])
def test_the_source_role_loses_its_right_to_stream_and_gets_it_back(
    stream: Stream, lost: str
) -> None:
    """A session that is there goes on; the next one is refused, at once and by name."""
    stream.both("create table item (id integer primary key)")
    source = stream.pair.source
    role = f"mover_{source.name}"
    source.execute(
        f"create role {role} login replication; alter table item owner to {role};"
        f" grant create on database {source.name} to {role}"
    )
    stream.pair = SourceTarget(AsRole(source.cluster, source.name, role), stream.pair.target)
    stream.set_up()
    with stream.start("stream", "replay") as running:
        assert wait_for(lambda: source.rows(WALSENDER) != [])
        source.execute(f"alter role {role} {lost}")
        source.execute("insert into item values (1)")
        assert wait_for(lambda: stream.count("item") == 1)
        source.rows(f"select pg_terminate_backend(pid) from ({WALSENDER}) as s (pid)")
        source.execute("insert into item values (2)")
        finished = running.wait(30)
    assert finished.status == 6, finished.stderr
    assert "Traceback" not in finished.stderr
    if lost == "noreplication":
        refused = stream.run("stream", "replay", status=2)
        assert "give the role the REPLICATION attribute" in finished.stderr
        assert f'ALTER ROLE "{role}" REPLICATION' in refused.stderr
    else:
        refused = stream.run("stream", "replay", status=6)
        for said in (finished.stderr, refused.stderr):
            assert f'role "{role}" is not permitted to log in' in said
    source.execute(f"alter role {role} replication login")
    stream.replay()
    assert stream.count("item") == 2


@pytest.mark.parametrize("source_target", [(15, 18), (18, 18)], indirect=True)
def test_a_slot_that_waits_too_long_is_given_up_and_leaves_nothing(
    source_target: SourceTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names who is waited for; without them the same work directory begins again."""
    source = source_target.source
    source.execute("create table item (id integer primary key)")
    monkeypatch.setattr("pgcopydb.postgres.slot._FIRST_WORD", 0.5)
    monkeypatch.setattr("pgcopydb.cdc.source_setup._SLOT_WAIT", 1.5)
    options = WorkOptions(directory=tmp_path / "work")

    def create() -> None:
        with (
            open_directory(options, command="stream setup") as work,
            create_capture(work, source.endpoint(Side.SOURCE), FollowOptions()),
        ):
            pass

    source.execute("begin; insert into item values (1); prepare transaction 'for''gotten'")
    before = litter(source)
    with source.connect() as other:
        pid = other.info.backend_pid
        other.execute("begin; insert into item values (2)")
        began = time.monotonic()
        with pytest.raises(SourceError, match="given up after 2 s") as refused:
            create()
        seconds = time.monotonic() - began
        other.execute("rollback")
    assert seconds < 1.5 + 5
    assert refused.value.status == 6
    assert f"pid {pid} (" in refused.value.message
    assert "prepared transaction 'for''gotten' of " in refused.value.message
    assert "ROLLBACK PREPARED" in (refused.value.hint or "")
    assert "pg_terminate_backend" in (refused.value.hint or "")
    assert litter(source) == before
    source.execute("rollback prepared 'for''gotten'")
    create()
    assert set(litter(source)) - set(before) >= {"slot pgcopydb", "publication pgcopydb"}


def test_one_signal_stops_the_wait_for_a_slot_and_leaves_nothing(
    source_target: SourceTarget, tmp_path: Path, pgcopydb_background: PgcopydbBackground
) -> None:
    source = source_target.source
    source.execute("create table item (id integer primary key)")
    before = litter(source)
    clone = ["clone", "--follow", *source_target.options, "--dir", str(tmp_path / "work")]
    with source.connect() as other:
        other.execute("begin; insert into item values (1)")
        with pgcopydb_background(*clone) as running:
            waits = f"pid {other.info.backend_pid} ("
            assert wait_for(lambda: waits in running.stderr), running.stderr
            running.send_signal(signal.SIGINT)
            finished = running.wait(8)
        other.execute("rollback")
    assert finished.status == 130
    assert "is left" not in finished.stderr
    assert litter(source) == before


@pytest.mark.parametrize("plugin", ["pgoutput", "wal2json", "test_decoding"])
def test_prepared_around_the_slot_and_a_crash_of_the_source(
    stream: Stream, make_cluster: MakeCluster, plugin: str
) -> None:
    """Prepared before the slot is made, ended after it: at once, and after a crash.

    A slot waits for what runs when its making begins, prepared or not. What is prepared while it
    waits for others is not in its snapshot. Sequences are read after the crash, too, from which
    they begin at the next number that was not written ahead.
    """
    cluster = make_cluster(16 if plugin == "pgoutput" else 15)
    cluster.create_database("app")
    source = Database(cluster, "app")
    stream.pair = SourceTarget(source, stream.pair.target)
    source.execute(AROUND)
    with source.connect() as first, source.connect() as second:
        first.execute("begin; insert into item values ('first')")
        with stream.start("clone", "--follow", "--plugin", plugin) as running:
            assert wait_for(lambda: _is_waited_for(source, first)), running.stderr
            second.execute("begin; insert into item values ('second')")
            first.execute("commit")
            assert wait_for(lambda: _is_waited_for(source, second)), running.stderr
            for name in ("at once", "after the crash", "never"):
                source.execute(
                    f"begin; insert into item values ('{name}'); prepare transaction '{name}'"
                )
            second.execute("commit")
            assert wait_for(lambda: "the base copy is complete" in running.stderr, seconds=60)
            assert stream.count("item") == 2
            source.execute("commit prepared 'at once'")
            used = {name: _take(source, name, 5) for name in USED}
            cluster.kill()
            cluster.start()
            source.execute("commit prepared 'after the crash'")
            source.execute("rollback prepared 'never'")
            used = {name: taken + _take(source, name, 2) for name, taken in used.items()}
            stream.set_endpos()
            finished = running.wait(60)
    assert finished.status == 0, finished.stderr
    rows = stream.pair.target.rows("select id from item order by id")
    assert [name for (name,) in rows] == ["after the crash", "at once", "first", "second"]
    for name, taken in used.items():
        following = _take(stream.pair.target, name, 1)
        assert following == _take(source, name, 1)
        assert not set(following) & set(taken)
    assert _take(stream.pair.target, "unset", 1) == [7]


def _take(database: Database, sequence: str, count: int) -> list[int]:
    query = f"select nextval('{sequence}') from generate_series(1, {count})"
    return [value for (value,) in database.rows(query)]


def _is_waited_for(source: Database, other: psycopg.Connection[tuple[Any, ...]]) -> bool:
    """Tell whether the making of a slot waits for the transaction of a session."""
    query = (
        "select from pg_stat_activity where backend_type = 'walsender'"
        f" and {other.info.backend_pid} = any(pg_blocking_pids(pid))"
    )
    return source.rows(query) != []
