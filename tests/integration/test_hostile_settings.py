"""What administrators of either server set, do or take away while a migration is under way."""

import itertools
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import DEVNULL

import pytest
from psycopg.conninfo import make_conninfo

from pgcopydb.demo.cluster import Cluster
from tests.scenarios.migration import assert_alone
from tests.support.clock import wait_for
from tests.support.clock_jumps import follow_while_the_clock_jumps, python_clock
from tests.support.commands import (
    Running,
    clean_environment,
    running,
)
from tests.support.equality import differences, differing_tables
from tests.support.failing_syncs import (
    failing_to_sync,
    replay_with_failing_syncs,
    run_with_failing_sync,
)
from tests.support.requirements import missing
from tests.support.servers import AsRole, Database, MakeCluster, SourceTarget
from tests.support.steps import Stream, apply_waits_for_a_lock

SCHEMA = "create table item (id integer primary key, name text)"

IMPATIENT = """
alter {0} set statement_timeout = '300ms';
alter {0} set lock_timeout = '300ms';
alter {0} set idle_in_transaction_session_timeout = '300ms';
alter {0} set idle_session_timeout = '300ms';
alter {0} set default_transaction_isolation = 'serializable';
alter {0} set default_transaction_deferrable = on;
alter {0} set wal_sender_timeout = '2s';
alter {0} set transaction_timeout = '300ms';
"""

SLOW = """
create function slowly(integer) returns integer immutable language plpgsql as
    'begin perform pg_catalog.pg_sleep(0.01); return $1; end';
create table few (id integer primary key, n integer);
insert into few select g, g from generate_series(1, 200) g;
create index slow on few (slowly(n));
create materialized view slow_view as select slowly(id) as id from few;
create table big (id integer primary key, pad text);
insert into big select g, repeat(md5(g::text), 8) from generate_series(1, 60000) g;
"""
"""What takes seconds to build on the target, and to read."""

_RECEIVE = re.compile(r"^\S+ (\d+) \w+ +receiving from", re.MULTILINE)


@pytest.mark.parametrize("source_target", [(18, 18, SLOW)], indirect=True)
def test_time_limits_and_isolation_of_others_end_nothing(
    source_target: SourceTarget, stream: Stream
) -> None:
    """Limits of 300 ms on both sides, serializable and deferrable by default.

    Those of a role in a database go before those of the role, of the database and of the server.
    """
    pair = source_target
    pair.source.execute(IMPATIENT.format(f"role current_user in database {pair.source.name}"))
    pair.target.execute(IMPATIENT.format(f"database {pair.target.name}"))
    with stream.migrating() as running, pair.target.connect() as other:
        other.execute("set lock_timeout = 0; set idle_in_transaction_session_timeout = 0")
        other.execute("set statement_timeout = 0; set transaction_timeout = 0")
        other.execute("begin isolation level read committed; lock table big")
        pair.source.execute("update big set pad = 'changed' where id = 7")
        assert wait_for(lambda: apply_waits_for_a_lock(pair.target))
        time.sleep(3)  # longer than any limit, and than the source waits for an answer
        other.execute("commit")
    assert "connecting again" not in running.stderr
    for database in (pair.source, pair.target):  # whoever compares has patience
        with database.cluster.connect() as connection:
            for whom in ("role current_user in ", ""):  # the copy brought the role's along
                connection.execute(f"alter {whom}database {database.name} reset all".encode())
    assert differences(pair.source, pair.target) == []


def test_a_right_that_is_taken_away_stops_it_and_given_again_it_goes_on(stream: Stream) -> None:
    pair = stream.pair
    stream.both(SCHEMA)
    role = f"mover_{pair.target.name}"
    pair.target.execute(
        f"create role {role} login; alter table item owner to {role};"
        f" grant create on database {pair.target.name} to {role}"
    )
    stream.pair = SourceTarget(pair.source, AsRole(pair.target.cluster, pair.target.name, role))
    stream.set_up()
    with stream.start("stream", "replay") as running:
        assert wait_for(lambda: "applying from" in running.stderr), running.stderr
        pair.target.execute(f"revoke insert on item from {role}")
        pair.source.execute("insert into item values (1, 'one')")
        stream.set_endpos()
        refused = running.wait(60)
    assert refused.status == 7, refused.stderr
    assert "permission denied for table item" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert stream.count("item") == 0
    pair.target.execute(f"grant insert on item to {role}")
    stream.replay()
    stream.pair = pair


@pytest.mark.parametrize("lost", ["login", "membership"])
def test_a_role_of_the_target_that_loses_what_it_needs_stops_it_between_transactions(
    stream: Stream, lost: str
) -> None:
    """Its login, at the next connection, or a role by which it owns one of two tables."""
    pair = stream.pair
    target = pair.target
    stream.both(f"{SCHEMA}; create table other (id integer primary key)")
    role, owner = f"mover_{target.name}", f"owner_{target.name}"
    target.execute(
        f"create role {owner}; create role {role} login in role {owner};"
        f" alter table item owner to {owner}; alter table other owner to {role};"
        f" grant create on database {target.name} to {role}"
    )
    stream.pair = SourceTarget(pair.source, AsRole(target.cluster, target.name, role))
    stream.set_up()
    with stream.start("stream", "replay") as running:
        pair.source.execute("insert into other values (1); insert into item values (1)")
        assert wait_for(lambda: target.rows("select from item") != []), running.stderr
        if lost == "login":
            target.execute(f"alter role {role} nologin")
            target.execute(
                f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'"
            )
        else:
            target.execute(f"revoke {owner} from {role}")
        pair.source.execute("insert into other values (2); insert into item values (2)")
        stream.set_endpos()
        refused = running.wait(60)
    assert refused.status == 7, refused.stderr
    said = f'role "{role}" is not permitted to log in' if lost == "login" else "table item"
    assert re.search(f"ERROR: .*target.*{re.escape(said)}", refused.stderr), refused.stderr
    assert "Traceback" not in refused.stderr
    assert target.rows("select id from item") == target.rows("select id from other") == [(1,)]
    target.execute(f"alter role {role} login; grant {owner} to {role}")
    stream.replay()
    assert target.rows("select id from other order by id") == [(1,), (2,)]
    stream.pair = pair


def test_a_disk_that_fails_stops_receive_with_nothing_confirmed_that_is_not_stored(
    stream: Stream, tmp_path: Path
) -> None:
    """EIO when stored changes are brought to disk: the page cache cannot be trusted after that."""
    stream.both(SCHEMA)
    stream.set_up()
    with stream.start("stream", "prefetch") as running:
        assert wait_for(lambda: _RECEIVE.search(running.stderr) is not None)
        found = _RECEIVE.search(running.stderr)
        assert found is not None
        # Once something is confirmed, the names of its files are on disk: what fails is a commit.
        stream.pair.source.execute("insert into item values (0, 'zero')")
        (before,) = stream.pair.source.rows("select pg_current_wal_insert_lsn()::text")[0]
        confirmed = f"select 1 from pg_replication_slots where confirmed_flush_lsn >= '{before}'"
        assert wait_for(lambda: stream.pair.source.rows(confirmed) != [])
        with failing_to_sync(int(found.group(1)), tmp_path / "trace"):
            with stream.pair.source.connect() as connection:
                connection.execute("begin; insert into item values (1, 'one')")
                row = connection.execute("select pg_current_wal_insert_lsn()::text").fetchone()
                connection.execute("commit")
            finished = running.wait(30)
    assert row is not None
    assert finished.status == 3, finished.stderr
    assert "I/O error" in finished.stderr
    assert_alone(running)
    confirmed = f"select confirmed_flush_lsn <= '{row[0]}' from pg_replication_slots"
    assert stream.pair.source.rows(confirmed) == [(True,)]
    stream.replay()


_STORE = """
import os, sys
from pathlib import Path
from pgcopydb.workdir.changelog import ChangelogWriter
directory = Path(sys.argv[1])
directory.mkdir()
writer = ChangelogWriter(directory, max_segment_bytes=1 << 30)
for end in range(1, 13):
    writer.append(bytes(500_000), slice_number=None, final=True, end_lsn=end)
writer.make_durable()
os._exit(0)
"""
"""Stores more than SQLite keeps in its log, and ends well, at once, when all of it is on disk."""


def test_no_log_of_stored_changes_fails_to_reach_the_disk_unnoticed(tmp_path: Path) -> None:
    """As in a checkpoint of SQLite's own, after which the next attempt passes for a good one."""
    failed: list[str] = []
    for number in itertools.count(5):  # those before are of a file without a name
        finished, calls = run_with_failing_sync(
            tmp_path / f"run-{number}",
            [str(tmp_path / f"cdc-{number}")],
            number,
            program=[sys.executable, "-c", _STORE],
        )
        if not calls:
            break
        failed += [call for call in calls if ".db-wal>" in call]
        assert finished.status != 0 or ".db-wal>" not in calls[0], calls
    assert len(failed) >= 3


def test_single_syncs_of_a_run_that_fail(stream: Stream) -> None:
    """Each one of a run: ``tests/campaign/failing_syncs.py``."""
    stream.both(SCHEMA)
    stream.set_up()

    def commit(number: int) -> None:
        stream.pair.source.execute(f"insert into item values ({number}, 'row')")

    assert replay_with_failing_syncs(stream, [2, 5], commit) >= 2


def _walsender(database: Database) -> int | None:
    rows = database.rows("select active_pid from pg_replication_slots where active")
    return rows[0][0] if rows else None


@pytest.fixture
def own(stream: Stream, make_cluster: MakeCluster) -> Stream:
    """The same with a source server of the test's own, that keeps 32 MB of log for a slot."""
    settings = {"max_slot_wal_keep_size": "32MB", "max_wal_size": "64MB", "min_wal_size": "32MB"}
    cluster = make_cluster(16, settings=settings)
    cluster.create_database("app")
    stream.pair = SourceTarget(Database(cluster, "app"), stream.pair.target)
    stream.both(SCHEMA)
    stream.set_up()
    return stream


def _seconds_to_stop(cluster: Cluster) -> float:
    """Shut a server down by the fast way; return the seconds that it took."""
    began = time.monotonic()
    cluster.stop()
    return time.monotonic() - began


def test_a_source_that_is_shut_down_is_not_held_up_and_waited_for(own: Stream) -> None:
    cluster = own.pair.source.cluster
    alone = _seconds_to_stop(cluster)
    cluster.start()
    with own.start("stream", "replay") as running:
        assert wait_for(lambda: _walsender(own.pair.source) is not None)
        own.pair.source.execute("insert into item values (1, 'before')")
        # A walsender waits, without limit, until its client has confirmed the last record.
        assert _seconds_to_stop(cluster) < alone + 5
        cluster.start()
        own.pair.source.execute("insert into item values (2, 'after')")
        own.set_endpos()
        finished = running.wait(60)
    assert finished.status == 0, finished.stderr
    own.assert_equal()


def test_a_slot_that_is_lost_while_its_walsender_stands_still(own: Stream) -> None:
    source = own.pair.source
    with own.start("stream", "prefetch") as running:
        assert wait_for(lambda: _walsender(source) is not None)
        walsender = _walsender(source)
        assert walsender is not None
        os.kill(walsender, signal.SIGSTOP)
        try:
            for _ in range(6):
                source.execute("insert into item select coalesce(max(id), 0) + 1 from item")
                source.execute("select pg_switch_wal()")
            # The checkpoint waits for the walsender, which it has told to end.
            with source.connect() as connection:
                connection.execute("set statement_timeout = '2s'")
                with pytest.raises(Exception, match="statement timeout"):
                    connection.execute("checkpoint")
        finally:
            os.kill(walsender, signal.SIGCONT)
        # Until then nobody can know: the server marks the slot when its walsender has ended.
        finished = running.wait(15)
    assert finished.status == 3, finished.stderr
    assert "is lost" in finished.stderr
    assert_alone(running)
    assert differing_tables(source, own.pair.target) != []


@pytest.mark.parametrize("stopped", ["worker receive", "the process that forks workers"])
def test_a_process_that_stands_still_is_named_and_ends_with_the_others(
    stream: Stream, stopped: str
) -> None:
    stream.both(SCHEMA)
    stream.set_up()
    with stream.start("stream", "replay") as running:
        assert wait_for(lambda: _RECEIVE.search(running.stderr) is not None)
        found = _RECEIVE.search(running.stderr)
        assert found is not None
        pid = int(found.group(1))
        if stopped != "worker receive":
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(pid, signal.SIGSTOP)
        assert wait_for(lambda: f"{stopped} (process {pid}) stands still" in running.stderr)
        assert _stops_within_ten_seconds(running)
    assert_alone(running)


def _stops_within_ten_seconds(running: Running) -> bool:
    asked = time.monotonic()
    running.send_signal(signal.SIGTERM)
    finished = running.wait(15)
    return finished.status == 128 + signal.SIGTERM and time.monotonic() - asked < 12


@pytest.mark.parametrize("source_target", [(15, 18)], indirect=True)
@pytest.mark.parametrize("plugin", ["pgoutput", "wal2json", "test_decoding"])
def test_a_writer_that_was_forgotten_at_the_cut_over_is_told(stream: Stream) -> None:
    stream.both(SCHEMA)
    stream.set_up()
    stream.sentinel("set", "apply")  # there is no base copy to wait for
    source = stream.pair.source
    source.execute("insert into item values (1, 'before')")
    stream.set_endpos()
    source.execute("select pg_logical_emit_message(true, 'app', 'nothing that is followed')")
    finished = stream.run("follow")
    assert "does somebody still write there?" not in finished.stderr
    source.execute("insert into item values (2, 'after')")
    finished = stream.run("follow", "--resume")
    assert "does somebody still write there?" in finished.stderr
    assert stream.count("item") == 1


@pytest.mark.parametrize("late", [False, True])
def test_a_writer_that_comes_back_after_the_cut_over_is_told_before_the_slot_goes(
    stream: Stream, late: bool
) -> None:
    stream.both(SCHEMA)
    stream.set_up()
    stream.sentinel("set", "apply")
    stream.pair.source.execute("insert into item values (1, 'before')")
    stream.set_endpos()
    assert "does somebody still write there?" not in stream.run("follow").stderr
    if late:
        stream.pair.source.execute("insert into item values (2, 'after')")
    finished = stream.run("stream", "cleanup")
    assert ("does somebody still write there?" in finished.stderr) == late


def test_a_signal_ends_the_cut_over_itself(stream: Stream) -> None:
    """While tables are compared after the last change; with nohup a SIGHUP ends nothing."""
    stream.both(SCHEMA)
    stream.set_up()
    stream.sentinel("set", "apply")
    stream.both("alter table item add extra integer default 7")  # so that it is compared
    stream.pair.source.execute("insert into item values (1, 'one')")
    for database, number in (
        (stream.pair.target, signal.SIGHUP),
        (stream.pair.source, signal.SIGTERM),
    ):
        with _cut_over(stream) as running, _waiting_at_the_end(stream, running, database):
            running.send_signal(number)
            finished = running.wait(10)
        assert finished.status == 128 + number, finished.stderr
        assert [line for line in finished.stderr.splitlines() if "ERROR" in line] == [
            "ERROR: stopped on request"
        ]
        assert_alone(running)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _cut_over(stream) as running:
            with _waiting_at_the_end(stream, running, stream.pair.target):
                running.send_signal(signal.SIGHUP)
                assert wait_for(lambda: "waiting for table public.item" in running.stderr)
            finished = running.wait(30)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert finished.status == 0, finished.stderr
    stream.assert_equal()


def _cut_over(stream: Stream) -> AbstractContextManager[Running]:
    """Run a follow that goes on until another end is set."""
    stream.set_endpos("7FFFFFFF/0")
    return stream.start("follow", "--resume")


@contextmanager
def _waiting_at_the_end(stream: Stream, running: Running, database: Database) -> Iterator[None]:
    """Let the comparison after the end wait for a table of one side while the block runs."""
    waiting = (
        "select from pg_stat_activity"
        " where wait_event_type = 'Lock' and application_name = 'pgcopydb final check'"
    )
    assert wait_for(lambda: "applying from" in running.stderr), running.stderr
    assert wait_for(lambda: stream.count("item") == 1)
    with database.connect() as other:
        other.execute("begin; lock table item")
        stream.set_endpos()
        assert wait_for(lambda: database.rows(waiting) != [], seconds=30), running.stderr
        yield


def test_a_clock_that_jumps_loses_nothing_and_lets_nobody_wait(
    stream: Stream, tmp_path: Path
) -> None:
    """As Python sees it; ``campaign/clock_jumps.py`` lets every library see it."""
    follow_while_the_clock_jumps(stream, *python_clock(tmp_path))


_WITH_OWN_NAMES = """
mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"
"""
"""A command in a mount namespace of its own, where two files say which names there are."""


def test_a_name_server_that_fails_half_way(stream: Stream, tmp_path: Path) -> None:
    """Names that were known are not for a while, when both connections have to be made again."""
    if os.geteuid() != 0:
        missing("only root can give a command its own /etc/hosts")
    pair = stream.pair
    stream.both(SCHEMA)
    stream.set_up()
    hosts, servers = tmp_path / "hosts", tmp_path / "resolv.conf"
    known = "127.0.0.1 source.example target.example\n"
    hosts.write_text(known)
    servers.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    words = ["stream", "replay", "--dir", str(stream.directory)]
    for side, database in (("source", pair.source), ("target", pair.target)):
        conninfo = make_conninfo(database.conninfo, host=f"{side}.example")
        words += [f"--{side}", conninfo]
    program = str(Path(sys.executable).with_name("pgcopydb"))
    command = ["unshare", "--mount", "sh", "-c", _WITH_OWN_NAMES, "sh", str(hosts), str(servers)]
    environment = clean_environment(tmp_path / "home")
    with running([*command, program, *words], tmp_path / "there", environment, DEVNULL) as started:
        pair.source.execute("insert into item values (1, 'before')")
        assert wait_for(lambda: stream.count("item") == 1, seconds=60), started.stderr
        hosts.write_text("")
        for database in (pair.source, pair.target):
            database.rows(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name ~ 'pgcopydb (apply|receive)'"
            )
        unknown = "failed to resolve host '{}.example'"
        for side in ("source", "target"):
            assert wait_for(lambda: unknown.format(side) in started.stderr), started.stderr  # noqa: B023
        pair.source.execute("insert into item values (2, 'meanwhile')")
        hosts.write_text(known)
        assert wait_for(lambda: stream.count("item") == 2, seconds=60), started.stderr
        stream.set_endpos()
        finished = started.wait(60)
    assert finished.status == 0, finished.stderr
    stream.assert_equal()
    hosts.write_text("")
    with running([*command, program, *words], tmp_path / "then", environment, DEVNULL) as started:
        finished = started.wait(60)
    assert finished.status == 6, finished.stderr
    assert "check the host name" in finished.stderr
