"""Secrets stay where they belong, and nobody hears of one but the server that it is for."""

import os
import re
import signal
import socket
import stat
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgcopydb.cli import main
from pgcopydb.demo.places import LOOPBACK, traversable_temporary_directory
from pgcopydb.errors import DifferencesFound
from pgcopydb.model.endpoint import Side
from tests.support import canaries
from tests.support.clock import wait_for
from tests.support.commands import Pgcopydb, PgcopydbBackground, Running
from tests.support.requirements import missing
from tests.support.servers import Database, MakeCluster, SourceTarget
from tests.support.steps import Stream

SOURCE_SECRET = "canary-of-the-source-Zq7"
TARGET_SECRET = "canary-of-the-target-Zq7"
CANARY = b"Zq7"

_NOBODY = 65534


class Watch:
    """Looks at every process of a session again and again; a context manager."""

    def __init__(self, session: int) -> None:
        self._session = session
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.leaks: set[str] = set()
        self.programs: set[str] = set()

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _look(self) -> None:
        while not self._stop.wait(0.005):
            for folder in Path("/proc").iterdir():
                if folder.name.isdecimal():
                    with suppress(OSError, IndexError):
                        self._look_at(folder)

    def _look_at(self, folder: Path) -> None:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        if int(fields[3]) != self._session:
            return
        command = (folder / "cmdline").read_bytes()
        program = Path(os.fsdecode(command.split(b"\0")[0])).name
        self.programs.add(program)
        if CANARY in command:
            self.leaks.add(f"arguments of {program}")
        # What the user gave in the environment stays there for this program's own processes only.
        if program.startswith("pg_") and CANARY in (folder / "environ").read_bytes():
            self.leaks.add(f"environment of {program}")


def contents(folder: Path) -> dict[Path, bytes]:
    """Return the files below a folder that do not go away just then."""
    found = {}
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError, IsADirectoryError):
            found[path] = path.read_bytes()
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
def test_a_whole_migration_shows_no_secret(
    make_cluster: MakeCluster,
    pgcopydb_background: PgcopydbBackground,
    pgcopydb_command: Pgcopydb,
    tmp_path: Path,
) -> None:
    source = make_cluster(16, password=SOURCE_SECRET)
    target = make_cluster(18, password=TARGET_SECRET)
    with source.connect() as connection:
        connection.execute(
            "do $$ begin for n in 1..50 loop"
            " execute format('create table t%s (id integer primary key)', n); end loop; end $$"
        )
    work = tmp_path / "work"
    variables = {
        "PGCOPYDB_SOURCE_PGURI": source.conninfo(),
        "PGCOPYDB_TARGET_PGURI": target.conninfo(),
        "PGCOPYDB_LOG_JSON_FILE": str(tmp_path / "log.json"),
    }
    words = ["clone", "--follow", "--trace", "--dir", str(work)]
    with pgcopydb_background(*words, env=variables) as running, Watch(running.pid) as watch:
        assert wait_for(lambda: "applying" in running.stderr or not running.is_running, seconds=60)
        at_work = contents(work)
        set_end = ["stream", "sentinel", "set", "endpos", "--current", "--dir", str(work)]
        assert pgcopydb_command(*set_end, env=variables).status == 0
        finished = running.wait(60)
    assert finished.status == 0, finished.stderr
    assert watch.programs & {"pg_dump", "pg_restore"}  # either may be over between two looks
    assert watch.leaks == set()
    assert CANARY.decode() not in finished.stdout + finished.stderr
    texts = [*at_work.items(), *contents(tmp_path).items()]
    assert [path for path, text in texts if CANARY in text] == []
    modes = {path.stat().st_mode & 0o077 for path in (work, *work.rglob("*"))}
    assert modes == {0}


def test_under_no_umask_in_an_odd_place_everything_is_private(
    source_target: SourceTarget,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
) -> None:
    """Parents that the command makes too; the commands that steer it have no umask either."""
    pair = source_target
    pair.source.execute("create table item (id integer primary key); insert into item values (1)")
    top = tmp_path / "a ü b"
    stream = Stream(pair, top / "it's %d\\ #", pgcopydb_command, pgcopydb_background)
    os.umask(0)
    with stream.start("clone", "--follow") as running:
        assert wait_for(lambda: "applying" in running.stderr or not running.is_running, seconds=60)
        pair.source.execute("insert into item values (2)")
        at_work = modes(top)
        stream.set_endpos()
        finished = running.wait(60)
    assert finished.status == 0, finished.stderr
    stream.assert_equal()
    stream.run("compare", "data")
    stream.run("stream", "cleanup")
    assert {path.name for path in at_work} >= {"schema", "cdc", "catalogue.db", "apply.lock"}
    for path, mode in [*at_work.items(), *modes(top).items()]:
        assert mode == (stat.S_IFDIR | 0o700 if stat.S_ISDIR(mode) else stat.S_IFREG | 0o600), path


def modes(folder: Path) -> dict[Path, int]:
    """Return the modes of a folder, and of what is below it and does not go away just then."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):
            found[path] = path.lstat().st_mode
    return found


ORDINARY = """
create table item (id integer primary key, name text check (name <> ''), price numeric unique);
insert into item select g, 'item ' || g, g / 7.0 from generate_series(1, 500) g;
create table keyless (a text, b jsonb);
alter table keyless replica identity full;
create table part (id bigserial, day date, primary key (id, day)) partition by range (day);
create table part_1 partition of part for values from ('2026-01-01') to ('2026-07-01');
create index part_day on part (day, (id % 10));
create table child (id integer primary key references item on delete cascade);
create view names as select upper(name) as name from item;
create materialized view totals as select sum(price) as total from item;
create sequence tickets;
select nextval('tickets'), lo_from_bytea(0, 'large');
"""

CHANGES = """
insert into public.item values (1000, 'new', 5.5), (1001, 'newer', 6.5);
insert into public.part (day) values ('2026-03-03');
insert into public.keyless values ('a', '{}'), ('a', '{}'), (null, null);
begin; set local search_path to pg_catalog;
update public.item set price = price + 1000 where id between 10 and 20;
update public.item set id = 2000 where id = 1001;
delete from public.item where id > 450 and id < 500;
delete from public.keyless where ctid = (select min(ctid) from public.keyless);
commit;
"""


@pytest.mark.parametrize("source_target", [(16, 18, ORDINARY)], indirect=True)
def test_what_hides_behind_names_of_the_servers_own_is_never_run(
    stream: Stream, tmp_path: Path, pgcopydb_command: Pgcopydb
) -> None:
    """A whole migration, between databases whose sessions would find hostile operators first."""
    pair = stream.pair
    canaries.plant(pair.source)
    canaries.expect(pair.target)
    for kind in ("tables", "sequences", "indexes", "depends", "extensions", "collations"):
        listed = pgcopydb_command("list", kind, *pair.options[:2], "--dir", str(tmp_path / "list"))
        assert listed.status == 0, listed.stderr
    stream.run("check", "--follow")
    with stream.migrating():
        pair.source.execute(CHANGES)
    stream.run("compare", "schema")
    stream.run("compare", "data")
    stream.run("stream", "cleanup")
    assert pair.target.rows("select name from public.names")[-1:] != []
    for database in (pair.source, pair.target):
        assert canaries.fired(database) == []
        with pytest.raises(Exception, match="canary: = runs as postgres"):
            database.execute("select 1 = 1")
        assert canaries.fired(database) != []


TYPED = """
create type mood as enum ('sad', 'ok', 'happy');
create type pair as (a integer, b text);
create type span as range (subtype = integer);
create table feeling (id integer primary key, m mood, p pair, s span, l mood[]);
create table by_mood (m mood primary key, s span unique, n integer);
create table whole (m mood, p pair, s span, l mood[]);
create index on feeling (m);
alter table whole replica identity full;
insert into feeling select g, 'ok', row (g, 'b')::pair, span(g, g + 1), '{sad,ok}'
  from generate_series(1, 2000) g;
insert into by_mood values ('sad', '[1,2)', 1), ('ok', '[2,3)', 2);
insert into whole values ('sad', '(1,x)', '[1,2)', '{ok}');
insert into whole (m) values ('ok'), ('ok');
"""

TYPED_CHANGES = """
insert into feeling values (3000, 'happy', '(1,)', '[1,5)', '{}');
insert into feeling (id) values (3001);
update feeling set m = 'sad', p = '(7,z)', s = '[8,9)', l = '{happy}' where id between 10 and 200;
delete from feeling where id > 1900 and id < 2000;
insert into by_mood values ('happy', null, 3);
update by_mood set n = 20, s = '[7,9)' where n = 2;
delete from by_mood where n = 1;
update whole set p = '(2,y)' where s is not null;
delete from whole where ctid = (select min(ctid) from whole where p is null);
insert into whole values (null, '(3,)', '[5,6)', '{sad,happy}');
"""


@pytest.mark.parametrize(
    ("source_target", "plugin"),
    [((16, 18, TYPED), "pgoutput"), ((15, 18, TYPED), "test_decoding")],
    indirect=["source_target"],
    ids=["pgoutput", "test_decoding"],
)
def test_casts_of_the_owners_of_types_are_never_called(
    stream: Stream, pgcopydb_command: Pgcopydb
) -> None:
    """They are copied with the types, so that both sides have them all the time."""
    pair = stream.pair
    canaries.plant_casts(pair.source, ("mood", "pair", "span", "mood[]"))
    stream.run("check", "--follow", "--plugin", stream.plugin)
    with stream.migrating("--split-tables-larger-than", "50kB"):
        pair.source.execute(TYPED_CHANGES)
    stream.run("compare", "schema")
    stream.run("compare", "data")
    pair.target.execute("set session_replication_role = replica; delete from feeling where id = 5")
    pair.target.execute("update by_mood set n = 0")
    pair.target.execute("delete from whole where m is null")
    different = pgcopydb_command("compare", "data", *pair.options)
    assert different.status == DifferencesFound.exit_code, different.stderr
    assert "canary" not in different.stderr
    stream.run("stream", "cleanup")
    for database in (pair.source, pair.target):
        assert canaries.fired(database) == []
        with pytest.raises(Exception, match="canary: mood as text runs as postgres"):
            database.execute("select m::text from by_mood")
        assert canaries.fired(database) != []


TAKEN_FOR = {
    "table": "create table taken (id bigint primary key, is_called boolean);"
    "insert into taken select g, true from generate_series(1, 1000) g",
    "sequence": "create sequence taken; select nextval('taken')",
}

TRAP = """
create function trap() returns bigint language plpgsql as $$begin
  raise log 'the trap of % runs as %', current_database(), current_user;
  return 1;
end$$
"""


@contextmanager
def swapping(database: Database, kind: str) -> Iterator[psycopg.Connection[Any]]:
    """Have a view with a trap stand in the place of ``taken`` as soon as the session commits.

    Whoever would read it waits for the session until then, and takes what has its name afterwards.
    """
    database.execute(TRAP)
    with database.connect() as owner:
        owner.execute(
            f"begin; drop {kind} taken;"
            "create view taken as select trap() as id, true as is_called, trap() as last_value,"
            " '(0,1)'::tid as ctid".encode()
        )
        yield owner


def commit_before(owner: psycopg.Connection[Any], running: Running, database: Database) -> None:
    """Commit while one of the command's sessions waits for what the owner has changed."""
    waiting = (
        "select from pg_stat_activity where wait_event_type = 'Lock' and"
        " datname = current_database() and application_name ~ '^pg(copydb|_dump)'"
    )
    assert wait_for(lambda: database.rows(waiting) != [] or not running.is_running, seconds=60), (
        running.stderr
    )
    assert running.is_running, running.stderr
    owner.execute("commit")


def assert_no_trap_ran(database: Database) -> None:
    assert f"the trap of {database.name} runs as" not in database.cluster.log
    assert database.rows("select is_called from taken") == [(True,)]
    assert f"the trap of {database.name} runs as" in database.cluster.log


@pytest.mark.parametrize(
    ("kind", "status", "said"),
    [
        ("table", 3, "source: tables changed after the snapshot was taken: public.taken was"),
        ("sequence", 6, "source: reading sequences failed: access to non-system view"),
    ],
)
def test_a_view_in_the_place_of_what_is_copied_is_not_read(
    kind: str,
    status: int,
    said: str,
    source_target: SourceTarget,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
) -> None:
    """It comes between the listing and the lock, or the read where nothing can be locked."""
    pair = source_target
    pair.source.execute(TAKEN_FOR[kind])
    stream = Stream(pair, tmp_path / "work", pgcopydb_command, pgcopydb_background)
    with swapping(pair.source, kind) as owner, stream.start("clone") as running:
        commit_before(owner, running, pair.source)
        finished = running.wait(60)
    # The check is beside the locks, and may be the first to find something else there.
    refused = "ERROR: the source role may not read public.taken" in finished.stderr
    assert finished.status == (2 if refused else status), finished.stderr
    assert refused or f"ERROR: {said}" in finished.stderr
    assert_no_trap_ran(pair.source)


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(
    ("kind", "command", "doing"),
    [
        ("table", "compare data", "reading public.taken"),
        ("sequence", "copy sequences", "reading sequences"),
    ],
)
def test_a_view_in_the_place_of_what_is_compared_or_set_is_not_read(
    side: Side,
    kind: str,
    command: str,
    doing: str,
    source_target: SourceTarget,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
) -> None:
    """On either side: also on the target its owner may be somebody with fewer rights."""
    pair = source_target
    database = pair.source if side is Side.SOURCE else pair.target
    stream = Stream(pair, tmp_path / "work", pgcopydb_command, pgcopydb_background)
    stream.both(TAKEN_FOR[kind])
    words = [*command.split(), *pair.options]
    if command.startswith("copy"):
        words += ["--dir", str(tmp_path / "work")]
    with swapping(database, kind) as owner, pgcopydb_background(*words) as running:
        commit_before(owner, running, database)
        finished = running.wait(60)
    assert finished.status not in {0, 1}, finished.stderr
    assert re.search(f"ERROR: {side}: {doing}.* failed: access to non-system view", finished.stderr)
    assert_no_trap_ran(database)


@contextmanager
def curious_server() -> Iterator[tuple[int, list[bytes]]]:
    """Ask everybody who connects for the password in clear; give the port and what was said."""
    said: list[bytes] = []
    with socket.create_server((LOOPBACK, 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client, suppress(OSError, struct.error):
                        client.settimeout(5)
                        _ask_for_password(client, said)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], said
        server.shutdown(socket.SHUT_RDWR)


def _ask_for_password(client: socket.socket, said: list[bytes]) -> None:
    while True:
        (length,) = struct.unpack("!I", client.recv(4))
        (code,) = struct.unpack("!I", client.recv(4))
        if code not in {80877103, 80877104}:
            break
        client.sendall(b"N")
    client.recv(length)
    client.sendall(b"R" + struct.pack("!II", 8, 3))
    said.append(client.recv(1000))


@pytest.mark.parametrize("curious", list(Side))
def test_a_server_is_not_offered_the_others_secret(
    curious: Side, make_cluster: MakeCluster, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    honest = make_cluster(16, password=TARGET_SECRET)
    with curious_server() as (port, said):
        sides = {side: honest.conninfo() for side in Side}
        sides[curious] = f"host={LOOPBACK} port={port} user=postgres dbname=x connect_timeout=5"
        options = [word for side in Side for word in (f"--{side}", sides[side])]
        for words in (["ping", "--retry-for", "0"], ["check"], ["clone", "--dir", tmp_path / "w"]):
            finished = pgcopydb_command(*words, *options)
            assert finished.status in {2, 6, 7}, finished.stderr
            assert CANARY.decode() not in finished.stderr + finished.stdout
    assert [word for word in said if CANARY in word] == []


def test_a_host_of_a_list_is_not_offered_the_secret_of_another(
    make_cluster: MakeCluster, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    """By a password file, which has a line for the second host only."""
    honest = make_cluster(16, password=SOURCE_SECRET)
    honest.create_database("other")
    passwords = tmp_path / "passwords"
    passwords.write_text(f"{LOOPBACK}:{honest.port}:*:postgres:{SOURCE_SECRET}\n")
    passwords.chmod(0o600)
    with curious_server() as (port, said):
        hosts = f"host={LOOPBACK},{LOOPBACK} port={port},{honest.port} user=postgres"
        options = ["--source", f"{hosts} dbname=postgres", "--target", f"{hosts} dbname=other"]
        work = ["--dir", str(tmp_path / "work")]
        for words in (["ping"], ["clone", *work], ["compare", "data", *work]):
            finished = pgcopydb_command(*words, *options, env={"PGPASSFILE": str(passwords)})
            assert finished.status == 0, finished.stderr
    assert said
    assert set(said) == {b""}


def test_another_user_of_the_machine_neither_steers_nor_reads(
    source_target: SourceTarget, tmp_path: Path, pgcopydb_background: PgcopydbBackground
) -> None:
    """Where the way to the directory is open to all: the directory itself is not."""
    if os.geteuid() != 0:
        missing("only root can run a command as another user")
    with tempfile.TemporaryDirectory(dir=traversable_temporary_directory()) as folder:
        Path(folder).chmod(0o755)
        work = Path(folder) / "work"
        words = ("clone", "--follow", *source_target.options, "--dir", str(work))
        with pgcopydb_background(*words) as running:
            assert wait_for(lambda: "applying" in running.stderr or not running.is_running)
            before = {path: path.lstat().st_mode for path in (work, *work.rglob("*"))}
            # What a command imports may be root's own, and has to be there before.
            for module in ("cdc.lag", "cdc.steering", "cli.render", "cli.stream"):
                import_module(f"pgcopydb.{module}")
            for steer in (("set", "endpos", "0/1"), ("set", "apply"), ("get", "--endpos")):
                told = as_nobody(main.run, ["stream", "sentinel", *steer, "--dir", str(work)])
                (line,) = (one for one in told.splitlines() if "HINT" not in one)
                assert line.startswith("ERROR: "), told
                assert str(work) in line
            for path, mode in before.items():
                reading = os.listdir if stat.S_ISDIR(mode) else Path.read_bytes
                assert "PermissionError" in as_nobody(reading, path), path
            assert running.is_running, running.stderr
            running.send_signal(signal.SIGTERM)


def as_nobody(function: Callable[[Any], object], argument: Any) -> str:
    """Return what a process of another user says on stderr, or the error that it ends with."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        sys.stderr = os.fdopen(writing, "w", buffering=1)
        try:
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
            function(argument)
        except BaseException as error:
            sys.stderr.write(type(error).__name__)
        finally:
            sys.stderr.flush()
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        text = said.read().decode()
    os.waitpid(child, 0)
    return text
