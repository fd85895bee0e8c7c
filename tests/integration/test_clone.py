"""A clone is equal to its source: rows, definitions and sequences, whatever the database holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from pgcopydb.clone.context import Copying
from pgcopydb.clone.run import clone
from pgcopydb.clone.schema import After
from pgcopydb.compare.schema import compare_schema
from pgcopydb.errors import ConfigurationError, SqlError, StateError, TargetError
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.options import CompareOptions, CopyOptions, WorkOptions
from pgcopydb.model.results import CloneSummary
from pgcopydb.workdir.directory import open_directory
from tests.support.equality import differences, differing_tables
from tests.support.readiness import role
from tests.support.servers import Database, MakeDatabase, Servers, SourceTarget

OBJECTS = (Path(__file__).parents[1] / "support" / "objects.sql").read_text()

VERSIONS = [(15, 15, OBJECTS), (15, 18, OBJECTS), (16, 18, OBJECTS)]

TWO_JOBS = CopyOptions(table_jobs=2, index_jobs=2)


def run_clone(
    sides: SourceTarget,
    directory: Path,
    copy: CopyOptions = TWO_JOBS,
    *,
    resume: bool = False,
    not_consistent: bool = False,
) -> CloneSummary:
    options = WorkOptions(directory=directory, resume=resume, not_consistent=not_consistent)
    with open_directory(options, command="clone") as work:
        return clone(
            work, sides.source.endpoint(Side.SOURCE), sides.target.endpoint(Side.TARGET), copy
        )


@contextmanager
def ended_after(moment: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """End the clone of the block right after a step is noted as done."""
    original = Copying.mark_done

    class Killed(Exception):
        pass

    def mark_done(copying: Copying, step: str) -> None:
        original(copying, step)
        if step == moment:
            raise Killed

    with monkeypatch.context() as patching:
        patching.setattr(Copying, "mark_done", mark_done)
        with pytest.raises(Killed):
            yield


def helper_schemas(database: Database) -> int:
    return len(database.rows("select from pg_namespace where nspname = 'pgcopydb'"))


@pytest.mark.parametrize("source_target", VERSIONS, indirect=True)
def test_every_kind_of_object(source_target: SourceTarget, tmp_path: Path) -> None:
    summary = run_clone(source_target, tmp_path / "work")
    assert differences(source_target.source, source_target.target) == []
    rows = {f"{table.schema}.{table.name}": table.rows for table in summary.tables}
    assert rows["shop.items"] == 1002
    assert rows["shop.nothing"] == 2
    assert rows["shop.empty"] == 0
    assert summary.bytes > 0
    assert helper_schemas(source_target.target) == 0


@pytest.mark.parametrize("source_target", VERSIONS, indirect=True)
@pytest.mark.parametrize("by_ctid", [True, False], ids=["blocks", "keys"])
def test_tables_in_parts(source_target: SourceTarget, by_ctid: bool, tmp_path: Path) -> None:
    copy = replace(
        TWO_JOBS, split_tables_larger_than=8192, split_max_parts=5, skip_split_by_ctid=not by_ctid
    )
    run_clone(source_target, tmp_path / "work", copy)
    assert differences(source_target.source, source_target.target) == []


@pytest.mark.parametrize("source_target", [(16, 18, OBJECTS)], indirect=True)
def test_binary_and_a_single_job(source_target: SourceTarget, tmp_path: Path) -> None:
    run_clone(
        source_target,
        tmp_path / "work",
        CopyOptions(table_jobs=1, index_jobs=1, use_copy_binary=True),
    )
    assert differences(source_target.source, source_target.target) == []


@pytest.mark.parametrize("source_target", [(16, 18, OBJECTS)], indirect=True)
def test_an_earlier_copy_is_refused_or_replaced(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    run_clone(source_target, tmp_path / "first")
    source_target.source.execute("insert into shop.keyless values (7, 'new')")
    with pytest.raises(TargetError, match=r"not empty: it has .*and \d+ more") as refused:
        run_clone(source_target, tmp_path / "second")
    assert refused.value.status == 7
    assert helper_schemas(source_target.target) == 0
    # A list of the dump tells the name of a schema from its owner's by knowing one of them.
    for side in (source_target.source, source_target.target):
        side.execute('create role "its new owner"; alter schema shop owner to "its new owner"')
    source_target.target.execute("create table shop.only_here ()")
    run_clone(source_target, tmp_path / "third", replace(TWO_JOBS, drop_if_exists=True))
    source_target.target.execute("drop table shop.only_here")
    assert differences(source_target.source, source_target.target) == []


@pytest.mark.parametrize("source_target", [(16, 18, OBJECTS)], indirect=True)
def test_names_that_are_taken_are_refused_or_replaced(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    """A restore that failed early leaves such objects, without any table."""
    target = source_target.target
    target.execute("""
        create function only_here() returns integer language sql as 'select 1';
        create schema shop; create type shop.mood as enum ('sad');
        create function shop.twice(integer) returns integer language sql as 'select $1 * 3';
        create function shop.twice(text) returns text language sql as 'select $1 || $1';
    """)
    with pytest.raises(
        TargetError, match=r"function shop.twice\(integer\), schema shop, type shop.m"
    ):
        run_clone(source_target, tmp_path / "refused")
    nothing_of_shop = tmp_path / "filters.ini"
    nothing_of_shop.write_text("[exclude-schema]\nshop\n")
    run_clone(source_target, tmp_path / "filtered", replace(TWO_JOBS, filters=nothing_of_shop))
    assert target.rows("select shop.twice(2)") == [(6,)]
    target.execute("drop function shop.twice(text)")
    run_clone(source_target, tmp_path / "replacing", replace(TWO_JOBS, drop_if_exists=True))
    target.execute("drop function only_here()")
    assert differences(source_target.source, target) == []


TANGLED = """
create table t (id integer primary key, "v ""w" text collate "C");
create function rows_of(t) returns setof t language sql as 'select * from t';
create function either(t, t) returns t language sql as 'select $1';
create aggregate first_of(t) (sfunc = either, stype = t);
create function "Count of"(a integer, variadic b text[]) returns bigint language plpgsql as
    $$begin return (select count(*) from t); end$$;
create view one as select id, "v ""w" from t;
create view other as select id, "v ""w" from one;
create or replace view one as select o.id, o."v ""w" from other as o;
create rule one_more as on insert to one do instead insert into t values (new.id);
create view typed as select 1::numeric(5,2) as id, 'x'::varchar(3) as v;
create function of_view() returns setof typed language sql as $$select 1.0, 'x'$$;
create or replace view typed as select id, v from of_view();
create table held (id integer); create table holding (id integer);
create policy by_other on held using (exists (select from holding));
create policy by_other on holding using (exists (select from held));
create rule further as on insert to held do also insert into holding values (new.id);
create rule further as on insert to holding where new.id < 0 do also insert into held values (1);
"""


@pytest.mark.parametrize("source_target", [(15, 16, TANGLED), (16, 18, TANGLED)], indirect=True)
def test_what_depends_on_each_other_is_replaced(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    """A run that goes on with half a schema drops it in the same way."""
    run_clone(source_target, tmp_path / "first")
    replacing = replace(TWO_JOBS, drop_if_exists=True)
    run_clone(source_target, tmp_path / "second", replacing)
    assert differences(source_target.source, source_target.target) == []
    target = source_target.target
    target.execute("create function mine() returns setof t language sql as 'select * from t'")
    with pytest.raises(TargetError, match=r"t cannot be replaced: function .*mine\(\) depends"):
        run_clone(source_target, tmp_path / "third", replacing)
    target.execute("drop function mine()")
    run_clone(source_target, tmp_path / "fourth", replacing)
    assert differences(source_target.source, target) == []


FUTURE = """
create schema s; create table t (id integer primary key); create table s.t (id integer);
create sequence s.q; create type s.e as enum ('a');
create function s.f() returns integer language sql as 'select 1';
alter default privileges grant usage on schemas to "later's reader";
alter default privileges grant select on tables to "later's reader" with grant option;
alter default privileges revoke execute on functions from public;
alter default privileges revoke usage on types from public;
alter default privileges revoke update on sequences from current_user;
alter default privileges in schema public grant select on tables to public;
create schema "of
 later"; create table "of
 later".t (id integer);
alter default privileges for role "later's
 owner" in schema "of
 later" grant select on tables to public;
alter default privileges in schema "of
 later" grant select on tables to "later's reader";
"""

FUTURE_ROLES = """create role "later's\n owner"; create role "later's reader";"""

FUTURE_RIGHTS = "select * from pg_default_acl order by 2, 3, 4"


@pytest.fixture
def future(source_target: SourceTarget) -> SourceTarget:
    """A source whose default privileges are not those that its objects were made with."""
    source = source_target.source
    for side in (source, source_target.target):
        side.execute(FUTURE_ROLES)
    source.execute(FUTURE)
    if source.rows("select where current_setting('server_version_num')::integer >= 180000"):
        source.execute(
            "select lo_create(12345);"
            """ alter default privileges grant update on large objects to "later's reader" """
        )
    return source_target


def schema_differences(sides: SourceTarget) -> tuple[object, ...]:
    source, target = sides.source.endpoint(Side.SOURCE), sides.target.endpoint(Side.TARGET)
    return compare_schema(source, target, CompareOptions(), WorkOptions()).differences


@pytest.mark.parametrize("source_target", [(15, 16), (16, 18), (18, 18)], indirect=True)
def test_rights_on_what_is_made_later_are_not_given_to_a_copy_that_replaces(
    future: SourceTarget, tmp_path: Path
) -> None:
    """They are those of the copy that is replaced, and apply to whatever is made again."""
    run_clone(future, tmp_path / "first")
    assert schema_differences(future) == ()
    target = future.target
    target.execute("alter default privileges in schema public grant insert on tables to public")
    target.execute("create table s.only_here ()")  # its schema stays
    run_clone(future, tmp_path / "second", replace(TWO_JOBS, drop_if_exists=True))
    target.execute("drop table s.only_here")
    assert schema_differences(future) == ()


@pytest.mark.parametrize("source_target", [(16, 18)], indirect=True)
def test_rights_on_what_is_made_later_stay_where_they_are_not_copied(
    future: SourceTarget, tmp_path: Path
) -> None:
    future.target.execute(
        "alter default privileges revoke execute on functions from public;"
        "alter default privileges in schema public grant select on tables to public"
    )
    before = future.target.rows(FUTURE_RIGHTS)
    copy = replace(TWO_JOBS, drop_if_exists=True, no_acl=True)
    run_clone(future, tmp_path / "work", copy)
    assert future.target.rows(FUTURE_RIGHTS) == before


@pytest.mark.parametrize("source_target", [(16, 18)], indirect=True)
def test_rights_on_what_is_made_later_are_not_given_to_a_copy_that_is_started_over(
    future: SourceTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ended_after(After.OBJECTS, monkeypatch):
        run_clone(future, tmp_path / "work")
    assert future.target.rows(FUTURE_RIGHTS)
    restart = WorkOptions(directory=tmp_path / "work", restart=True)
    with open_directory(restart, command="clone") as work:
        source, target = future.source, future.target
        clone(work, source.endpoint(Side.SOURCE), target.endpoint(Side.TARGET), TWO_JOBS)
    assert schema_differences(future) == ()


@pytest.mark.parametrize("source_target", [(15, 15), (16, 18)], indirect=True)
def test_rights_on_what_is_made_later_are_put_back_by_no_superuser(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    source, target = source_target.source, source_target.target
    for side in (source, target):
        side.execute(FUTURE_ROLES)
    as_mover = Endpoint(Side.TARGET, role(target, "the mover"))
    source.execute(
        """create role "the mover"; create schema s; create table s.t (id integer);
        alter default privileges for role "the mover" grant select on tables to public;
        alter default privileges for role "later's\n owner" revoke usage on types from public"""
    )
    target.execute(
        f"""alter database {target.name} owner to "the mover";
        grant "later's\n owner" to "the mover" """
    )
    for number in range(2):
        copy = CopyOptions(table_jobs=1, no_owner=True, drop_if_exists=number > 0)
        options = WorkOptions(directory=tmp_path / str(number))
        with open_directory(options, command="clone") as work:
            clone(work, source.endpoint(Side.SOURCE), as_mover, copy)
        assert target.rows("select relacl from pg_class where relname = 't'") == [(None,)]
        assert target.rows("select from pg_default_acl") == [(), ()]


def test_the_source_as_target_is_refused(
    servers: Servers, make_database: MakeDatabase, tmp_path: Path
) -> None:
    database = make_database(servers.get(16))
    with pytest.raises(ConfigurationError, match="same database"):
        run_clone(SourceTarget(database, database), tmp_path / "work")


@pytest.mark.parametrize("source_target", [(16, 18, OBJECTS)], indirect=True)
def test_the_view_of_another_session(source_target: SourceTarget, tmp_path: Path) -> None:
    source = source_target.source
    with source.connect() as holder:
        holder.execute("begin isolation level repeatable read")
        (snapshot,) = holder.execute("select pg_export_snapshot()").fetchone() or ("",)
        source.execute("insert into shop.keyless values (7, 'too late')")
        run_clone(source_target, tmp_path / "work", replace(TWO_JOBS, snapshot=snapshot))
    assert source_target.target.rows("select count(*) from shop.keyless") == [(3,)]


def test_a_snapshot_that_is_gone(source_target: SourceTarget, tmp_path: Path) -> None:
    copy = replace(TWO_JOBS, snapshot="00000003-0000001B-1")
    with pytest.raises(StateError, match="not exported"):
        run_clone(source_target, tmp_path / "work", copy)


@pytest.mark.parametrize("change", ["alter column i type bigint", "rename to other"])
def test_a_table_changed_after_the_snapshot(
    source_target: SourceTarget, change: str, tmp_path: Path
) -> None:
    source = source_target.source
    source.execute("create table t (i integer); insert into t select generate_series(1, 1000)")
    with source.connect() as holder:
        holder.execute("begin isolation level repeatable read")
        (snapshot,) = holder.execute("select pg_export_snapshot()").fetchone() or ("",)
        source.execute(f"alter table t {change}")
        with pytest.raises(StateError, match=r"changed after the snapshot.*public\.t"):
            run_clone(source_target, tmp_path / "work", replace(TWO_JOBS, snapshot=snapshot))


@pytest.mark.parametrize("source_target", [(15, 15), (16, 18)], indirect=True)
def test_rows_that_violate_a_partitioned_foreign_key(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    source_target.source.execute("""
        create table a (id integer primary key); insert into a values (1);
        create table p (a integer) partition by list (a);
        create table p1 partition of p for values in (1); create table p2 partition of p default;
        alter table p add constraint of_p foreign key (a) references a;
        comment on constraint of_p on p is 'broken'; comment on column p.a is 'mine';
        create table z (a integer references a); insert into z values (1);
        create function f() returns trigger language plpgsql as 'begin return new; end';
        create trigger t before insert on z for each row execute function f();
        set session_replication_role = replica; insert into p values (1), (2);
    """)
    with pytest.raises(SqlError, match=r'violate "of_p" of public\.p$'):
        run_clone(source_target, tmp_path / "work")
    assert differing_tables(source_target.source, source_target.target) == []
    target = source_target.target
    states = "select conname, convalidated from pg_constraint where contype = 'f' and not (%s)"
    found = target.rows(states % "conparentid <> 0")
    can_be_unchecked = target.rows("show server_version_num")[0][0] >= "180000"
    of_p = [("of_p", False)] if can_be_unchecked else []
    assert sorted(found) == [*of_p, ("z_a_fkey", True)]
    assert target.rows("select tgname from pg_trigger where not tgisinternal") == [("t",)]
    comments = "select description from pg_description where description ~ '^(broken|mine)$'"
    assert sorted(target.rows(comments)) == [*(("broken",) for _ in of_p), ("mine",)]


def test_rows_that_violate_a_foreign_key(source_target: SourceTarget, tmp_path: Path) -> None:
    source_target.source.execute("""
        create table a (id integer primary key); create table b (a integer references a);
        create table c (a integer references a);
        insert into a values (1); insert into c values (1);
        set session_replication_role = replica; insert into b values (1), (2);
    """)
    with pytest.raises(SqlError, match=r'violate "b_a_fkey" of public\.b$'):
        run_clone(source_target, tmp_path / "work")
    assert differing_tables(source_target.source, source_target.target) == []
    states = "select conname, convalidated from pg_constraint where contype = 'f' order by 1"
    assert source_target.target.rows(states) == [("b_a_fkey", False), ("c_a_fkey", True)]
