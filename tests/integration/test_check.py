"""``pgcopydb check``: everything in the way is found at once, and gone after its own remedy."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace
from psycopg.conninfo import make_conninfo

from pgcopydb.demo.cluster import Cluster
from pgcopydb.errors import SqlError
from pgcopydb.model.endpoint import Side
from pgcopydb.model.findings import Severity
from pgcopydb.model.options import CopyOptions, FollowOptions, NoIdentity, Plugin, WorkOptions
from pgcopydb.rules.filters import parse_filters
from pgcopydb.workdir.directory import open_directory
from pgcopydb.workdir.locks import lock
from pgcopydb.workdir.store import RunHeader, write_header
from tests.support.clock import wait_for
from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.litter import assert_no_litter
from tests.support.pooler import pooler
from tests.support.readiness import COPIED, FOLLOWED, Scene, checks, role
from tests.support.servers import Database, MakeCluster, MakeDatabase, Servers, SourceTarget

# -- servers that are not set up for it ------------------------------------------------------------


def test_settings_are_found_at_once_and_mended_by_what_is_said(make_cluster: MakeCluster) -> None:
    source = make_cluster(
        15,
        settings={
            "wal_level": "replica",
            "max_replication_slots": "0",
            "max_wal_senders": "0",
            "output_plugin_libraries": "pgoutput",
            "max_locks_per_transaction": "10",
            "max_connections": "12",
            "max_slot_wal_keep_size": "64MB",
        },
    )
    workers = {"max_parallel_maintenance_workers": "0", "max_worker_processes": "0"}
    target = make_cluster(18, settings={"max_active_replication_origins": "0", **workers})
    with source.connect() as connection:
        connection.execute(
            "do $$ begin for n in 1..372 loop"
            " execute format('create table t%s (id integer primary key)', n);"
            " if n % 50 = 0 then commit; end if; end loop; end $$"
        )
    scene = Scene(Database(source, "postgres"), Database(target, "postgres"))
    intent = replace(FOLLOWED, follow=FollowOptions(plugin=Plugin.WAL2JSON))
    report = scene.look(intent)
    assert checks(report.fatal) == {
        "source wal-level",
        "source slots",
        "source senders",
        "source plugin-allowed",
        "source lock-table",
        "target origins",
    }
    assert {"source connections", "source wal-limit", "target parallel-builds"} <= checks(
        report.findings
    )
    assert report.status == 2
    mended = [
        found
        for found in report.findings
        if found.severity is not Severity.NOTE or found.check == "parallel-builds"
    ]
    scene.mend(mended)
    assert checks(scene.look(intent).findings) <= {"here disk"}


def test_a_source_that_drops_idle_slots(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(18, settings={"idle_replication_slot_timeout": "90min"})
    cluster.create_database("target")
    scene = Scene(Database(cluster, "postgres"), Database(cluster, "target"))
    (found,) = (one for one in scene.look(FOLLOWED).findings if one.check == "idle-limit")
    assert found.message.startswith("idle_replication_slot_timeout is 2 h:")
    assert "source idle-limit" not in checks(scene.look(COPIED).findings)
    scene.mend([found])
    assert wait_for(lambda: "source idle-limit" not in checks(scene.look(FOLLOWED).findings))


# -- roles without rights, and objects that are in the way -----------------------------------------

OBJECTS = """
create role "check's owner" nologin;
create role check_reader nologin;
create schema "Odd s";
create table "Odd s"."t "" x" (id integer primary key, v text);
insert into "Odd s"."t "" x" values (1, 'one');
alter table "Odd s"."t "" x" owner to "check's owner";
alter schema "Odd s" owner to "check's owner";
create table keyless (v text);
create table root (k integer not null, v text) partition by range (k);
create table leaf partition of root for values from (0) to (10);
create table secret (id integer primary key);
alter table secret enable row level security;
alter table secret force row level security;
create table made (a integer, b integer generated always as (a * 2) stored not null unique);
alter table made replica identity using index made_b_key;
create unlogged table fleeting (id integer primary key);
create table late (id integer primary key, u integer unique deferrable);
create table whole (v text);
alter table whole replica identity full;
create function audit() returns trigger language plpgsql as 'begin return new; end';
create trigger "always'on" before insert on late for each row execute function audit();
alter table late enable always trigger "always'on";
create sequence alone;
create materialized view summary as select 1 as one;
grant select on secret to check_reader;
do $$ declare one text; begin
  for one in select format('%s %I.%I', case relkind when 'm' then 'materialized view'
      when 'S' then 'sequence' else 'table' end, relnamespace::regnamespace, relname)
    from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'm')
  loop execute format('alter %s owner to "check''s owner"', one); end loop;
end $$;
select lo_create(4711);
create extension file_fdw;
"""


@pytest.fixture
def scene(servers: Servers, make_database: MakeDatabase) -> Iterator[Scene]:
    """15 to 15, with all kinds of trouble on the source, as roles that may do nothing."""
    pair = Scene(make_database(servers.get(15, "source")), make_database(servers.get(15, "target")))
    pair.source.execute(OBJECTS)
    pair.as_source = role(pair.source, "check source")
    pair.as_target = role(pair.target, "check target")
    yield pair
    # it belongs to the server, and the role could not be dropped
    pair.target.execute('revoke set on parameter session_replication_role from "check target"')


def test_rights_and_objects_are_found_at_once_and_mended_by_what_is_said(
    scene: Scene, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    source, target = scene.source, scene.target
    source.execute("create publication pgcopydb for table secret")
    source.rows("select pg_create_logical_replication_slot('pgcopydb', 'pgoutput')")
    target.execute("create schema pgcopydb; revoke create on schema public from public")
    target.rows("select pg_replication_origin_create('pgcopydb')")
    report = scene.look(FOLLOWED)
    assert checks(report.fatal) == {
        "source read-tables",
        "source read-sequences",
        "source read-large-objects",
        "source replication-right",
        "source create-publication",
        "source publish-tables",
        "source publication",
        "source slot-name",
        "source identity",
        "source generated-identity",
        "target create-schemas",
        "target create-in-public",
        "target helper-schema",
        "target roles",
        "target ownership",
        "target create-extensions",
    }
    by_check = {found.check: found for found in report.findings}
    assert "public.keyless, public.leaf" in by_check["identity"].message
    assert '"t " x"' not in by_check["identity"].message
    assert {
        "source unlogged-tables",
        "source large-objects",
        "source materialized-views",
        "source strict-tables",
        "source full-identity",
        "source always-triggers",
        "target origin-rights",
        "target silence-triggers",
    } <= checks(report.findings)

    mended = [found for found in report.findings if found.statements]
    # Nobody is given the rights of a superuser: the cluster's first one owns sequence and object.
    scene.mend([found for found in mended if found.check != "ownership"])
    target.execute('grant "check\'s owner" to "check target"')
    source.execute('alter sequence alone owner to "check\'s owner"')
    source.execute('alter large object 4711 owner to "check\'s owner"')
    source.execute('alter function audit() owner to "check\'s owner"')

    # What could not be seen before: rows that are hidden from one who may read, a name that is
    # taken and that only who may use origins can see, and who got rights by what was said.
    report = scene.look(FOLLOWED)
    assert checks(report.fatal) == {
        "source row-security",
        "target origin-name",
        "target roles",
        "target extension-comments",
        "target create-in-public",
    }
    scene.mend([found for found in report.fatal if found.statements])
    # The rights that were given on the source's database are to be had on the target's too.
    uncommented = replace(FOLLOWED, copy=CopyOptions(skip_ext_comments=True))
    report = scene.look(uncommented)
    assert checks(report.fatal) == {"target database-properties"}
    scene.mend(report.fatal)
    report = scene.look(uncommented)
    assert checks(report.fatal) == set()
    assert checks(report.findings).isdisjoint({"target origin-rights", "target silence-triggers"})

    options = ["--source", scene.as_source, "--target", scene.as_target]
    options += ["--dir", str(tmp_path / "w")]
    finished = pgcopydb_command("check", "--follow", "--skip-ext-comments", *options)
    assert (finished.status, finished.stderr) == (0, "")
    assert not (tmp_path / "w").exists()
    finished = pgcopydb_command("clone", "--skip-ext-comments", *options)
    assert finished.status == 0, finished.stderr
    assert target.rows('select * from "Odd s"."t "" x"') == [(1, "one")]


def test_one_way_or_another_to_follow_tables_without_identity(scene: Scene) -> None:
    insert_only = replace(
        FOLLOWED, follow=FollowOptions(no_identity=NoIdentity.INSERT_ONLY, plugin=Plugin.WAL2JSON)
    )
    report = scene.look(insert_only)
    assert {found.severity for found in report.findings if found.check == "identity"} == {
        Severity.WARNING
    }
    assert "source publish-tables" not in checks(report.fatal)
    full = replace(FOLLOWED, follow=FollowOptions(no_identity=NoIdentity.FULL))
    assert {found.severity for found in scene.look(full).findings if found.check == "identity"} == {
        Severity.NOTE
    }


def test_what_is_not_asked_for_is_not_checked(scene: Scene) -> None:
    found = checks(scene.look(COPIED).fatal)
    assert found >= {"source read-tables", "target roles"}
    assert found.isdisjoint({"source replication-right", "source identity", "source slot-name"})
    eased = CopyOptions(no_owner=True, no_acl=True, skip_extensions=True, skip_large_objects=True)
    found = checks(scene.look(replace(COPIED, copy=eased)).fatal)
    assert found.isdisjoint(
        {
            "target roles",
            "target ownership",
            "target create-extensions",
            "source read-large-objects",
        }
    )


def test_transactions_that_block_the_slot_are_named(
    pg15: Cluster, make_database: MakeDatabase
) -> None:
    scene = Scene(make_database(pg15), make_database(pg15))
    with scene.source.connect() as connection:
        connection.execute("begin; create table t (id integer); prepare transaction 'o''dd'")
    (found,) = (one for one in scene.look(FOLLOWED).findings if one.check == "blocking-transaction")
    assert found.severity is Severity.WARNING  # a young one may end by itself
    assert re.search(r"prepared transaction 'o'dd' of postgres is \d s old", found.message)
    scene.mend([found])
    assert "source blocking-transaction" not in checks(scene.look(FOLLOWED).findings)


# -- what no statement mends -----------------------------------------------------------------------


def test_what_the_target_does_not_have(
    servers: Servers, make_database: MakeDatabase, make_cluster: MakeCluster
) -> None:
    source = make_database(
        servers.get(15, "source"),
        'create extension pgcrypto; create table t (v text collate "C.utf8");'
        " create collation mine (provider = icu, locale = 'de');"
        " create table small (v text compression lz4, x xml[])",
    )
    with source.cluster.connect() as connection:
        connection.execute("drop tablespace if exists check_space")
        connection.execute("set allow_in_place_tablespaces = on")
        connection.execute("create tablespace check_space location ''")
    try:
        source.execute("create table elsewhere (id integer) tablespace check_space")
        target = make_database(servers.get(18, "target"), "create table theirs (id integer)")
        with target.cluster.connect() as connection:
            connection.execute(f'drop database "{target.name}"'.encode())
            connection.execute(
                f'create database "{target.name}" encoding latin1 locale "C"'
                " template template0".encode()
            )
        target.execute("create table theirs (id integer)")
        report = Scene(source, target).look(COPIED)
        assert checks(report.fatal) == {
            "target extensions",
            "target tablespaces",
            "target not-empty",
            "target collations",
            "target build",
        }
        told = [found.message for found in report.findings if found.check == "build"]
        assert [text.partition(" and ")[0].split()[-1] for text in told] == ["ICU", "LZ4", "libxml"]
        for name, text in zip(
            ("public.mine", "public.small.v", "public.small.x"), told, strict=True
        ):
            assert text.endswith(f" {name}")
        assert {"target encoding", "target locale"} <= checks(report.findings)
    finally:
        source.execute("drop table if exists elsewhere")
        with source.cluster.connect() as connection:
            connection.execute("drop tablespace check_space")


@pytest.mark.parametrize("source_target", [(16, 18), (15, 18)], indirect=True)
def test_columns_that_only_partitions_and_children_have_so(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    """17 takes no partition with an identity column of its own, and 16 no column that is generated
    only in the child. The same of the parent's is no trouble.
    """
    source, target = source_target.source, source_target.target
    source.execute(
        "create table p (id integer generated always as identity, k integer) partition by list (k);"
        " create table p_1 partition of p for values in (1); insert into p (k) values (1);"
        " create table i (id integer, k integer) partition by list (k);"
        " create table i_1 (id integer generated always as identity, k integer);"
        " alter table i attach partition i_1 for values in (1); insert into i_1 (k) values (1);"
        " create table g (a integer, b integer generated always as (a * 2) stored);"
        " create table g_1 () inherits (g); insert into g_1 values (1);"
        " create table own (c integer generated always as (a + 1) stored) inherits (g)"
    )
    lost = {"table column public.i_1.id"}
    mended = "alter table i_1 alter column id drop identity;"
    ((before_16,),) = source.rows("select current_setting('server_version_num')::int < 160000")
    if before_16:
        source.execute(
            "create table c (a integer, b integer);"
            " create table c_1 (b integer generated always as (a + 1) stored) inherits (c);"
            " insert into c_1 (a) values (1)"
        )
        lost |= {"table column public.c_1.b"}
        mended += (
            "alter table c_1 no inherit c; alter table c_1 alter column b drop expression;"
            " alter table c_1 inherit c"
        )
    scene = Scene(source, target)
    (found,) = scene.look(COPIED).fatal
    assert found.check == "given-up"
    told = found.message.removeprefix("PostgreSQL 18 cannot make ").removesuffix(" any more")
    assert set(told.split(", ")) == lost
    filters = parse_filters("[exclude-table]\npublic.i\npublic.c\n", origin="f")
    if "public.c_1" in told:
        assert checks(scene.look(replace(COPIED, filters=filters)).fatal) == set()

    source.execute(mended)
    assert checks(scene.look(COPIED).fatal) == set()
    options = [*source_target.options, "--dir", str(tmp_path / "w")]
    finished = pgcopydb_command("clone", *options)
    assert finished.status == 0, finished.stderr
    assert target.rows("select id, k from i union all select * from g_1") == [(1, 1), (1, 2)]


def test_collations_of_another_version(servers: Servers, make_database: MakeDatabase) -> None:
    """As after an upgrade of the machine: what the catalogue says is made to be of an older one."""
    scene = Scene(
        _sorted_by_icu(make_database(servers.get(15, "source"))),
        _sorted_by_icu(make_database(servers.get(15, "target"))),
    )
    for intent in (COPIED, FOLLOWED):
        found = [one for one in scene.look(intent).findings if one.check == "collation-version"]
        assert [(one.side, one.severity) for one in found] == [
            (side, Severity.WARNING) for side in (Side.SOURCE, Side.TARGET) for _ in range(2)
        ]
        for one in found:
            assert "made with version 0.1" in one.message
    for database in (scene.source, scene.target):
        database.execute("alter collation blind refresh version")
        database.execute(f"alter database {database.name} refresh collation version")
    assert "collation-version" not in {one.check for one in scene.look(FOLLOWED).findings}


def _sorted_by_icu(database: Database) -> Database:
    """Make a database anew so that ICU sorts its text, by an older version in its catalogue."""
    with database.cluster.connect() as connection:
        connection.execute(f"drop database {database.name}".encode())
        connection.execute(
            f"create database {database.name} locale_provider icu icu_locale 'und'"
            " template template0".encode()
        )
    database.execute(
        "create collation blind"
        " (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
        " create table t (id text collate blind primary key);"
        " update pg_collation set collversion = '0.1' where collname = 'blind';"
        " update pg_database set datcollversion = '0.1' where datname = current_database()"
    )
    return database


def test_a_publication_that_is_there_needs_no_right_to_make_one(
    source_target: SourceTarget, pgcopydb_background: PgcopydbBackground, tmp_path: Path
) -> None:
    source, target = source_target.source, source_target.target
    source.execute("create table t (id integer primary key)")
    name = f"follower_{source.name}"
    scene = Scene(source, target, as_source=role(source, name))
    source.execute(f"alter role {name} replication; grant pg_read_all_data to {name}")
    missing = {"source create-publication", "source publish-tables"}
    assert checks(scene.look(FOLLOWED).fatal) == missing
    source.execute("create publication pgcopydb for table t")
    assert checks(scene.look(FOLLOWED).fatal) == set()
    options = ["--dir", str(tmp_path / "work"), "--source", scene.as_source]
    with pgcopydb_background("snapshot", "--follow", *options) as running:
        assert wait_for(lambda: running.stdout != ""), running.stderr
        running.send_signal(signal.SIGTERM)
        assert running.wait(10).status == 0
    source.rows("select pg_drop_replication_slot('pgcopydb')")


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_pooler_in_the_path(pg16: Cluster, make_database: MakeDatabase, mode: str) -> None:
    scene = Scene(make_database(pg16), make_database(pg16))
    with pooler(scene.source, mode) as through:
        scene.as_source = through
        report = scene.look(COPIED)
    (found,) = (one for one in report.findings if one.check == "pooler")
    assert found.side is Side.SOURCE
    assert (found.severity is Severity.FATAL) == (mode == "transaction")


def test_sessions_that_a_server_keeps_for_others(make_cluster: MakeCluster) -> None:
    """Reserved ones, from 16 on, and what a database takes; a superuser meets neither limit."""
    cluster = make_cluster(16, settings={"max_connections": "20", "reserved_connections": "8"})
    cluster.create_database("source")
    cluster.create_database("target")
    scene = Scene(Database(cluster, "source"), Database(cluster, "target"))
    assert "source connections" not in checks(scene.look(COPIED).findings)
    scene.as_source = role(scene.source, "check few")
    scene.target.execute("alter database target connection limit 3")
    scene.as_target = make_conninfo(scene.target.conninfo, user="check few")
    found = [one for one in scene.look(COPIED).findings if one.check == "connections"]
    assert [(one.side, one.message.partition(" sessions free")[0][-2:]) for one in found] == [
        (Side.SOURCE, " 8"),
        (Side.TARGET, " 8"),
        (Side.TARGET, " 2"),
    ]
    scene.target.execute('grant pg_use_reserved_connections to "check few"')
    scene.mend([found[2]])
    assert "source connections" not in checks(scene.look(COPIED).findings)


def test_both_sides_are_one(pg16: Cluster, make_database: MakeDatabase) -> None:
    database = make_database(pg16)
    assert checks(Scene(database, database).look(COPIED).fatal) == {"here same-database"}


# -- the command -----------------------------------------------------------------------------------


def test_a_work_directory_that_clone_would_refuse(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir(mode=0o755)
    (here / "file").write_text("")
    (here / "link").symlink_to(tmp_path)
    for name in ("file", "link", "file/work", "x" * 300, ""):
        options = [*source_target.options, "--dir", str(here / name)]
        finished = pgcopydb_command("check", "--follow", "--json", *options)
        assert finished.status == 3, finished.stderr
        (fatal,) = [
            one for one in json.loads(finished.stdout)["findings"] if one["severity"] == "fatal"
        ]
        assert fatal["check"] == "work-directory"
        refused = pgcopydb_command("clone", *options)
        assert (refused.status, fatal["message"] in refused.stderr) == (3, True), refused.stderr
    assert sorted(one.name for one in here.iterdir()) == ["file", "link"]


@pytest.mark.parametrize("state", ["finished", "interrupted", "phase", "at work", "damaged"])
def test_a_work_directory_with_a_previous_run(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path, state: str
) -> None:
    """What a clone would say of it, check says too; it takes no lock and changes nothing."""
    work = WorkOptions(directory=tmp_path / "work")
    command = "copy data" if state == "phase" else "clone"
    with suppress(SqlError), open_directory(work, command=command) as directory:
        with directory.store() as connection:
            write_header(connection, RunHeader(run_id="1", slot_created=True))
        if state == "interrupted":
            raise SqlError("target: gone")
    if state == "damaged":
        (directory.path / "catalogue.db").write_bytes(b"no such file" * 1000)
    options = [*source_target.options, "--dir", str(directory.path)]
    with lock(directory.path, "clone", "clone") if state == "at work" else nullcontext():
        before = {one.name: one.read_bytes() for one in directory.path.glob("*.*")}
        finished = pgcopydb_command("check", "--json", *options)
        assert before == {one.name: one.read_bytes() for one in directory.path.glob("*.*")}
        refused = pgcopydb_command("clone", *options)
    assert finished.status == 3, finished.stderr
    (fatal,) = [
        one for one in json.loads(finished.stdout)["findings"] if one["severity"] == "fatal"
    ]
    assert (fatal["check"], fatal["side"]) == ("work-directory", None)
    assert (refused.status, fatal["message"] in refused.stderr) == (3, True), refused.stderr
    assert fatal["advice"] in refused.stderr


def test_a_work_directory_that_only_holds_a_snapshot_is_fine(
    source_target: SourceTarget,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
    tmp_path: Path,
) -> None:
    place = ["--dir", str(tmp_path / "work")]
    source = ["--source", source_target.source.conninfo]
    with pgcopydb_background("snapshot", *source, *place) as running:
        assert wait_for(lambda: running.stdout != ""), running.stderr
        finished = pgcopydb_command("check", *source_target.options, *place)
        assert (finished.status, finished.stderr) == (0, ""), finished.stdout


def test_a_snapshot_is_tried_before_anything_is_created(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    options = [*source_target.options, "--dir", str(tmp_path / "work")]
    with source_target.source.connect() as holder:
        holder.execute("begin isolation level repeatable read")
        ((there,),) = holder.execute("select pg_export_snapshot()").fetchall()
        finished = pgcopydb_command("check", *options, "--snapshot", there)
        assert (finished.status, finished.stderr) == (0, "")
    for gone in (there, "00000003-0000001B-1", "7FFFFFFF-7FFFFFFF-9"):
        finished = pgcopydb_command("check", "--json", *options, "--snapshot", gone)
        assert finished.status == 3, finished.stderr
        (fatal,) = [
            one for one in json.loads(finished.stdout)["findings"] if one["severity"] == "fatal"
        ]
        assert (fatal["check"], fatal["side"]) == ("snapshot", "source")
        assert gone in fatal["message"]
        refused = pgcopydb_command("clone", *options, "--snapshot", gone)
        assert (refused.status, fatal["message"] in refused.stderr) == (3, True), refused.stderr
    assert_no_litter(source_target)


def test_the_command_tells_everything_and_creates_nothing(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    source_target.source.execute('create table "k;\n drop" (v text)')
    options = [*source_target.options, "--dir", str(tmp_path / "work")]
    finished = pgcopydb_command("check", "--follow", *options)
    assert finished.status == 2
    assert finished.stderr.splitlines()[0] == "ERROR: 1 finding would end this migration"
    assert r'ALTER TABLE "public"."k;\n drop" REPLICA IDENTITY FULL;' in finished.stdout
    assert "1 fatal" in finished.stdout.splitlines()[-1]

    finished = pgcopydb_command("check", "--follow", "--json", *options)
    answer = json.loads(finished.stdout)
    assert (finished.status, answer["status"]) == (2, 2)
    (fatal,) = [one for one in answer["findings"] if one["severity"] == "fatal"]
    assert (fatal["check"], fatal["side"]) == ("identity", "source")
    assert fatal["statements"] == ['ALTER TABLE "public"."k;\n drop" REPLICA IDENTITY FULL;']

    filters = tmp_path / "filters"
    filters.write_text("[exclude-table]\npublic.~/drop$/\n")
    filtered = pgcopydb_command("check", "--follow", *options, "--filters", filters)
    assert filtered.status == 0, filtered.stdout
    filters.write_text("[exclude-tables]\n")
    filtered = pgcopydb_command("check", *options, "--filters", filters)
    assert (filtered.status, filtered.stdout) == (2, "")
    assert f"{filters}, line 1" in filtered.stderr

    refused = pgcopydb_command("clone", "--follow", *options)
    assert refused.status == 2
    assert "no usable replica identity" in refused.stderr
    source_target.source.execute(fatal["statements"][0])
    finished = pgcopydb_command("check", "--follow", *options)
    assert (finished.status, finished.stderr) == (0, "")
    assert_no_litter(source_target)


def test_a_server_that_cannot_be_asked_is_a_finding(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb
) -> None:
    nowhere = make_conninfo(source_target.source.conninfo, port=1, password="s3cret")
    options = ["--source", nowhere, "--target", source_target.target.conninfo]
    finished = pgcopydb_command("check", *options)
    assert finished.status == 6
    assert "Connection refused" in finished.stdout
    assert "s3cret" not in finished.stdout + finished.stderr
    finished = pgcopydb_command("check", "--source", nowhere, "--target", nowhere)
    assert finished.status == 2
    assert finished.stdout.count("fatal: ") == 2
