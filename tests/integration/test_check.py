"""``pgcopydb check``: everything in the way is found at once, and gone after its own remedy."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import psycopg
import pytest
from msgspec.structs import replace
from psycopg.conninfo import make_conninfo

from pgcopydb.demo.cluster import Cluster
from pgcopydb.errors import SqlError
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.findings import Severity
from pgcopydb.model.options import CopyOptions, FollowOptions, NoIdentity, Plugin, WorkOptions
from pgcopydb.model.readiness import Intent
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.readiness import may_create_kind, read_source
from pgcopydb.postgres.selection import resolve_filters
from pgcopydb.preflight.text import statement_text
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


# -- what only a superuser may create --------------------------------------------------------------

KEPT_FOR_SUPERUSERS = {
    "access method am": "create access method am type index handler bthandler",
    "aggregate s.total(bigint)": "create aggregate s.total(bigint)"
    " (sfunc = int8_avg_accum, stype = internal, finalfunc = numeric_poly_avg)",
    "cast (pg_catalog.text AS integer)": "create cast (text as integer) with inout",
    "event trigger e": "create event trigger e on ddl_command_end execute function s.noticed()",
    "foreign-data wrapper w": "create foreign data wrapper w",
    "function s.absolute(integer)": "create function s.absolute(integer) returns integer"
    " language internal as 'int4abs'",
    "function s.closed(integer)": "create function s.closed(integer) returns integer"
    " leakproof language sql as 'select $1'",
    "language mine": "create language mine handler plpgsql_call_handler",
    "operator family s.family USING btree": "create operator family s.family using btree",
    "operator class s.class USING btree": "create operator class s.class for type integer"
    " using btree family s.family as operator 1 <, function 1 btint4cmp(integer, integer)",
    "publication everything": "create publication everything for all tables",
    "text search parser s.parser": "create text search parser s.parser (start = prsd_start,"
    " gettoken = prsd_nexttoken, end = prsd_end, lextypes = prsd_lextype)",
    "text search template s.template": "create text search template s.template"
    " (lexize = dsimple_lexize)",
    "function s.made_in(pg_catalog.cstring)": "create type s.made;"
    " create function s.made_in(cstring) returns s.made"
    " language internal immutable strict as 'int4in'",
    "function s.made_out(s.made)": "create function s.made_out(s.made) returns cstring"
    " language internal immutable strict as 'int4out'",
    "type s.made": "create type s.made"
    " (input = s.made_in, output = s.made_out, like = pg_catalog.int4)",
    "type s.shell": "create type s.shell",
}
"""Objects by their names, and what makes them."""

REFUSALS = (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidFunctionDefinition)
"""An aggregate over the server's own memory is refused with the second."""

OPEN_TO_ALL = """
create schema s;
create function s.noticed() returns event_trigger language plpgsql as 'begin null; end';
create function s.kept(integer) returns integer language sql as 'select $1';
create aggregate s.sum_of(integer) (sfunc = int4pl, stype = integer);
create type s.colour as enum ('red');
create domain s.small as integer;
create type s.pair as (a integer, b integer);
create type s.span as range (subtype = integer);
create function s.to_colour(integer) returns s.colour language sql as $$select 'red'::s.colour$$;
create cast (integer as s.colour) with function s.to_colour(integer);
create table s.t (id integer primary key, c s.colour, p s.pair);
create text search dictionary s.dictionary (template = simple);
create publication one for table s.t;
"""


@pytest.mark.parametrize(
    "source_target", [(16, 18), (15, 15, "create extension citext")], indirect=True
)
def test_what_only_a_superuser_may_create(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    source, target = source_target.source, source_target.target
    source.execute(OPEN_TO_ALL)
    for statement in KEPT_FOR_SUPERUSERS.values():
        source.execute(statement)
    source.execute("create publication of_schema for tables in schema s")
    name = f"mover_{target.name}"
    scene = Scene(source, target, as_target=role(target, name))
    target.execute(f"alter database {target.name} owner to {name}; create schema s")
    target.execute(f"alter schema s owner to {name}")
    for statement in KEPT_FOR_SUPERUSERS.values():  # as the server itself judges
        with (
            psycopg.connect(scene.as_target) as connection,
            pytest.raises(REFUSALS),
        ):
            connection.execute(statement.encode())
    target.execute("drop schema s")

    expected = {*KEPT_FOR_SUPERUSERS, "publication namespace s in publication of_schema"}
    assert _kept(scene, COPIED) == expected
    filters = parse_filters("[exclude-schema]\ns\n", origin="f")
    unowned = Intent(copy=CopyOptions(no_owner=True), follow=None)
    assert _kept(scene, replace(unowned, filters=filters)) == {
        one for one in KEPT_FOR_SUPERUSERS if " s." not in one and one != "event trigger e"
    }
    scene.as_target = ""
    assert "target superuser-objects" not in checks(scene.look(COPIED).findings)

    # What is not named can be made: without the rest the copy goes through.
    scene.as_target = make_conninfo(target.conninfo, user=name)
    source.execute("drop publication of_schema")
    for one in reversed(KEPT_FOR_SUPERUSERS):
        if "made_" not in one:  # those go with their type
            source.execute(f"drop {one.replace('-', ' ')} cascade")
    assert _kept(scene, COPIED) == set()
    options = ["--source", source.conninfo, "--target", scene.as_target]
    finished = pgcopydb_command("clone", "--no-owner", "--dir", str(tmp_path / "w"), *options)
    assert finished.status == 0, finished.stderr
    assert target.rows("select tablename::text from pg_publication_tables") == [("t",)]


def test_rights_that_owners_and_system_objects_want(
    servers: Servers, make_database: MakeDatabase, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    source = make_database(servers.get(15, "source"))
    target = make_database(servers.get(15, "target"))
    owner, mover = f"owner of {source.name}", f"mover of {target.name}"
    source.execute(
        f'create role "{owner}"; create table t (id integer primary key);'
        " create extension postgres_fdw; create server away foreign data wrapper postgres_fdw;"
        f' alter table t owner to "{owner}"; create publication one for table t;'
        f' grant usage on foreign data wrapper postgres_fdw to "{owner}";'
        f' grant create on database {source.name} to "{owner}";'
        f' alter server away owner to "{owner}"; alter publication one owner to "{owner}";'
        f' grant execute on function pg_stat_reset() to "{owner}";'
        " revoke execute on function pg_sleep(double precision) from public"
    )
    scene = Scene(source, target, as_target=role(target, mover))
    target.execute(
        f'create role "{owner}"; grant "{owner}" to "{mover}"; create extension postgres_fdw;'
        f' alter database {target.name} owner to "{mover}";'
        f' grant create on schema public to "{mover}", "{owner}"'
    )
    intent = replace(COPIED, copy=CopyOptions(skip_ext_comments=True))
    found = scene.look(intent).fatal
    assert checks(found) == {
        "target foreign-servers",
        "target publication-owners",
        "target system-rights",
    }
    rights = next(one for one in found if one.check == "system-rights")
    assert "on function pg_catalog.pg_stat_reset()" in rights.message
    assert "pg_sleep" not in rights.message
    source.execute(f'revoke execute on function pg_stat_reset() from "{owner}"')
    scene.mend([one for one in found if one.check in {"foreign-servers", "publication-owners"}])
    report = scene.look(intent)
    assert checks(report.fatal) == set()
    (rights,) = (one for one in report.findings if one.check == "system-rights")
    assert (rights.severity, "pg_sleep" in rights.message) == (Severity.WARNING, True)
    options = ["--source", source.conninfo, "--target", scene.as_target, "--skip-ext-comments"]
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "w"), *options)
    assert finished.status == 0, finished.stderr
    assert target.rows(
        "select pg_get_userbyid(pubowner)::text from pg_publication union all"
        " select pg_get_userbyid(srvowner)::text from pg_foreign_server"
    ) == [(owner,), (owner,)]


SETS_AND_IS_WRITTEN = """
create role "lang's user"; create table t (id integer primary key);
create function quiet() returns integer language sql
 set log_statement = 'none' set "myApp".x = '1' set search_path = '"S a", public' as 'select 1';
create procedure p() language plpgsql set work_mem = '8MB' as 'begin end';
alter database {source} set my_app.secret = 'one';
alter database {source} set log_duration = on;
alter role "lang's user" in database {source} set work_mem = '9MB';
create schema other; create role "later's owner"; create role "later's reader";
create function other.f() returns integer language sql set log_lock_waits = on as 'select 1';
alter default privileges for role "later's owner" grant select on tables to "later's reader"
"""


@pytest.mark.parametrize("major", [15, 18])
def test_what_functions_databases_and_the_future_ask_for_rights(
    make_cluster: MakeCluster,
    servers: Servers,
    make_database: MakeDatabase,
    pgcopydb_command: Pgcopydb,
    tmp_path: Path,
    major: int,
) -> None:
    """Each is refused by the server in the midst of a restore, or when all rows are there."""
    source = make_database(servers.get(15, "source"))
    target = make_database(make_cluster(major))  # rights on parameters are the whole server's
    source.execute(SETS_AND_IS_WRITTEN.format(source=source.name))
    scene = Scene(source, target, as_target=role(target, "the mover"))
    target.execute(
        f'alter database {target.name} owner to "the mover"; create role "lang\'s user";'
        " revoke usage on language plpgsql from public"
    )
    unowned = replace(COPIED, copy=CopyOptions(no_owner=True))
    found = {one.check: one for one in scene.look(unowned).fatal}
    assert set(found) == {
        "languages",
        "set-parameters",
        "database-parameters",
        "role-settings",
        "default-privilege-roles",
    }
    assert found["languages"].message.endswith('languages "plpgsql": public.p')
    assert found["set-parameters"].message.endswith(
        '"log_lock_waits", "log_statement", "myApp.x": other.f, public.quiet'
    )
    assert '"log_duration", "my_app.secret"' in found["database-parameters"].message
    assert '"lang\'s user"' in found["role-settings"].message

    left_out = parse_filters("[exclude-schema]\nother\n", origin="f")
    less = CopyOptions(no_owner=True, no_acl=True, skip_db_properties=True)
    found = {one.check: one for one in scene.look(Intent(copy=less, follow=None)).fatal}
    assert set(found) == {"languages", "set-parameters"}
    found = {one.check: one for one in scene.look(replace(unowned, filters=left_out)).fatal}
    assert "log_lock_waits" not in found["set-parameters"].message

    scene.mend(scene.look(unowned).fatal)
    found = {one.check: one for one in scene.look(unowned).fatal}
    assert set(found) == {"default-privileges"}  # the roles are there now
    scene.mend(found.values())
    assert checks(scene.look(unowned).fatal) == set()
    options = ["--source", source.conninfo, "--target", scene.as_target, "--no-owner"]
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "w"), *options)
    assert finished.status == 0, finished.stderr
    assert target.rows(
        "select coalesce(r.rolname, 'all')::text, setting from pg_db_role_setting"
        " left join pg_roles as r on r.oid = setrole, unnest(setconfig) as setting order by 1, 2"
    ) == [
        ("all", "log_duration=on"),
        ("all", "my_app.secret=one"),
        ("lang's user", "work_mem=9MB"),
    ]
    assert target.rows("select proconfig from pg_proc where proname = 'quiet'") == source.rows(
        "select proconfig from pg_proc where proname = 'quiet'"
    )
    target.execute('reassign owned by "the mover" to postgres; drop owned by "the mover"')


RIGHTS_OF_LATER = """
alter default privileges grant usage on schemas to "later's reader";
alter default privileges revoke execute on functions from public;
alter default privileges in schema public grant select on tables to public, "later's reader";
alter default privileges for role "later's owner" grant select on tables to "later's reader";
create schema not_there;
alter default privileges in schema not_there grant select on tables to public;
"""


@pytest.mark.parametrize("source_target", [(15, 16), (16, 18)], indirect=True)
def test_rights_that_the_target_gives_on_what_is_made_there(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    """Those of the role that copies: others' do not apply to what it makes and gives to them."""
    source, target = source_target.source, source_target.target
    for side in (source, target):
        side.execute("""create role "later's owner"; create role "later's reader";""")
    source.execute(
        "create schema s; create table s.t (id integer); create table t (id integer);"
        """ create table owned (id integer); alter table owned owner to "later's owner";"""
        " create function f() returns integer language sql as 'select 1';"
        " alter default privileges revoke execute on functions from public"
    )
    target.execute(RIGHTS_OF_LATER)
    scene = Scene(source, target)
    for copy in (CopyOptions(no_acl=True), None):
        follow = None if copy else FollowOptions()
        found = scene.look(Intent(copy=copy, follow=follow)).findings
        assert "target future-rights" not in checks(found)

    replacing = scene.look(replace(COPIED, copy=CopyOptions(drop_if_exists=True))).findings
    (fewer,) = (one for one in replacing if one.check == "future-rights")
    assert fewer.message.endswith(' on schemas, tables in schema "public"')
    (found_now,) = (one for one in scene.look(COPIED).findings if one.check == "future-rights")
    assert found_now.severity is Severity.WARNING
    assert found_now.message.endswith(' on functions, schemas, tables in schema "public"')

    scene.mend([found_now])
    assert checks(scene.look(COPIED).findings) <= {"here disk", "target older"}
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "w"), *source_target.options)
    assert finished.status == 0, finished.stderr
    target.execute(
        "drop schema not_there; alter default privileges"
        """ for role "later's owner" revoke select on tables from "later's reader" """
    )
    compared = pgcopydb_command("compare", "schema", *source_target.options)
    assert compared.status == 0, compared.stdout


def test_settings_that_the_target_does_not_know_or_refuses(
    servers: Servers, make_database: MakeDatabase, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    source = make_database(servers.get(15, "source"))
    target = make_database(servers.get(16, "target"))
    source.execute(
        "create table t (id integer primary key);"
        " create function f() returns integer language sql set force_parallel_mode = on"
        " as 'select 1';"
        f" alter database {source.name} set default_toast_compression = 'lz4';"
        f" alter database {source.name} set force_parallel_mode = on"
    )
    scene = Scene(source, target)
    found = {one.check: one for one in scene.look(COPIED).fatal}
    assert set(found) == {"function-settings", "database-settings"}
    assert 'public.f (unrecognized configuration parameter "force_parallel_mode")' in (
        found["function-settings"].message
    )
    assert 'parameter "default_toast_compression": "lz4"' in found["database-settings"].message
    source.execute(
        "alter function f() reset force_parallel_mode;"
        f" alter database {source.name} reset default_toast_compression"
    )
    assert checks(scene.look(COPIED).fatal) == set()
    finished = pgcopydb_command(
        "clone", "--dir", str(tmp_path / "w"), "--source", source.conninfo,
        "--target", target.conninfo,
    )  # fmt: skip
    assert finished.status == 0, finished.stderr
    assert "there is no parameter force_parallel_mode" in finished.stderr


@pytest.mark.parametrize(
    ("major", "membership"),
    [
        (15, "noinherit"),
        (16, "with admin true, inherit false, set false"),
        (18, "with inherit false"),
    ],
)
def test_owners_whose_rights_are_not_to_be_had(
    servers: Servers,
    make_database: MakeDatabase,
    pgcopydb_command: Pgcopydb,
    tmp_path: Path,
    major: int,
    membership: str,
) -> None:
    """Members of a role, as who created it is from 16 on, who may not become it or act as it."""
    source = make_database(servers.get(15, "source"))
    target = make_database(servers.get(major, "target"))
    owner, mover = f"owner of {source.name}", f"mover of {target.name}"
    source.execute(
        f'create role "{owner}"; create table t (id integer primary key, v text);'
        f" create index on t (v); insert into t values (1, 'a'); alter table t owner to \"{owner}\""
    )
    scene = Scene(source, target, as_target=role(target, mover))
    target.execute(
        f'create role "{owner}"; alter database {target.name} owner to "{mover}";'
        f' grant create on schema public to "{mover}", "{owner}"; grant "{owner}" to "{mover}"'
        + (f'; alter role "{mover}" noinherit' if major < 16 else f" {membership}")
    )
    found = scene.look(COPIED).fatal
    assert checks(found) == {"target ownership"}
    scene.mend(found)
    assert checks(scene.look(COPIED).fatal) == set()
    options = ["--source", source.conninfo, "--target", scene.as_target]
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "w"), *options)
    assert finished.status == 0, finished.stderr
    assert target.rows("select tableowner::text from pg_tables where tablename = 't'") == [(owner,)]


@pytest.mark.parametrize("major", [15, 18])
def test_owners_that_are_created_by_one_without_their_rights(
    servers: Servers,
    make_database: MakeDatabase,
    pgcopydb_command: Pgcopydb,
    tmp_path: Path,
    major: int,
) -> None:
    source = make_database(servers.get(15, "source"))
    target = make_database(servers.get(major, "target"))
    owner, mover = f"owner of {source.name}", f"mover of {target.name}"
    source.execute(
        f'create role "{owner}"; create schema s; create table s.t (id integer primary key);'
        f' alter schema s owner to "{owner}"; alter table s.t owner to "{owner}"'
    )
    scene = Scene(source, target, as_target=role(target, mover))
    target.execute(
        f'alter database {target.name} owner to "{mover}"; alter role "{mover}" createrole'
    )
    intent = replace(COPIED, copy=CopyOptions(roles=True))
    (found,) = scene.look(intent).fatal
    assert (found.check, f'"{owner}"' in found.message) == ("new-owners", True)
    assert bool(found.statements) == (major >= 16)
    if not found.statements:
        return
    scene.mend([found])
    assert checks(scene.look(intent).fatal) == set()
    options = ["--source", source.conninfo, "--target", scene.as_target]
    options += ["--roles", "--no-role-passwords"]
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "w"), *options)
    assert finished.status == 0, finished.stderr
    assert target.rows("select tableowner::text from pg_tables where tablename = 't'") == [(owner,)]


def test_rights_that_others_gave_and_objects_in_schemas_of_others(
    servers: Servers, make_database: MakeDatabase, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    """A dump gives rights as who gave them, and rights on a schema when everything is in it."""
    source = make_database(servers.get(15, "source"))
    target = make_database(servers.get(16, "target"))
    mover = f"mover of {target.name}"
    owner, other, member = (f"{one} of {source.name}" for one in ("owner", "other", "member"))
    source.execute(
        f'create role "{owner}"; create role "{other}"; create role "{member}" in role "{owner}";'
        f' create schema s authorization "{owner}"; grant all on schema s to "{other}";'
        " create table s.t (id integer primary key); create table s.u (id integer primary key);"
        f' create table s.v (id integer primary key); alter table s.t owner to "{owner}";'
        f' alter table s.u owner to "{other}"; alter table s.v owner to "{member}";'
        f' grant select on s.t to "{other}" with grant option; set role "{other}";'
        f' grant select on s.t to "{member}"; reset role'
    )
    scene = Scene(source, target, as_target=role(target, mover))
    target.execute(
        f'alter database {target.name} owner to "{mover}"; create role "{owner}";'
        f' create role "{other}"; create role "{member}" in role "{owner}";'
        f' grant "{owner}", "{other}", "{member}" to "{mover}"'
    )
    found = {one.check: one for one in scene.look(COPIED).fatal}
    assert set(found) == {"grantors", "schema-owners"}
    assert found["grantors"].message.endswith(f'"{other}", who are not the owners of table s.t')
    assert f'"{member}"' not in found["schema-owners"].message
    neither = Intent(copy=CopyOptions(no_owner=True, no_acl=True), follow=None)
    assert checks(scene.look(neither).fatal) == set()

    scene.mend([found["schema-owners"]])
    source.execute(
        f'revoke grant option for select on s.t from "{other}" cascade;'
        f' grant select on s.t to "{member}"'
    )
    assert checks(scene.look(COPIED).fatal) == set()
    options = ["--source", source.conninfo, "--target", scene.as_target]
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "w"), *options)
    assert finished.status == 0, finished.stderr
    assert target.rows(
        "select tablename::text, tableowner::text from pg_tables where schemaname = 's' order by 1"
    ) == [("t", owner), ("u", other), ("v", member)]


OWNED = {
    "domain s.one": "create domain s.one as integer",
    "type s.one": "create type s.one as enum ('one')",
    "collation s.one": "create collation s.one (locale = 'C')",
    "conversion s.one": "create conversion s.one for 'LATIN1' to 'UTF8' from iso8859_1_to_utf8",
    "operator s.=== (integer, integer)": "create operator s.==="
    " (leftarg = integer, rightarg = integer, function = int4eq)",
    "aggregate s.one(integer)": "create aggregate s.one(integer) (sfunc = int4pl, stype = integer)",
    "function s.one()": "create function s.one() returns integer language sql as 'select 1'",
    "text search dictionary s.one": "create text search dictionary s.one (template = simple)",
    "text search configuration s.one": "create text search configuration s.one (copy = simple)",
    "statistics s.one": "create statistics s.one on a, b from public.t",
    "sequence s.one": "create sequence s.one",
    "view s.one": "create view s.one as select 1",
    "server one": "create server one foreign data wrapper wrapped",
    "event trigger one": "create event trigger one on ddl_command_end execute function notice()",
    "publication one": "create publication one",
    "schema one": "create schema one",
}
"""Objects by their names, and what makes nothing else that has an owner."""


@pytest.mark.parametrize("major", [15, 18])
def test_the_owner_of_anything_is_seen(
    servers: Servers, make_database: MakeDatabase, major: int
) -> None:
    """Of what the cluster's first role owns no catalogue has a list."""
    source = make_database(servers.get(major, "source"))
    owner, first = f"owner_{source.name}", "postgres"
    source.execute(
        f"create role {owner} superuser; set role {owner}; create schema s;"
        " create table t (a integer, b integer); create foreign data wrapper wrapped;"
        " create function notice() returns event_trigger language plpgsql as 'begin end'"
    )
    for name, statement in OWNED.items():
        assert _owners(source) == ((owner,), set()), name
        source.execute(statement)
        shared = {("s", owner, first)} if " s." in name else set()
        assert _owners(source) == ((owner, first), shared), name
        source.execute(f"drop {name}")
    source.rows("select lo_create(4711)")
    assert _owners(source) == ((owner, first), set())
    unwanted = replace(COPIED, copy=CopyOptions(skip_large_objects=True))
    assert _owners(source, unwanted) == ((owner,), set())


def _owners(
    source: Database, intent: Intent = COPIED
) -> tuple[tuple[str, ...], set[tuple[str, str, str]]]:
    """Return who is to own something, and the schemas of one role that hold another's."""
    endpoint = source.endpoint(Side.SOURCE)
    with connect(endpoint, purpose="check") as connection:
        facts = read_source(endpoint, connection, intent)
    return facts.owners, {(one.schema, one.owner, one.other) for one in facts.shared_schemas}


@pytest.mark.parametrize("source_target", [(16, 18), (15, 15)], indirect=True)
def test_ranges_of_another_owner_than_their_first(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    """The functions that make its values stay with the first owner, and are in no dump."""
    source, target = source_target.source, source_target.target
    owner, mover = f"owner_{source.name}", f"mover_{target.name}"
    scene = Scene(source, target, as_target=role(target, mover))
    source.execute(
        f"create role {owner}; create schema s authorization {owner};"
        " create type s.span as range (subtype = integer);"
        f" alter type s.span owner to {owner}; create table s.t (id integer primary key, r s.span);"
        f" alter table s.t owner to {owner}; insert into s.t values (1, s.span(1, 2))"
    )
    target.execute(
        f"create role {owner}; grant {owner} to {mover};"
        f" alter database {target.name} owner to {mover}"
    )
    assert checks(scene.look(COPIED).fatal) == set()
    options = ["--source", source.conninfo, "--target", scene.as_target]
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "w"), *options)
    assert finished.status == 0, finished.stderr
    assert target.rows("select r::text from s.t") == [("[1,2)",)]


@pytest.mark.parametrize("source_target", [(16, 18), (15, 15)], indirect=True)
def test_a_schema_public_of_the_first_superuser(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    """As before 15, and after an upgrade from there; others own what is in it, here no table."""
    source, target = source_target.source, source_target.target
    owner, mover = f"owner_{source.name}", f"mover_{target.name}"
    scene = Scene(source, target, as_target=role(target, mover))
    source.execute(
        f"alter schema public owner to postgres; create role {owner};"
        " create domain small as integer; grant usage on schema public to pg_monitor;"
        f" alter domain small owner to {owner}"
    )
    target.execute(
        f"create role {owner}; grant {owner} to {mover};"
        f" alter database {target.name} owner to {mover}"
    )
    found = scene.look(COPIED).fatal
    assert checks(found) == {"target create-in-public"}
    scene.mend(found)
    assert checks(scene.look(COPIED).fatal) == set()
    options = ["--source", source.conninfo, "--target", scene.as_target]
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "w"), *options)
    assert finished.status == 0, finished.stderr
    assert target.rows(
        "select pg_get_userbyid(typowner)::text, nspowner::regrole::text,"
        " nspacl::text ~ 'pg_monitor=U' from pg_type join pg_namespace as n on n.oid = typnamespace"
        " where typname = 'small'"
    ) == [(owner, "pg_database_owner", True)]


@pytest.mark.parametrize("source_target", [(16, 18)], indirect=True)
def test_roles_that_only_what_is_left_out_wants(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    source, target = source_target.source, source_target.target
    mover = f"mover_{target.name}"
    owner, reader, named, typist, elsewhere, passing = (
        f"{one}_{source.name}"
        for one in ("owner", "reader", "named", "typist", "elsewhere", "passing")
    )
    scene = Scene(source, target, as_target=role(target, mover))
    for one in (owner, reader, named, typist, elsewhere, passing):
        source.execute(f"create role {one} superuser")
    source.execute(
        "create schema s; create table s.t (id integer primary key);"
        f" create table s.gone (id integer primary key); alter table s.gone owner to {owner};"
        f" grant select on s.gone to {reader}; create policy p on s.gone to {named} using (true);"
        f" create schema away; create type away.one as enum ('1'); create type away.two as enum ();"
        f" alter type away.one owner to {typist}; alter schema away owner to {elsewhere}"
    )
    target.execute(f"alter database {target.name} owner to {mover}; grant postgres to {mover}")
    filters = tmp_path / "filters.ini"
    filters.write_text("[exclude-schema]\naway\n[exclude-table]\ns.gone\n")
    parsed = parse_filters(filters.read_text(), origin="f")
    with source.connect() as connection:
        connection.execute(f"set role {passing}".encode())
        connection.execute("create temporary table passing (id integer)")
        assert checks(scene.look(replace(COPIED, filters=parsed)).fatal) == set()
        told = [one.message for one in scene.look(COPIED).fatal if one.check == "roles"]
    for one in (owner, reader, named, elsewhere, typist):
        assert f'"{one}"' in " ".join(told)
    assert passing not in " ".join(told)
    options = ["--source", source.conninfo, "--target", scene.as_target, "--filters", str(filters)]
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "w"), *options)
    assert finished.status == 0, finished.stderr
    assert target.rows("select tablename::text from pg_tables where schemaname = 's'") == [("t",)]


def test_only_the_roles_that_are_needed_have_to_be_there(
    servers: Servers, make_database: MakeDatabase, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    """Without owners, who was one need not exist; whom a policy names must, whatever is left out.

    And a user mapping makes nobody the owner of anything.
    """
    source = make_database(servers.get(15, "source"))
    target = make_database(servers.get(15, "target"))
    mover = f"mover of {target.name}"
    owner, reader, named, mapped = (
        f"{one} of {source.name}" for one in ("owner", "reader", "named", "mapped")
    )
    source.execute(
        f'create role "{owner}"; create role "{reader}"; create role "{named}";'
        f' create role "{mapped}"; create table t (id integer primary key);'
        f' create policy p on t to "{named}" using (true); grant select on t to "{reader}";'
        f' alter table t owner to "{owner}"; create extension postgres_fdw;'
        " create server away foreign data wrapper postgres_fdw;"
        f' create user mapping for "{mapped}" server away'
    )
    scene = Scene(source, target, as_target=role(target, mover))
    target.execute(
        f'create role "{reader}"; create role "{mapped}"; create extension postgres_fdw;'
        f' alter database {target.name} owner to "{mover}";'
        f' grant usage on foreign data wrapper postgres_fdw to "{mover}"'
    )
    unowned = replace(COPIED, copy=CopyOptions(no_owner=True, skip_ext_comments=True))
    less = CopyOptions(no_owner=True, no_acl=True, skip_ext_comments=True)
    for intent in (replace(unowned, copy=less), unowned):
        (found,) = scene.look(intent).fatal
        assert (found.check, found.message.partition(" do ")[0]) == (
            "roles",
            f'the roles "{named}"',
        )
    scene.mend(scene.look(unowned).fatal)
    assert checks(scene.look(unowned).fatal) == set()
    options = ["--source", source.conninfo, "--target", scene.as_target]
    options += ["--no-owner", "--skip-ext-comments"]
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "w"), *options)
    assert finished.status == 0, finished.stderr
    assert target.rows(
        f"select has_table_privilege('{reader}', 't', 'select'), roles::text[] from pg_policies"
    ) == [(True, [named])]
    assert target.rows("select usename::text from pg_user_mappings") == [(mapped,)]


def test_rights_on_what_extensions_bring(
    servers: Servers, make_database: MakeDatabase, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    """A dump has them, but not those that an extension gives itself."""
    source = make_database(servers.get(15, "source"), "create extension pgcrypto")
    target = make_database(servers.get(15, "target"))
    user, giver, mover = (f"{one}_{source.name}" for one in ("user", "giver", "mover"))
    source.execute(
        f"create role {user}; create role {giver}; grant execute on function gen_salt(text)"
        f" to {user}; grant usage on language plpgsql to {giver} with grant option;"
        f" set role {giver}; grant usage on language plpgsql to {user}"
    )
    scene = Scene(source, target)
    (found,) = scene.look(COPIED).fatal
    assert found.check == "roles"
    for one in (user, giver):
        assert f'"{one}"' in found.message
    filters = parse_filters("[exclude-extension]\npgcrypto\n", origin="f")
    less = replace(COPIED, copy=CopyOptions(no_acl=True), filters=filters)
    assert checks(scene.look(less).fatal) == set()
    dblink = parse_filters("[exclude-extension]\ndblink\n", origin="f")
    filtered = replace(COPIED, filters=dblink)
    scene.mend([found])
    assert checks(scene.look(COPIED).fatal) == set()
    finished = pgcopydb_command(
        "clone", "--dir", str(tmp_path / "w"), "--source", source.conninfo,
        "--target", target.conninfo,
    )  # fmt: skip
    assert finished.status == 0, finished.stderr
    granted = "select lanacl::text from pg_language where lanname = 'plpgsql'"
    assert target.rows(granted) == source.rows(granted)

    scene.as_target = role(target, mover)
    told = [one.message for one in scene.look(COPIED).fatal if one.check == "grantors"]
    assert [one.rpartition(" of ")[2] for one in told] == ["language plpgsql"]

    source.execute(
        f"revoke usage on language plpgsql from {giver} cascade;"
        f" revoke execute on function gen_salt(text) from public, {user}; create extension dblink;"
        f" grant execute on function dblink_connect_u(text) to {user}"
    )
    target.execute("create extension dblink")
    told = [one.message for one in scene.look(COPIED).fatal if one.check == "system-rights"]
    assert [one.rpartition(" on ")[2] for one in told] == [
        "function public.dblink_connect_u(pg_catalog.text)"
    ]
    (seen,) = (
        one.severity for one in scene.look(filtered).findings if one.check == "system-rights"
    )
    assert seen is Severity.WARNING


def test_rights_on_a_language_that_the_role_may_not_use(
    servers: Servers, make_database: MakeDatabase, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    source = make_database(servers.get(15, "source"))
    target = make_database(servers.get(15, "target"))
    user = f"user of {source.name}"
    source.execute(
        f'create role "{user}"; create table t (id integer primary key);'
        " revoke usage on language plpgsql from public;"
        f' grant usage on language plpgsql to "{user}"'
    )
    scene = Scene(source, target, as_target=role(target, f"mover of {target.name}"))
    target.execute(
        f'create role "{user}"; alter database {target.name} owner to "mover of {target.name}";'
        " revoke usage on language plpgsql from public"
    )
    unowned = Intent(copy=CopyOptions(no_owner=True), follow=None)
    found = scene.look(unowned).fatal
    assert checks(found) == {"target languages"}
    scene.mend(found)
    assert checks(scene.look(unowned).fatal) == set()
    options = ["--source", source.conninfo, "--target", scene.as_target, "--no-owner"]
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "w"), *options)
    assert finished.status == 0, finished.stderr


@pytest.mark.parametrize("major", [15, 16])
def test_roles_that_only_a_superuser_may_create(
    make_cluster: MakeCluster,
    servers: Servers,
    make_database: MakeDatabase,
    pgcopydb_command: Pgcopydb,
    tmp_path: Path,
    major: int,
) -> None:
    source = make_database(make_cluster(15), "create table t (id integer primary key)")
    target = make_database(servers.get(major, "target"))
    mover = f"mover of {target.name}"
    source.execute(
        "create role chief superuser; create role sender replication; create role plain;"
        " create role logged; alter role logged set log_statement = 'all'"
    )
    scene = Scene(source, target, as_target=role(target, mover))
    target.execute(
        f'alter database {target.name} owner to "{mover}"; alter role "{mover}" createrole'
    )
    intent = Intent(copy=CopyOptions(roles=True, no_owner=True), follow=None)
    (found,) = scene.look(intent).fatal
    assert found.check == "role-attributes"
    assert 'creating role "chief" failed' in found.message
    assert 'creating role "sender" failed' in found.message
    assert "setting log_statement failed" in found.message
    assert "plain" not in found.message
    assert target.rows("select from pg_roles where rolname in ('chief', 'plain')") == []
    options = ["--source", source.conninfo, "--target", scene.as_target]
    options += ["--no-owner", "--roles", "--no-role-passwords"]
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "refused"), *options)
    assert finished.status == 7, finished.stderr
    assert f'role "{mover}" may not create all roles of the source' in finished.stderr

    target.execute("create role chief; create role sender; create role logged")
    assert checks(scene.look(intent).fatal) == set()
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "w"), *options)
    assert finished.status == 0, finished.stderr
    assert target.rows("select from pg_roles where rolname = 'plain'") == [()]


@pytest.mark.parametrize("source_target", [(16, 18)], indirect=True)
def test_memberships_that_the_role_may_not_grant(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    source, target = source_target.source, source_target.target
    mover = f"mover_{target.name}"
    new, there, chief, member = (f"{one}_{source.name}" for one in ("new", "there", "chief", "one"))
    source.execute(
        f"create role {new}; create role {there}; create role {chief}; create role {member};"
        f" grant pg_read_all_data, {there}, {chief} to {new}; grant {new} to {member};"
        " create schema s; create table s.t (id integer primary key)"
    )
    scene = Scene(source, target, as_target=role(target, mover))
    target.execute(
        f"alter database {target.name} owner to {mover}; alter role {mover} createrole;"
        f" create role {there}; create role {chief} superuser"
    )
    copy = CopyOptions(roles=True, no_owner=True, no_role_passwords=True)
    intent = Intent(copy=copy, follow=None)
    (found,) = scene.look(intent).fatal
    assert found.check == "role-memberships"
    for one in ("pg_read_all_data", there, chief):
        assert f'granting role "{one}" to "{new}" failed' in found.message
    assert member not in found.message
    assert [statement_text(one) for one in found.statements] == [
        f'GRANT "{one}" TO "{mover}" WITH ADMIN OPTION;' for one in ("pg_read_all_data", there)
    ]
    assert target.rows(f"select to_regrole('{new}')") == [(None,)]
    options = ["--source", source.conninfo, "--target", scene.as_target]
    options += ["--no-owner", "--roles", "--no-role-passwords"]
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "refused"), *options)
    assert finished.status == 7, finished.stderr
    assert "may not grant all memberships" in finished.stderr
    assert target.rows("select from pg_namespace where nspname = 's'") == []

    scene.mend([found])
    source.execute(f"revoke {chief} from {new}")  # which only a superuser grants
    assert checks(scene.look(intent).fatal) == set()
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "w"), *options)
    assert finished.status == 0, finished.stderr
    assert target.rows(
        f"select pg_has_role('{new}', 'pg_read_all_data', 'member'),"
        f" pg_has_role('{member}', '{there}', 'member')"
    ) == [(True, True)]
    target.execute(f"drop role {member}; drop role {new}")  # before who granted


def test_passwords_that_may_not_be_read(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    source, target = source_target.source, source_target.target
    source.execute("create table t (id integer primary key)")
    reader = f"reader_{source.name}"
    scene = Scene(source, target, as_source=role(source, reader))
    source.execute(f"grant select on t to {reader}")
    intent = replace(COPIED, copy=CopyOptions(roles=True))
    (found,) = scene.look(intent).fatal
    assert (found.check, found.side) == ("role-passwords", Side.SOURCE)
    assert "--no-role-passwords" in str(found.advice)
    options = ["--source", scene.as_source, "--target", target.conninfo, "--roles"]
    refused = pgcopydb_command("clone", "--dir", str(tmp_path / "refused"), *options)
    assert refused.status == 2, refused.stderr
    assert "may not read the passwords of the roles" in refused.stderr
    assert target.rows("select from pg_tables where schemaname = 'public'") == []
    without = replace(COPIED, copy=CopyOptions(roles=True, no_role_passwords=True))
    assert checks(scene.look(without).fatal) == set()


def _kept(scene: Scene, intent: Intent) -> set[str]:
    """Return what is kept for superusers; checks that it is told of."""
    source = Endpoint(Side.SOURCE, scene.source.conninfo)
    with connect(source, purpose="check") as connection:
        filters = resolve_filters(source, connection, intent.filters, tell=False)
        facts = read_source(source, connection, replace(intent, filters=filters))
    told = [one for one in scene.look(intent).fatal if one.check == "superuser-objects"]
    assert bool(told) == bool(facts.superuser_objects)
    return {f"{one.kind} {one.name}" for one in facts.superuser_objects}


@pytest.mark.parametrize("major", [15, 16, 18])
def test_whether_a_role_may_create_is_asked_without_creating(
    servers: Servers, make_database: MakeDatabase, major: int
) -> None:
    """A superuser stands for a role that a service lets do so: both fail at what comes after."""
    database = make_database(servers.get(major, "target"))
    plain = role(database, f"plain_{database.name}")
    database.execute(f"grant create on database {database.name} to plain_{database.name}")
    kinds = ("event trigger", "foreign-data wrapper", "publication", "publication namespace")
    for conninfo, allowed in ((database.conninfo, True), (plain, False)):
        with psycopg.connect(conninfo, autocommit=True) as connection:
            assert {may_create_kind(connection, kind) for kind in kinds} == {allowed}
            assert not may_create_kind(connection, "language")
    for catalog in ("event_trigger", "foreign_data_wrapper", "publication"):
        assert database.rows(f"select from pg_{catalog}") == []


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
