"""Transactions received while they are in progress: pgoutput's protocol version 2, on real servers.

The source streams whatever has more than 64 kB of changes, which is the least that can be set.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgcopydb.lsn import parse_lsn
from tests.support.clock import wait_for
from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.servers import Connection, SourceTarget
from tests.support.steps import Stream

pytestmark = pytest.mark.forked_commands

TABLES = """
create type mood as enum ('well', 'so so');
create table wide (id integer primary key, v text, m mood);
create table twin (v text); alter table twin replica identity full;
create table gone (id integer primary key);
insert into gone select g from generate_series(1, 10) g;
create table small (id integer primary key);
"""

ON_EVERY_SERVER = pytest.mark.parametrize(
    "source_target", [(15, 15), (16, 18), (18, 18)], indirect=True
)
ON_ONE = pytest.mark.parametrize("source_target", [(15, 15)], indirect=True)


@pytest.fixture
def stream(
    source_target: SourceTarget,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
) -> Stream:
    stream = Stream(source_target, tmp_path / "work", pgcopydb_command, pgcopydb_background)
    name = source_target.source.name
    source_target.source.execute(f"alter database {name} set logical_decoding_work_mem to '64kB'")
    stream.both(TABLES)
    stream.run("stream", "setup", "--create-slot", "--streaming", "on")
    return stream


@pytest.fixture
def sessions(stream: Stream) -> Iterator[list[Connection]]:
    connections = [stream.pair.source.connect() for _ in range(4)]
    entered = [one.__enter__() for one in connections]
    yield entered
    for one in connections:
        one.__exit__(None, None, None)


def fill(session: Connection, start: int, rows: int = 600) -> None:
    session.execute(
        "insert into wide select g, repeat(md5(g::text), 8), 'well'"
        " from generate_series(%s::integer, %s::integer) g",
        (start, start + rows - 1),
    )


def streamed(stream: Stream) -> int:
    """Return how many transactions the source has sent in progress."""
    ((count,),) = stream.pair.source.rows(
        "select stream_txns from pg_stat_replication_slots where slot_name = 'pgcopydb'"
    )
    return int(count)


def large_ones(sessions: list[Connection]) -> None:
    """Begin four large transactions, mixed with each other; savepoints are kept or rolled back."""
    first, second, prepared, other = sessions
    for session in sessions:
        session.execute("begin")
    fill(first, 0)
    fill(second, 10_000)
    first.execute("savepoint rolled_back")
    fill(first, 1_000)
    first.execute("savepoint within")
    fill(first, 2_000)
    first.execute("release within")
    first.execute("update wide set v = v || 'x' where id < 300")
    first.execute("rollback to rolled_back")
    fill(prepared, 20_000)
    other.execute(
        "insert into twin select repeat(md5((g % 200)::text), 8) from generate_series(1, 600) g"
    )
    first.execute("savepoint kept")
    fill(first, 3_000)
    first.execute("release kept")
    first.execute("select pg_logical_emit_message(true, 'theirs', repeat('m', 200000))")
    first.execute("delete from wide where id % 7 = 0 and id < 10000")
    fill(second, 11_000)
    for number in range(300):
        second.execute("savepoint s")
        second.execute("insert into wide values (%s, repeat('y', 500))", (12_000 + number,))
        second.execute("rollback to s" if number % 3 else "release s")
    other.execute("delete from twin where ctid in (select ctid from twin limit 50)")


def end_all(sessions: list[Connection]) -> None:
    """Commit three of the transactions, in another order than they began, and roll one back.

    One alters its table first, one truncates a table.
    """
    first, second, prepared, other = sessions
    twins = "insert into twin select repeat(md5((g % 200)::text), 8) from generate_series(1, 600) g"
    other.execute(twins)
    other.execute("alter table twin add note text")
    other.execute(twins.replace("8)", "8), 'note'"))
    first.execute("truncate gone")
    fill(first, 4_000)
    other.execute("commit")
    other.execute("insert into twin values ('by the description that came in the stream', 'n')")
    prepared.execute("prepare transaction 'large'")
    first.execute("commit")
    fill(second, 13_000)
    second.execute("rollback")
    prepared.execute("commit prepared 'large'")


@ON_EVERY_SERVER
def test_large_transactions_arrive_once_and_whole(
    stream: Stream, sessions: list[Connection]
) -> None:
    source = stream.pair.source
    stream.pair.target.execute("alter table twin add note text")
    kept = stream.directory / "cdc" / "streams"
    with stream.start("stream", "prefetch") as running:
        large_ones(sessions)
        source.execute("insert into small values (1)")
        assert wait_for(lambda: len(list(kept.glob("*"))) >= 4, seconds=60), running.stderr
        # the slot must keep what has come of them, whatever is confirmed meanwhile
        source.rows(
            "select pg_terminate_backend(active_pid) from pg_replication_slots"
            " where slot_name = 'pgcopydb'"
        )
        source.execute("insert into small values (2)")
        inside = stream.source_end()
        assert wait_for(lambda: flushed(stream) >= parse_lsn(inside), seconds=60), running.stderr
        source.execute("insert into small values (3)")
        for number, session in enumerate(sessions[:2]):
            fill(session, 30_000 + 1000 * number)  # only one that goes on is streamed again
        assert wait_for(lambda: len(list(kept.glob("*"))) >= 2, seconds=60), running.stderr
        running.kill_all()
    assert kept.exists()

    stream.set_endpos(inside)
    stream.run("stream", "prefetch")
    assert not kept.exists()
    stream.run("stream", "catchup")
    assert stream.pair.target.rows("select id from small order by id") == [(1,), (2,)]
    assert (stream.count("wide"), stream.count("gone")) == (0, 10)

    end_all(sessions)
    end = stream.set_endpos()
    printed = print_changes(stream, end, "on")
    assert without_begins(printed) == without_begins(print_changes(stream, end, "off"))
    stream.replay()
    assert stream.count("wide") > 1500
    assert stream.count("gone") == 0
    assert streamed(stream) > 3
    assert not kept.exists()


def flushed(stream: Stream) -> int:
    return parse_lsn(stream.sentinel("get", "--flush-lsn"))


def print_changes(stream: Stream, end: str, streaming: str) -> list[dict[str, object]]:
    """Return what ``receive --to-stdout`` prints up to a position; nothing is confirmed by it."""
    finished = stream.command(
        *("stream", "receive", "--to-stdout", "--streaming", streaming, "--endpos", end),
        *("--source", stream.pair.source.conninfo),
    )
    assert finished.status == 0, finished.stderr
    return [json.loads(line) for line in finished.stdout.splitlines()]


def without_begins(lines: list[dict[str, object]]) -> list[dict[str, object]]:
    """Leave out the positions of BEGINs: one that is streamed is known at its end only."""
    return [{**one, "lsn": ""} if one["action"] == "B" else one for one in lines]


@ON_ONE
def test_it_may_be_switched_on_and_off(stream: Stream, sessions: list[Connection]) -> None:
    """What is stored is the same, so each receive may do as it likes; the last word is kept."""
    fill(sessions[0], 0)
    stream.set_endpos()
    stream.run("stream", "replay", "--streaming", "off")
    assert streamed(stream) == 0
    fill(sessions[0], 10_000)
    stream.replay()
    assert streamed(stream) == 0
    fill(sessions[0], 20_000)
    stream.replay("--streaming", "on")
    assert streamed(stream) == 1
    fill(sessions[0], 30_000)
    stream.replay()
    assert streamed(stream) == 2


@pytest.mark.parametrize("source_target", [(16, 18)], indirect=True)
def test_what_a_server_cannot_decode_in_progress_is_received_whole(
    stream: Stream, sessions: list[Connection]
) -> None:
    """PostgreSQL loses its way where a table is altered in vain, and then again, in between."""
    stream.pair.target.execute("alter table twin add note text")
    (session, *_) = sessions
    twins = "insert into twin select repeat(md5(g::text), 8) from generate_series(1, 600) g"
    session.execute("begin")
    session.execute(twins)
    session.execute("savepoint s; alter table twin add wrong integer, add note text")
    session.execute(twins)
    session.execute("rollback to s")
    session.execute(twins)
    session.execute("alter table twin add note text")
    session.execute(twins)
    session.execute("commit")
    stream.set_endpos()
    failed = stream.run("stream", "prefetch", status=6)
    assert "could not map filenumber" in failed.stderr
    assert "--streaming off" in failed.stderr
    stream.replay("--streaming", "off")


@ON_ONE
def test_other_plugins_cannot(stream: Stream) -> None:
    stream.directory = stream.directory.with_name("other")
    refused = stream.command(
        *("snapshot", "--follow", "--plugin", "wal2json", "--streaming", "on"),
        *("--slot-name", "another", "--source", stream.pair.source.conninfo),
        *("--dir", str(stream.directory)),
    )
    assert refused.status == 2
    assert "--streaming on needs the plugin pgoutput" in refused.stderr
    assert "Traceback" not in refused.stderr


SUBTRANSACTIONS = """
do $$ begin
  for n in 1..10000 loop
    begin
      insert into wide values (n, 'in a subtransaction', 'well');
      if n % 4 = 0 then update wide set v = 'by a later one' where id = n - 1; end if;
      if n % 3 = 0 then raise 'rolled back'; end if;
    exception when raise_exception then null;
    end;
  end loop;
end $$
"""


@pytest.mark.parametrize("source_target", [(16, 18)], indirect=True)
@pytest.mark.parametrize("streaming", ["on", "off"])
def test_a_transaction_of_ten_thousand_subtransactions(stream: Stream, streaming: str) -> None:
    """A third of them rolled back, each after it has been sent where that is done in progress."""
    stream.pair.source.execute(SUBTRANSACTIONS)
    stream.set_endpos()
    stream.replay("--streaming", streaming)
    assert stream.count("wide") == 6667
    stream.assert_equal()
    assert streamed(stream) == (streaming == "on")
