"""pg_dump and pg_restore: found, run with chosen entries, and never left running."""

import os
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from pgcopydb.errors import ConfigurationError, ExternalToolError
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.options import CopyOptions
from pgcopydb.pgtools import process
from pgcopydb.pgtools.dump import dump_schema
from pgcopydb.pgtools.find import Tools, find_tools
from pgcopydb.pgtools.process import run_tool
from pgcopydb.pgtools.restore import Section, check_archive, list_archive, restore_entries
from pgcopydb.postgres.children import child_environment
from pgcopydb.postgres.durability import make_durable
from pgcopydb.rules.toc import TocEntry
from tests.support.servers import Database, MakeCluster, SourceTarget, bindir

SCHEMA = """
create schema "Odd S";
create type public.mood as enum ('a', 'b');
create table public.p (id int primary key, v text unique);
alter table public.p alter v set (n_distinct = 5);
create table public.c (
  id serial primary key, pid int references public.p, m public.mood, b money default 1.5
);
create index c_m on public.c (m);
comment on index public.c_m is 'comment';
create table "Odd S"."a
b ; x" (i int primary key);
create function public.trg() returns trigger language plpgsql as 'begin return new; end';
create trigger tr before insert on public.c for each row execute function public.trg();
create view public.vw as select id from public.c;
create publication pgcopydb for table public.p;
create publication theirs for table public.p;
create schema pgcopydb;
create table pgcopydb.marker (i int);
"""

# A database's clone has not its subscriptions, so it stands not in the template.
SUBSCRIPTION = """
create subscription sub connection 'host=127.0.0.1 password=s3cret' publication x
  with (connect = false, slot_name = none);
"""


RESTORED = """
select 'relation', relname::text from pg_class where relname in ('c', 'c_m', 'vw', 'p')
union all select 'publication', pubname from pg_publication
union all select 'schema', nspname from pg_namespace where nspname in ('pgcopydb', 'Odd S')
union all select 'option', o from pg_attribute, unnest(attoptions) as o where o ~ 'n_distinct'
union all select 'trigger', tgname from pg_trigger where not tgisinternal
union all select 'index comment', obj_description('public.c_m'::regclass)
union all select 'subscription', subname from pg_subscription
  where subdbid = (select oid from pg_database where datname = current_database())
order by 1, 2
"""


def facts(database: Database) -> int:
    with database.connect() as connection:
        return connection.info.server_version


def dumped(source: Database, tools: Tools, folder: Path) -> Path:
    archive = folder / "schema.dump"
    with child_environment(source.endpoint(Side.SOURCE), folder) as access:
        dump_schema(tools, access, None, archive)
    return archive


def is_of_capture(entry: TocEntry) -> bool:
    return entry.kind.startswith("PUBLICATION") and entry.name.startswith("pgcopydb")


@pytest.mark.parametrize(
    "source_target",
    [(15, 15, SCHEMA), (15, 18, SCHEMA), (16, 18, SCHEMA), (16, 16, SCHEMA), (18, 15, SCHEMA)],
    indirect=True,
)
def test_a_schema_travels_by_sections_and_chosen_entries(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    source, target = source_target.source, source_target.target
    source.execute(SUBSCRIPTION)
    tools = find_tools(facts(source), facts(target))
    archive = dumped(source, tools, tmp_path)
    check_archive(tools, archive)
    with child_environment(target.endpoint(Side.TARGET), tmp_path) as access:
        for section in Section:
            entries = list_archive(tools, archive, section=section, schemas=["Odd S"])
            restore_entries(
                tools,
                access,
                archive,
                entries=[entry for entry in entries if not is_of_capture(entry)],
                list_file=tmp_path / f"{section}.list",
                target_version_num=facts(target),
                jobs=2,
            )
    assert target.rows(RESTORED) == [
        ("index comment", "comment"),
        ("option", "n_distinct=5"),
        ("publication", "theirs"),
        ("relation", "c"),
        ("relation", "c_m"),
        ("relation", "p"),
        ("relation", "vw"),
        ("schema", "Odd S"),
        ("trigger", "tr"),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "post-data.list",
        "pre-data.list",
        "schema.dump",
    ]
    source.execute("drop subscription sub")


@pytest.mark.parametrize("source_target", [(16, 18, "create table t (i int)")], indirect=True)
def test_an_error_of_the_target_ends_the_restore(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    source, target = source_target.source, source_target.target
    tools = find_tools(160000, 180000)
    archive = dumped(source, tools, tmp_path)
    target.execute("create table t (i int)")
    entries = list_archive(tools, archive, section=Section.PRE_DATA)

    def restore(options: CopyOptions) -> None:
        with child_environment(target.endpoint(Side.TARGET), tmp_path) as access:
            restore_entries(
                tools, access, archive, entries=entries,
                list_file=tmp_path / "list", target_version_num=180000, options=options,
            )  # fmt: skip

    with pytest.raises(ExternalToolError, match='ERROR: relation "t" already exists'):
        restore(CopyOptions())
    restore(CopyOptions(drop_if_exists=True))


@pytest.mark.parametrize("source_target", [(15, 18, "create table t (i int)")], indirect=True)
def test_columns_stamped_by_the_source_are_noticed(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    """Debian's 15.20 marks columns with an option that only its own pg_dump leaves out."""
    stamped = source_target.source.rows(
        "select 1 from pg_attribute where array_to_string(attoptions, ',') ~ 'pg_attver' limit 1"
    )
    newest = bindir(18)
    assert isinstance(newest, Path)
    tools = Tools(newest / "pg_dump", (18, 4), newest / "pg_restore", (18, 4))
    archive = dumped(source_target.source, tools, tmp_path)
    if not stamped:
        check_archive(tools, archive)
        return
    with pytest.raises(ConfigurationError, match="pg_attver"):
        check_archive(tools, archive)


@pytest.mark.parametrize("source_target", [(16, 18, "create table t (i int)")], indirect=True)
def test_a_dump_that_cannot_have_its_lock_fails_and_leaves_no_file(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    source = source_target.source
    with source.connect() as holder, holder.transaction():
        holder.execute("lock table t")
        with (
            child_environment(source.endpoint(Side.SOURCE), tmp_path) as access,
            pytest.raises(ExternalToolError, match=r"pg_dump failed: .* timeout"),
        ):
            dump_schema(
                find_tools(160000, 180000), access, None, tmp_path / "d", lock_wait_seconds=1
            )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source_target", [(16, 18, "create table t (i int)")], indirect=True)
def test_a_dump_in_a_thread_ends_when_it_is_asked_to(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    source = source_target.source
    stop = threading.Event()
    failures: list[BaseException] = []

    def dump() -> None:
        with child_environment(source.endpoint(Side.SOURCE), tmp_path) as access:
            try:
                dump_schema(
                    find_tools(160000, 180000), access, None, tmp_path / "d", stopping=stop.is_set
                )
            except ExternalToolError as error:
                failures.append(error)

    with source.connect() as holder, holder.transaction():
        holder.execute("lock table t")
        thread = threading.Thread(target=dump)
        thread.start()
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        _until(source, waiting, 1)
        stop.set()
        thread.join(20)
    assert "pg_dump failed" in str(failures)
    assert list(tmp_path.iterdir()) == []


def _until(database: Database, query: str, value: int) -> None:
    deadline = time.monotonic() + 20
    with database.connect() as connection:
        while connection.execute(query.encode()).fetchone() != (value,):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def _pretended(folder: Path, version: str) -> Path:
    folder.mkdir()
    for name in ("pg_dump", "pg_restore"):
        _program(folder, name, f'echo "{name} (PostgreSQL) {version}"')
    _program(folder, "pg_config", f'echo "{folder}"')
    return folder


def test_tools_are_taken_from_path_before_pg_config(tmp_path: Path) -> None:
    old = _pretended(tmp_path / "old", "12.9")
    new = _pretended(tmp_path / "new", "17.2 (Debian 17.2-1)")
    environ = {"PATH": f"/nowhere::{old}", "PG_CONFIG": str(new / "pg_config")}
    assert find_tools(120000, 120000, environ).pg_dump == old / "pg_dump"
    # An older one would leave the schema public closed, as a newer server makes it.
    tools = find_tools(120000, 170002, environ)
    assert (tools.pg_dump, tools.pg_restore) == (new / "pg_dump", new / "pg_restore")
    assert tools.pg_restore_version == (17, 2)
    assert find_tools(120000, 140000, environ).pg_dump == old / "pg_dump"
    assert find_tools(170000, 120000, environ).pg_restore == new / "pg_restore"


def test_without_fitting_tools_what_was_found_is_named(tmp_path: Path) -> None:
    old = _pretended(tmp_path / "old", "12.9")
    with pytest.raises(ConfigurationError, match=r"no pg_dump of version 99 .*\(12\.9\)"):
        find_tools(990000, 990000, {"PATH": str(old)})


def test_a_pg_config_that_does_not_work_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="PG_CONFIG names"):
        find_tools(990000, 990000, {"PATH": "", "PG_CONFIG": str(tmp_path / "none")})


def test_a_quoted_statement_is_not_repeated(tmp_path: Path) -> None:
    program = _program(
        tmp_path,
        "pg_restore",
        """
        echo "pg_restore: error: could not execute query: ERROR:  permission denied" >&2
        echo "Command was: CREATE USER MAPPING FOR a SERVER s OPTIONS (" >&2
        echo "    password 's3cret'" >&2
        echo "pg_restore: warning: errors ignored" >&2
        exit 1
        """,
    )
    error = run_tool([program], {"PATH": os.defpath}).error()
    assert error.message == (
        "pg_restore failed: could not execute query: ERROR: permission denied,"
        " in CREATE USER MAPPING FOR a"
    )
    assert "s3cret" not in f"{error.message}{error.hint}"


def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ExternalToolError, match="cannot start"):
        run_tool([tmp_path / "none"], {})


def test_what_did_not_wait_for_the_disk_is_brought_there(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster(16, settings={"wal_writer_delay": "10s"})
    cluster.create_database("lazy")
    endpoint = Endpoint(Side.TARGET, cluster.conninfo("lazy"))
    program = str(cluster.bindir / "psql")
    with child_environment(endpoint, tmp_path, durable=False) as access:
        shown = subprocess.run(
            [program, "-XAtqc", "show synchronous_commit", access.conninfo],
            env=dict(access.environment),
            check=True,
            capture_output=True,
            text=True,
        )
    assert shown.stdout.strip() == "off"
    with cluster.connect("lazy") as connection:
        connection.execute("set synchronous_commit to off")
        connection.execute("create table t (i integer)")
        (written,) = connection.execute("select pg_current_wal_insert_lsn()").fetchone() or ("",)
        reached = "select pg_current_wal_flush_lsn() >= %s::pg_lsn"
        assert connection.execute(reached, [written]).fetchone() == (False,)
        make_durable(endpoint)
        assert connection.execute(reached, [written]).fetchone() == (True,)


def test_a_program_that_stands_still_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_GRACE", 0.1)
    ended = run_tool(["/bin/sh", "-c", "kill -STOP $$"], {}, stopping=lambda: True)
    assert ended.status == -signal.SIGKILL
