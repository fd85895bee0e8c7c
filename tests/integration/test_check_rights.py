"""``pgcopydb check``: what the roles of both sides may create, own, grant and see."""

import re
from pathlib import Path

import psycopg
import pytest
from msgspec.structs import replace
from psycopg.conninfo import make_conninfo

from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.findings import Severity
from pgcopydb.model.options import CopyOptions, FollowOptions
from pgcopydb.model.readiness import Intent
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.queries import query
from pgcopydb.postgres.readiness import may_create_kind, read_source
from pgcopydb.postgres.selection import resolve_filters
from pgcopydb.preflight.text import statement_text
from pgcopydb.rules.filters import parse_filters
from tests.support.commands import Pgcopydb
from tests.support.readiness import COPIED, Scene, checks, role
from tests.support.servers import Database, MakeCluster, MakeDatabase, Servers, SourceTarget


def _clone(scene: Scene, pgcopydb_command: Pgcopydb, tmp_path: Path, *more: str) -> None:
    """Clone as the target's role, once nothing is in the way any more."""
    options = ["--source", scene.source.conninfo, "--target", scene.as_target]
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "w"), *options, *more)
    assert finished.status == 0, finished.stderr


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
    _clone(scene, pgcopydb_command, tmp_path, "--no-owner")
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
    _clone(scene, pgcopydb_command, tmp_path)
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
    _clone(scene, pgcopydb_command, tmp_path, "--roles", "--no-role-passwords")
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
    _clone(scene, pgcopydb_command, tmp_path)
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
    _clone(scene, pgcopydb_command, tmp_path)
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
    _clone(scene, pgcopydb_command, tmp_path)
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
    _clone(scene, pgcopydb_command, tmp_path, "--no-owner", "--skip-ext-comments")
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
        " create role logged; alter role logged set log_statement = 'all';"
        " grant set on parameter log_min_messages to plain"
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
    (right,) = (one for one in scene.look(intent).findings if one.check == "role-parameters")
    assert 'GRANT SET ON PARAMETER "log_min_messages" TO "plain"' in right.message
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
    assert 'left out: GRANT SET ON PARAMETER "log_min_messages" TO "plain"' in finished.stderr
    source.execute("revoke set on parameter log_min_messages from plain")  # so that it can go
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


NO_OBJECTS_OF_A_DUMP = frozenset(
    {
        *("datacl", "spcacl", "paracl"),  # the server's own
        "initprivs",  # what initdb and extensions gave
        "defaclacl",  # asked for by default_privileges
        "extowner",  # no dump names the owner of an extension
        *("spcowner", "subowner"),  # neither is copied
    }
)
BY_LARGE_OBJECTS = frozenset({"lomacl"})
"""Which this program copies itself, and gives no rights as somebody else."""


@pytest.mark.parametrize("major", [15, 16, 18])
def test_every_catalogue_with_owners_and_rights_is_asked(servers: Servers, major: int) -> None:
    """Two queries name them all: what a version adds is to be added to both, or left out above."""
    with servers.get(major).connect() as connection:
        columns = connection.execute(
            "select attname::text, atttypid = 'aclitem[]'::regtype from pg_attribute"
            " join pg_class as c on c.oid = attrelid where relkind = 'r'"
            " and relnamespace = 'pg_catalog'::regnamespace and (atttypid = 'aclitem[]'::regtype"
            " or attname ~ 'owner$' and atttypid = 'oid'::regtype)"
        ).fetchall()
    owners = {name for name, holds_rights in columns if not holds_rights}
    rights = {name for name, holds_rights in columns if holds_rights}
    assert len(owners) > 15
    assert len(rights) > 8
    for name, wanted in (
        ("required_roles", owners | rights),
        ("strange_grantors", rights - BY_LARGE_OBJECTS),
    ):
        named = set(re.findall(r"\w+", query(name).as_string()))
        assert wanted - NO_OBJECTS_OF_A_DUMP - named == set(), name
