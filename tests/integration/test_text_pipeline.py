"""The three commands of the text pipeline, as installed: receive, transform and apply.

Together they are a whole replication. Also each of the three on its own: endpos, interruptions,
repeats and bad input.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from pgcopydb.demo.cluster import Cluster
from pgcopydb.lsn import format_lsn, parse_lsn
from pgcopydb.model.options import Plugin
from pgcopydb.sql.render import identifier, literal
from tests.golden import forms, record
from tests.support import values
from tests.support.clock import wait_for
from tests.support.commands import Finished, Pgcopydb, PgcopydbBackground, clean_environment
from tests.support.equality import differing_tables
from tests.support.servers import Database, MakeCluster, MakeDatabase, Servers, SourceTarget

pytestmark = pytest.mark.forked_commands

PLUGINS = pytest.mark.parametrize("plugin", list(Plugin))

SCHEMA = """
create schema "Odd ""x"" Schema";
create type "Odd ""x"" Schema".mood as enum ('ok', 'it''s', E'new\\nline');
create table public.plain (id bigint primary key, t text, n numeric, b bytea, j jsonb);
create table public.counted (
  id bigint generated always as identity primary key,
  other bigint generated always as identity,
  a integer,
  twice integer generated always as (a * 2) stored,
  note text);
alter table public.counted alter note set storage external;
create table public.by_made (
  a integer,
  made integer generated always as (a + 1) stored primary key);
create table public.whole (
  i inet, f real, b boolean, c char(8), t text, p point, x xml, r tstzrange);
alter table public.whole replica identity full;
create table public.whole_counted (
  id integer generated always as identity, a integer,
  twice integer generated always as (a * 2) stored, note text);
alter table public.whole_counted replica identity full;
alter table public.whole_counted alter note set storage external;
create table "Odd ""x"" Schema"."E" (
  "select" text, "new
line" text, "tab\tand \\back" "Odd ""x"" Schema".mood, primary key ("select", "new
line"));
create table public.root (k integer primary key, v text) partition by range (k);
create table public.low partition of public.root for values from (0) to (10);
create table public.high partition of public.root for values from (10) to (100);
create table public.parent (id integer primary key);
create table public.child (id integer primary key references public.parent deferrable);
create table public.elder (id integer primary key);
create table public.younger (primary key (id)) inherits (public.elder);
"""

WORK = (
    (
        "insert into public.plain select g, 'row ' || g, g * 1.10, null, null"
        " from generate_series(1, 300) g"
    ),
    (
        r"insert into public.plain values (1001, E'a\nb\r\n\t''\\ :x $1 %s', 'NaN', '\x00ff0a',"
        """ '{"k": "v\\"q"}'), (1002, '', -0.000, '', 'null')"""
    ),
    "update public.plain set n = n * 2 where id <= 100",
    "update public.plain set id = id + 5000 where id between 101 and 110",
    "delete from public.plain where id between 111 and 120",
    "begin; insert into public.plain values (2001); rollback",
    (
        "begin; insert into public.plain values (2002); savepoint s;"
        " insert into public.plain values (2003); rollback to s; commit"
    ),
    "insert into public.counted (a, note) select g, repeat('n', 9000) from generate_series(1, 9) g",
    "update public.counted set a = a + 10",
    "update public.counted set id = default, note = 'moved' where id = 3",
    "delete from public.counted where id = 4",
    "insert into public.by_made values (1), (2), (3)",
    "update public.by_made set a = a + 100 where a = 1",
    "delete from public.by_made where a = 2",
    (
        "insert into public.whole values"
        " ('192.168.0.1', 0.1, true, 'ab', 'text', '(1,2)', '<a/>', '[2026-01-01,2026-02-01)'),"
        " ('192.168.0.1', 0.1, true, 'ab', 'text', '(1,2)', '<a/>', '[2026-01-01,2026-02-01)'),"
        " (null, '-0', null, '', '', null, null, 'empty')"
    ),
    "update public.whole set t = 'first' where ctid = (select min(ctid) from public.whole)",
    "update public.whole set b = false where b is null",
    "delete from public.whole where i is null",
    "insert into public.whole_counted (a, note) values (1, repeat('w', 9000)), (2, 'short')",
    "update public.whole_counted set a = 7 where a = 1",
    "update public.whole_counted set id = default where a = 7",
    "delete from public.whole_counted where a = 2",
    """insert into "Odd ""x"" Schema"."E" values (E'it''s', E'a\\nb', E'new\\nline')""",
    """insert into "Odd ""x"" Schema"."E" values ('', '', null)""",
    """update "Odd ""x"" Schema"."E" set "select" = E'back\\\\slash' where "select" = 'it''s'""",
    "insert into public.root select g, 'v' from generate_series(1, 20) g",
    "update public.root set k = 50 where k = 5",
    "truncate public.root",
    "insert into public.root values (1, 'after'), (11, 'after')",
    "insert into public.parent values (1), (2); insert into public.child values (1), (2)",
    "truncate public.parent, public.child",
    (
        "begin; set constraints all deferred; insert into public.child values (7);"
        " insert into public.parent values (7); commit"
    ),
    "insert into public.elder values (1); insert into public.younger values (2)",
    "truncate only public.elder",
    "select pg_logical_emit_message(true, 'app', 'hello')",
    "select pg_logical_emit_message(false, 'pgcopydb.complete', 'FF/FF')",
    "begin; select txid_current(); commit",
    "insert into public.plain values (9999)",
)


class Pipe:
    """The three commands of one replication, from a slot of its own."""

    def __init__(self, source: Database, target: Database, plugin: Plugin, home: Path) -> None:
        self.source, self.target, self.plugin = source, target, plugin
        self.environment = clean_environment(home)
        self.slot = f"pipe_{source.name}"
        self.origin = f"pipe_{target.name}"
        if plugin is Plugin.PGOUTPUT:
            source.execute("create publication pgcopydb for all tables")
        source.execute(f"select pg_create_logical_replication_slot('{self.slot}', '{plugin}')")

    @property
    def receive(self) -> list[str]:
        return [
            *("stream", "receive", "--to-stdout", "--slot-name", self.slot),
            *("--source", self.source.conninfo),
        ]

    @property
    def apply(self) -> list[str]:
        return ["stream", "apply", "--target", self.target.conninfo, "--origin", self.origin]

    def receiving(self, *options: str) -> subprocess.Popen[bytes]:
        """Start to receive into a pipe, of which the test is the reader."""
        program = str(Path(sys.executable).with_name("pgcopydb"))
        return subprocess.Popen(
            [program, *self.receive, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
        )

    def run(self, *, receive: Sequence[str] = (), apply: Sequence[str] = ()) -> list[Finished]:
        """Run the pipeline to its end; return how the three commands ended."""
        commands = [
            [*self.receive, *receive],
            ["stream", "transform", "-", "-"],
            [*self.apply, "-", *apply],
        ]
        program = str(Path(sys.executable).with_name("pgcopydb"))
        with ExitStack() as stack:
            processes: list[subprocess.Popen[bytes]] = []
            for command in commands:
                process = subprocess.Popen(
                    [program, *command],
                    stdin=processes[-1].stdout if processes else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=self.environment,
                )
                stack.callback(process.kill)
                if processes:
                    before = processes[-1].stdout
                    assert before is not None
                    before.close()
                    processes[-1].stdout = None
                processes.append(process)
            ended = []
            for process in reversed(processes):
                out, err = process.communicate(timeout=60)
                ended.append(Finished(process.returncode, (out or b"").decode(), err.decode()))
        return ended[::-1]

    def run_to(self, endpos: str) -> None:
        """Run the pipeline to a position, and expect that all goes well."""
        for finished in self.run(receive=["--endpos", endpos], apply=["--endpos", endpos]):
            assert finished.status == 0, finished.stderr

    def progress(self) -> str | None:
        """Return what the target's origin stands at."""
        query = f"select pg_replication_origin_progress('{self.origin}', true)::text"
        return str(self.target.rows(query)[0][0])

    def confirmed(self) -> str:
        query = (
            "select confirmed_flush_lsn::text from pg_replication_slots"
            f" where slot_name = '{self.slot}'"
        )
        return str(self.source.rows(query)[0][0])


@pytest.fixture
def databases(servers: Servers, make_database: MakeDatabase) -> SourceTarget:
    return SourceTarget(
        make_database(servers.get(15, "source"), SCHEMA),
        make_database(servers.get(15, "target"), SCHEMA),
    )


def work_for(plugin: Plugin) -> list[str]:
    """Return the work that a plugin can tell."""
    if plugin is Plugin.PGOUTPUT:  # which leaves generated columns out of the identity, too
        left_out = "update public.by_made", "delete from public.by_made"
        return [statement for statement in WORK if not statement.startswith(left_out)]
    if plugin is Plugin.WAL2JSON:  # which prints NaN as null
        return [*WORK, "update public.plain set n = 1.5 where n = 'NaN'"]
    return list(WORK)


def run_psql(target: Database, script: Path) -> None:
    """Run a script as a person would, where neither triggers nor foreign keys fire."""
    command = [
        *("/usr/lib/postgresql/15/bin/psql", "-qX", "-v", "ON_ERROR_STOP=1"),
        *("-d", target.conninfo, "-f", str(script)),
    ]
    environment = os.environ | {"PGOPTIONS": "-c session_replication_role=replica"}
    ended = subprocess.run(
        command, check=False, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr


def flush_position(database: Database) -> str:
    return str(database.rows("select pg_current_wal_flush_lsn()::text")[0][0])


def work_on(database: Database, statements: Sequence[str] = WORK) -> None:
    with database.connect() as connection:
        for statement in statements:
            connection.execute(statement.encode())


def tables(database: Database, *names: str) -> list[list[tuple[object, ...]]]:
    return [database.rows(f"select * from {name} order by 1") for name in names]


@PLUGINS
def test_the_pipeline_makes_the_target_equal(
    plugin: Plugin, databases: SourceTarget, tmp_path: Path
) -> None:
    source, target = databases.source, databases.target
    pipe = Pipe(source, target, plugin, tmp_path)
    start = pipe.confirmed()
    work_on(source, work_for(plugin))
    endpos = flush_position(source)
    pipe.run_to(endpos)
    assert differing_tables(source, target) == []
    assert pipe.confirmed() == start  # nothing was confirmed
    before = pipe.progress()
    pipe.run_to(endpos)  # everything again: passed over
    assert differing_tables(source, target) == []
    assert pipe.progress() == before


@PLUGINS
def test_psql_runs_what_transform_writes(
    plugin: Plugin, databases: SourceTarget, tmp_path: Path, pgcopydb_command: Pgcopydb
) -> None:
    source, target = databases.source, databases.target
    pipe = Pipe(source, target, plugin, tmp_path)
    work_on(source, work_for(plugin))
    lines = pgcopydb_command(*pipe.receive, "--endpos", flush_position(source)).stdout
    changes, script = tmp_path / "changes.json", tmp_path / "changes.sql"
    changes.write_text(lines)
    assert pgcopydb_command("stream", "transform", changes, script).status == 0
    assert script.stat().st_mode & 0o777 == 0o600
    run_psql(target, script)
    assert differing_tables(source, target) == []


@PLUGINS
def test_the_golden_sql_does_on_a_server_what_was_recorded(
    plugin: Plugin, servers: Servers, make_database: MakeDatabase, pgcopydb_command: Pgcopydb
) -> None:
    """By psql and by apply; wal2json's is left out where it lost NaN."""
    before, after = record.statements()
    setup = ";\n".join(statement.rstrip(";") for statement in before)
    # the work changes this table, which the stream does not tell
    altered = ";alter table public.dropped add column added text default '5'"
    cluster = servers.get(15, "target")
    source = make_database(cluster, setup)
    by_psql, by_apply = (make_database(cluster, setup + altered) for _ in range(2))
    work_on(source, after)
    golden = forms.HERE / f"{plugin}.sql"
    run_psql(by_psql, golden)
    finished = pgcopydb_command("stream", "apply", golden, "--target", by_apply.conninfo)
    assert finished.status == 0, finished.stderr
    lost = {"public.specials"} if plugin is Plugin.WAL2JSON else set()
    for target in (by_psql, by_apply):
        names = {line.partition(":")[0] for line in differing_tables(source, target)}
        # whose updates and deletes no plugin tells
        assert names <= lost | {"public.by_nothing"}


@PLUGINS
def test_a_transaction_counts_by_the_end_of_its_commit(
    plugin: Plugin, databases: SourceTarget, tmp_path: Path, pgcopydb_command: Pgcopydb
) -> None:
    source, target = databases.source, databases.target
    pipe = Pipe(source, target, plugin, tmp_path)
    work_on(source, ["insert into public.plain values (1)", "insert into public.plain values (2)"])
    between = flush_position(source)
    work_on(source, ["insert into public.plain select generate_series(3, 9)"])
    lines = pgcopydb_command(*pipe.receive, "--endpos", flush_position(source)).stdout
    first, second, third = (
        parse_lsn(line["nextlsn"])
        for line in map(json.loads, lines.splitlines())
        if line["action"] == "C"
    )

    def count_up_to(lsn: int) -> int:
        finished = pgcopydb_command(*pipe.receive, "--endpos", format_lsn(lsn))
        assert finished.status == 0, finished.stderr
        return [json.loads(line)["action"] for line in finished.stdout.splitlines()].count("C")

    assert count_up_to(first) == 1  # exactly at a commit
    assert count_up_to(first - 1) == 0  # inside of a commit record
    assert count_up_to(second) == 2
    assert count_up_to(parse_lsn(between)) == 2  # in a gap
    assert count_up_to(third - 20) == 2  # inside of a transaction
    assert count_up_to(third) == 3
    # the same for apply, from text that goes further
    script = tmp_path / "all.sql"
    pgcopydb_command("stream", "transform", "-", script, stdin=lines.encode())
    for lsn, rows in ((first - 1, 0), (first, 1), (third - 1, 2), (third, 9), (third, 9)):
        finished = pgcopydb_command(*pipe.apply, script, "--endpos", format_lsn(lsn))
        assert finished.status == 0, finished.stderr
        assert target.rows("select count(*) from public.plain") == [(rows,)]
    finished = pgcopydb_command(*pipe.apply, script, "--endpos", format_lsn(first))
    assert finished.status == 3
    assert "in the past" in finished.stderr


def test_an_endpos_in_the_past_of_the_slot_is_refused(
    databases: SourceTarget, tmp_path: Path, pgcopydb_command: Pgcopydb
) -> None:
    pipe = Pipe(databases.source, databases.target, Plugin.PGOUTPUT, tmp_path)
    start = parse_lsn(pipe.confirmed())
    assert pgcopydb_command(*pipe.receive, "--endpos", format_lsn(start)).status == 0
    finished = pgcopydb_command(*pipe.receive, "--endpos", format_lsn(start - 1))
    assert finished.status == 3
    assert finished.stderr.startswith("ERROR: endpos")


def test_receive_confirms_what_its_target_has(databases: SourceTarget, tmp_path: Path) -> None:
    source, target = databases.source, databases.target
    pipe = Pipe(source, target, Plugin.PGOUTPUT, tmp_path)
    with_target = ["--target", target.conninfo, "--origin", pipe.origin]
    work_on(source, ["insert into public.plain values (1)"])
    first = flush_position(source)
    pipe.run_to(first)
    work_on(source, ["insert into public.plain values (2)"])
    second = flush_position(source)
    for finished in pipe.run(receive=["--endpos", second, *with_target]):
        assert finished.status == 0, finished.stderr
    assert pipe.confirmed() >= str(pipe.progress()) or pipe.confirmed() == first
    for finished in pipe.run(receive=["--endpos", second, *with_target]):
        assert finished.status == 0, finished.stderr
    assert pipe.confirmed() == pipe.progress()
    assert tables(target, "public.plain") == tables(source, "public.plain")
    # and refuses a slot that somebody else read on
    work_on(source, ["insert into public.plain values (3)"])
    source.execute(f"select pg_replication_slot_advance('{pipe.slot}', pg_current_wal_flush_lsn())")
    receive, *_ = pipe.run(receive=["--endpos", flush_position(source), *with_target])
    assert receive.status == 3
    assert "changes are missing" in receive.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_receive_stops_cleanly_between_transactions(
    number: signal.Signals,
    databases: SourceTarget,
    tmp_path: Path,
    pgcopydb_background: PgcopydbBackground,
) -> None:
    source = databases.source
    pipe = Pipe(source, databases.target, Plugin.PGOUTPUT, tmp_path)
    work_on(source, ["insert into public.plain select generate_series(1, 500)"])
    with pgcopydb_background(*pipe.receive) as running:
        assert wait_for(lambda: running.stdout.count('"action":"C"') == 1)
        work_on(source, ["insert into public.plain values (501)"])
        assert wait_for(lambda: running.stdout.count('"action":"C"') == 2)
        running.send_signal(number)
        finished = running.wait(10)
    assert finished.status == 0, finished.stderr
    assert finished.stdout.endswith("}\n")


def test_a_slow_reader_does_not_end_the_stream(
    servers: Servers, make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster(15, settings={"wal_sender_timeout": "2s"})
    cluster.create_database("app")
    source = Database(cluster, "app")
    source.execute(SCHEMA)
    pipe = Pipe(source, source, Plugin.TEST_DECODING, tmp_path)
    work_on(
        source,
        ["insert into public.plain select g, repeat('x', 500) from generate_series(1, 9000) g"],
    )
    with pipe.receiving("--endpos", flush_position(source)) as process:
        assert process.stdout is not None
        assert process.stdout.read(100)
        # twice the time in which the server must hear something; there is nothing else to see
        time.sleep(5)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert b"again" not in err
    assert out.count(b'"action":"I"') == 9000


def test_receive_stops_also_while_its_reader_stands_still(
    databases: SourceTarget, tmp_path: Path
) -> None:
    """A full pipe keeps it from ending between transactions; it does not wait for ever."""
    source = databases.source
    pipe = Pipe(source, databases.target, Plugin.PGOUTPUT, tmp_path)
    work_on(source, ["insert into public.plain select generate_series(1, 9000)"])
    with pipe.receiving() as process:
        assert process.stdout is not None
        assert process.stdout.read(1000)  # the transaction is being printed
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
        assert process.stderr is not None
        assert b"ERROR: stopped on request" in process.stderr.read()


def test_receive_lets_its_source_shut_down(
    make_cluster: MakeCluster, tmp_path: Path, pgcopydb_background: PgcopydbBackground
) -> None:
    cluster = make_cluster(15)
    cluster.create_database("app")
    source = Database(cluster, "app")
    source.execute(SCHEMA)
    pipe = Pipe(source, source, Plugin.PGOUTPUT, tmp_path)
    other = make_cluster(15)
    target = ["--target", other.conninfo("postgres")]
    with pgcopydb_background(*pipe.receive, *target) as running:
        work_on(source, ["insert into public.plain values (1)"])
        assert wait_for(lambda: '"action":"C"' in running.stdout)
        cluster.stop()
        cluster.start()
        work_on(source, ["insert into public.plain values (2)"])
        assert wait_for(lambda: running.stdout.count('"action":"C"') == 2)
        running.send_signal(signal.SIGTERM)
        assert running.wait(10).status == 0


def test_a_large_transaction_goes_through_whole(databases: SourceTarget, tmp_path: Path) -> None:
    source, target = databases.source, databases.target
    pipe = Pipe(source, target, Plugin.PGOUTPUT, tmp_path)
    work_on(
        source,
        [
            "insert into public.plain values (0)",
            "insert into public.plain select g, repeat('x', 1000) from generate_series(1, 25000) g",
            "update public.plain set t = repeat(E'\\n', 2000000) where id = 7",
        ],
    )
    pipe.run_to(flush_position(source))
    assert differing_tables(source, target) == []


@PLUGINS
def test_through_the_work_directory(
    plugin: Plugin, databases: SourceTarget, tmp_path: Path, pgcopydb_command: Pgcopydb
) -> None:
    """The slot is made elsewhere, as the reference page has it."""
    source, target = databases.source, databases.target
    pipe = Pipe(source, target, plugin, tmp_path)
    start = pipe.confirmed()
    where = ["--dir", str(tmp_path / "work")]
    receive = ["stream", "receive", "--source", source.conninfo, "--slot-name", pipe.slot, *where]
    work_on(source, work_for(plugin))
    endpos = flush_position(source)
    finished = pgcopydb_command(*receive, "--endpos", endpos, "--origin", pipe.origin)
    assert finished.status == 0, finished.stderr
    assert parse_lsn(pipe.confirmed()) > parse_lsn(start)  # what is stored is confirmed
    script = tmp_path / "stored.sql"
    assert pgcopydb_command("stream", "transform", *where).stdout
    printed = pgcopydb_command("stream", "apply", "--target", "-", *where)
    assert printed.status == 0, printed.stderr
    script.write_text(printed.stdout)
    finished = pgcopydb_command(*pipe.apply, script, "--endpos", endpos)
    assert finished.status == 0, finished.stderr
    assert differing_tables(source, target) == []
    again = pgcopydb_command(*receive)
    assert again.status == 3
    assert "--resume" in again.stderr


def test_stored_changes_are_applied(
    databases: SourceTarget, tmp_path: Path, pgcopydb_command: Pgcopydb
) -> None:
    source, target = databases.source, databases.target
    pipe = Pipe(source, target, Plugin.WAL2JSON, tmp_path)
    where = ["--dir", str(tmp_path / "work")]
    receive = ["stream", "receive", "--source", source.conninfo, "--slot-name", pipe.slot, *where]
    work_on(source, [WORK[0], *WORK[2:7]])
    finished = pgcopydb_command(*receive, "--endpos", flush_position(source))
    assert finished.status == 0, finished.stderr
    for _ in range(2):
        finished = pgcopydb_command("stream", "apply", "--target", target.conninfo, *where)
        assert finished.status == 0, finished.stderr
        assert differing_tables(source, target) == []


def test_foreign_keys_and_triggers_of_the_target_stay_silent(
    databases: SourceTarget, tmp_path: Path
) -> None:
    source, target = databases.source, databases.target
    pipe = Pipe(source, target, Plugin.PGOUTPUT, tmp_path)
    target.execute(
        "create function public.refuse() returns trigger language plpgsql as"
        " $$ begin raise 'fired'; end $$;"
        " create trigger refuse before insert on public.plain for each row"
        " execute function public.refuse()"
    )
    work_on(source, ["insert into public.plain values (1)"])
    pipe.run_to(flush_position(source))
    assert target.rows("select id from public.plain") == [(1,)]


# -- what can be wrong -----------------------------------------------------------------------------


@pytest.fixture
def changes(
    databases: SourceTarget, tmp_path: Path, pgcopydb_command: Pgcopydb
) -> tuple[Pipe, list[str]]:
    """A pipe, and the SQL of three transactions as lines."""
    pipe = Pipe(databases.source, databases.target, Plugin.PGOUTPUT, tmp_path)
    work_on(
        databases.source,
        [
            "insert into public.plain values (1), (2)",
            "update public.plain set t = 'two' where id = 2",
            "delete from public.plain where id = 1",
        ],
    )
    endpos = flush_position(databases.source)
    lines = pgcopydb_command(*pipe.receive, "--endpos", endpos).stdout
    text = pgcopydb_command("stream", "transform", "-", stdin=lines.encode()).stdout
    return pipe, text.splitlines(keepends=True)


Changes = tuple[Pipe, list[str]]


def test_an_input_that_breaks_off_is_applied_as_far_as_it_is_whole(
    changes: Changes, pgcopydb_command: Pgcopydb
) -> None:
    pipe, lines = changes
    update = next(n for n, line in enumerate(lines) if line.startswith("UPDATE"))
    for cut in ("".join(lines[: update + 1]), "".join(lines[:update]) + lines[update][:30]):
        finished = pgcopydb_command(*pipe.apply, "-", stdin=cut.encode())
        assert finished.status == 12
        assert (
            "ends in the middle of transaction" in finished.stderr or "not SQL" in finished.stderr
        )
        assert "Traceback" not in finished.stderr
        assert pipe.target.rows("select id, t from public.plain order by 1") == [
            (1, None),
            (2, None),
        ]
    finished = pgcopydb_command(*pipe.apply, "-", stdin="".join(lines).encode())
    assert finished.status == 0
    assert differing_tables(pipe.source, pipe.target) == []


def test_an_input_that_ends_before_endpos_is_not_success(
    changes: Changes, pgcopydb_command: Pgcopydb
) -> None:
    pipe, lines = changes
    whole = "".join(line for line in lines if not line.startswith('-- {"complete"'))
    beyond = ["--endpos", "FF/0"]
    finished = pgcopydb_command(*pipe.apply, "-", *beyond, stdin=whole.encode())
    assert finished.status == 3
    assert "ends before endpos" in finished.stderr
    assert differing_tables(pipe.source, pipe.target) == []  # all there was is applied


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        ("drop table public.plain;", "line 1 is not SQL"),
        ("INSERT INTO public.plain VALUES (77);", "line 1 is a statement outside"),
        ("BEGIN;", "line 1 is not SQL"),
        ("BEGIN; -- {}", "line 1 begins a transaction without saying which"),
        ('BEGIN; -- {"xid":1,"lsn":"nowhere"}', "line 1 begins a transaction without saying"),
        ('COMMIT; -- {"xid":1,"lsn":"0/1"}', "line 1 ends another transaction"),
        ("\x00\x01", "line 1 is not SQL"),
    ],
)
def test_apply_takes_nothing_but_what_transform_wrote(
    first: str, complaint: str, changes: Changes, pgcopydb_command: Pgcopydb
) -> None:
    pipe, lines = changes
    text = f"{first}\n{''.join(lines)}"
    finished = pgcopydb_command(*pipe.apply, "-", stdin=text.encode())
    assert finished.status == 12
    assert complaint in finished.stderr
    assert "Traceback" not in finished.stderr
    assert pipe.target.rows("select count(*) from public.plain") == [(0,)]


@pytest.mark.parametrize(
    "line",
    [
        "ROLLBACK;",
        "COMMIT;",
        "INSERT INTO public.plain VALUES (78); COMMIT; INSERT INTO public.plain VALUES (79);",
        "SET session_replication_role = origin;",
        "",
        "\\! touch /tmp/x",
    ],
)
def test_no_line_leaves_its_transaction(
    line: str, changes: Changes, pgcopydb_command: Pgcopydb
) -> None:
    pipe, lines = changes
    first = next(n for n, text in enumerate(lines) if text.startswith("INSERT"))
    lines.insert(first + 1, f"{line}\n")
    finished = pgcopydb_command(*pipe.apply, "-", stdin="".join(lines).encode())
    assert finished.status in {7, 12}
    assert "Traceback" not in finished.stderr
    assert pipe.target.rows("select count(*) from public.plain") == [(0,)]


def test_a_conflict_is_named(changes: Changes, pgcopydb_command: Pgcopydb) -> None:
    pipe, lines = changes
    text = "".join(lines).encode()
    pipe.target.execute("insert into public.plain values (2, 'mine')")
    finished = pgcopydb_command(*pipe.apply, "-", stdin=text)
    assert finished.status == 7
    number = 1 + max(n for n, line in enumerate(lines) if line.startswith("INSERT"))
    assert 'INSERT on "public"."plain" of source transaction ' in finished.stderr
    assert f"(stdin, line {number})" in finished.stderr
    assert "duplicate key" in finished.stderr
    pipe.target.execute(
        "truncate public.plain;"
        "create function public.lose() returns trigger language plpgsql as"
        " $$ begin delete from public.plain where id = 2; return null; end $$;"
        "create trigger lose after insert on public.plain for each statement"
        " execute function public.lose(); alter table public.plain enable always trigger lose"
    )
    finished = pgcopydb_command(*pipe.apply, "-", stdin=text)
    assert finished.status == 7
    assert (
        """UPDATE on "public"."plain" where "id" = '2' of source transaction""" in finished.stderr
    )
    assert "affected 0 rows instead of 1" in finished.stderr
    assert pipe.target.rows("select count(*) from public.plain") == [(0,)]


def test_an_origin_of_something_else_is_refused(
    changes: Changes, pgcopydb_command: Pgcopydb
) -> None:
    pipe, lines = changes
    text = "".join(lines).encode()
    pipe.target.execute(
        f"select pg_replication_origin_create('{pipe.origin}');"
        f"select pg_replication_origin_advance('{pipe.origin}', 'F/0')"
    )
    finished = pgcopydb_command(*pipe.apply, "-", stdin=text)
    assert finished.status == 3
    assert "--origin" in finished.stderr


def test_changes_of_another_source_are_refused(
    changes: Changes, pgcopydb_command: Pgcopydb
) -> None:
    pipe, lines = changes
    assert pgcopydb_command(*pipe.apply, "-", stdin="".join(lines).encode()).status == 0
    other = "".join(
        '-- {"source":"1/2"}\n' if line.startswith('-- {"source"') else line for line in lines
    )
    finished = pgcopydb_command(*pipe.apply, "-", stdin=other.encode())
    assert finished.status == 3
    assert "another source database" in finished.stderr


def test_two_applies_of_one_origin_do_not_meet(
    changes: Changes, pgcopydb_background: PgcopydbBackground, pgcopydb_command: Pgcopydb
) -> None:
    pipe, lines = changes
    text = "".join(lines).encode()
    with pgcopydb_background(*pipe.apply, "-", stdin_pipe=True) as running:
        running.stdin.write(text)
        running.stdin.flush()
        query = "select count(*) from public.plain where t = 'two'"
        assert wait_for(lambda: pipe.target.rows(query) == [(1,)])
        finished = pgcopydb_command(*pipe.apply, "-", stdin=text)
        assert finished.status == 3
        assert "in use" in finished.stderr
        running.stdin.close()
        assert running.wait().status == 0


def test_a_repeated_input_is_passed_over(changes: Changes, pgcopydb_command: Pgcopydb) -> None:
    pipe, lines = changes
    twice = ("".join(lines) * 2).encode()
    finished = pgcopydb_command(*pipe.apply, "-", "--verbose", stdin=twice)
    assert finished.status == 0, finished.stderr
    assert "goes back" in finished.stderr
    assert differing_tables(pipe.source, pipe.target) == []


def test_a_killed_apply_goes_on_where_its_origin_is(
    changes: Changes, pgcopydb_background: PgcopydbBackground, pgcopydb_command: Pgcopydb
) -> None:
    pipe, lines = changes
    text = "".join(lines).encode()
    begin = text.index(b"BEGIN; --", text.index(b"UPDATE"))
    with pgcopydb_background(*pipe.apply, "-", stdin_pipe=True) as running:
        running.stdin.write(text[: begin + 150])
        running.stdin.flush()
        query = "select count(*) from public.plain"
        assert wait_for(lambda: pipe.target.rows(query) == [(2,)] or not running.is_running)
        running.kill_all()
    finished = pgcopydb_command(*pipe.apply, "-", stdin=text)
    assert finished.status == 0, finished.stderr
    assert differing_tables(pipe.source, pipe.target) == []


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ('{"action":"B","xid":1}\n{"action":"I"', "stdin, line 2: it is not a JSON line"),
        ('{"action":"X"}\n', "stdin, line 1: it is not a JSON line"),
        ("INSERT INTO\n", "stdin, line 1: it is not a JSON line"),
        ('{"action":"C","xid":1,"nextlsn":"0/1"}\n', "without its begin"),
        ('{"action":"B","xid":1}\n{"action":"B","xid":2}\n', "stdin, line 2: transaction 1 has"),
        ('{"action":"B","xid":1}\n', "ends in the middle of transaction 1"),
        (
            '\n{"action":"T","schema":"s","table":"t"}\n',
            "stdin, line 2: a change outside of a transaction",
        ),
    ],
)
def test_transform_names_the_line_that_is_wrong(
    lines: str, complaint: str, tmp_path: Path, pgcopydb_command: Pgcopydb
) -> None:
    finished = pgcopydb_command("stream", "transform", "-", "-", stdin=lines.encode())
    assert finished.status == 12
    assert complaint in finished.stderr
    assert "Traceback" not in finished.stderr
    assert "BEGIN" not in finished.stdout
    # and leaves no file that looks complete
    source, script = tmp_path / "in.json", tmp_path / "out.sql"
    source.write_text(lines)
    assert pgcopydb_command("stream", "transform", source, script).status == 12
    assert sorted(path.name for path in tmp_path.glob("*.sql*")) == []


def test_files_that_cannot_be_used(tmp_path: Path, pgcopydb_command: Pgcopydb) -> None:
    missing = pgcopydb_command("stream", "transform", tmp_path / "nothing", "-")
    assert missing.status == 1
    assert "cannot be read" in missing.stderr
    assert pgcopydb_command("stream", "transform", tmp_path, "-").status == 1
    nowhere = tmp_path / "no" / "where"
    source = tmp_path / "in.json"
    source.write_text("")
    refused = pgcopydb_command("stream", "transform", source, nowhere)
    assert refused.status == 2
    assert "cannot be written" in refused.stderr


def test_slots_that_cannot_be_used(
    databases: SourceTarget, tmp_path: Path, pgcopydb_command: Pgcopydb
) -> None:
    source = databases.source
    pipe = Pipe(source, databases.target, Plugin.WAL2JSON, tmp_path)
    receive = ["stream", "receive", "--to-stdout", "--source", source.conninfo, "--endpos", "0/1"]
    missing = pgcopydb_command(*receive, "--slot-name", "nothing")
    assert missing.status == 3
    assert '"nothing" does not exist' in missing.stderr
    other = pgcopydb_command(*receive, "--slot-name", pipe.slot, "--plugin", "pgoutput")
    assert other.status == 3
    assert "uses the output plugin wal2json" in other.stderr
    source.execute("create table public.keyless (a integer)")
    keyless = pgcopydb_command(*receive, "--slot-name", pipe.slot)
    assert keyless.status == 2
    assert "public.keyless" in keyless.stderr
    source.execute("select pg_create_logical_replication_slot('published', 'pgoutput')")
    unpublished = pgcopydb_command(*receive, "--slot-name", "published")
    assert unpublished.status == 2
    assert 'publication "pgcopydb" does not exist' in unpublished.stderr
    directory = ["--dir", str(tmp_path / "work")]
    adopted = pgcopydb_command(
        "stream", "receive", "--source", source.conninfo, "--slot-name", "nothing", *directory
    )
    assert adopted.status == 3


def test_a_reader_that_leaves_ends_receive(databases: SourceTarget, tmp_path: Path) -> None:
    source = databases.source
    pipe = Pipe(source, databases.target, Plugin.PGOUTPUT, tmp_path)
    work_on(source, ["insert into public.plain select generate_series(1, 5000)"])
    with pipe.receiving() as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 141
        assert b"Traceback" not in process.stderr.read()


# -- values ----------------------------------------------------------------------------------------


def test_literals_mean_the_same_bytes_on_a_server(pg15: Cluster) -> None:
    random = Random(7)
    texts = [values.text(random).encode() for _ in range(2000)]
    texts += [bytes([code]) for code in range(1, 128)]
    with pg15.connect() as connection:
        for setting in ("on", "off"):
            connection.execute(f"set standard_conforming_strings to {setting}".encode())
            connection.execute("set escape_string_warning to off")
            for some in (texts[n : n + 100] for n in range(0, len(texts), 100)):
                wanted = [text.decode() for text in some]
                query = b"select array[" + b", ".join(map(literal, some)) + b"]::text[]"
                assert b"\n" not in query
                assert connection.execute(query).fetchall() == [(wanted,)]


def test_names_mean_the_same_on_a_server(pg15: Cluster) -> None:
    names = [
        "plain",
        "UPPER",
        'q"q',
        "back\\slash",
        'new\nline\t\\"',
        " ",
        "ünï",
        "\x7f\x01",
        "%s :x",
    ]
    query = b"select " + b", ".join(b"1 as " + identifier(name) for name in names)
    assert b"\n" not in query
    with pg15.connect() as connection:
        description = connection.execute(query).description
    assert description is not None
    assert [column.name for column in description] == names
