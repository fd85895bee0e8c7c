"""What one version of PostgreSQL has and another has not, and how ``check`` tells of it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from pgcopydb.rules.filters import parse_filters
from tests.support.commands import Pgcopydb
from tests.support.readiness import COPIED, Scene, checks
from tests.support.servers import SourceTarget

LOST_AFTER_13 = {
    "create table lost_t (id bigint); create index lost_i on lost_t ((id!))": (
        "indexes",
        "public.lost_i (operator !(bigint,NONE))",
    ),
    "create view lost as select pg_is_in_backup() or 5! = id as held from t": (
        "views",
        "public.lost (function pg_is_in_backup(), operator !(bigint,NONE))",
    ),
    "create rule lost as on insert to t where pg_backup_start_time() < now() do nothing": (
        "rules",
        "lost on public.t (function pg_backup_start_time())",
    ),
}
_LOST = "pg_stat_get_buf_written_backend()"
LOST_AFTER_15 = {
    f"create table lost_t (id bigint primary key default {_LOST})": (
        "default values",
        f"for public.lost_t.id (function {_LOST})",
    ),
    f"alter table lost_t add constraint lost check ({_LOST} > id)": (
        "table constraints",
        f"lost on public.lost_t (function {_LOST})",
    ),
    f"create policy lost on lost_t using ({_LOST} > id)": (
        "policies",
        f"lost on public.lost_t (function {_LOST})",
    ),
    f"create trigger lost before update on lost_t for each row when ({_LOST} > new.id)"
    " execute function suppress_redundant_updates_trigger()": (
        "triggers",
        f"lost on public.lost_t (function {_LOST})",
    ),
    f"create domain lost_d as bigint default {_LOST}": (
        "types",
        f"public.lost_d (function {_LOST})",
    ),
    f"create function lost(a bigint default {_LOST}) returns bigint begin atomic select 1; end": (
        "functions",
        f"public.lost(bigint) (function {_LOST})",
    ),
    "create view lost_columns as select * from pg_stat_get_wal()": (
        "views",
        "public.lost_columns (columns of function pg_stat_get_wal())",
    ),
    'create view "s x".lost as with b as (select buffers_checkpoint as n from pg_stat_bgwriter)'
    " select id from t where exists (select from b where n > id)": (
        "views",
        '"s x".lost (column pg_stat_bgwriter.buffers_checkpoint)',
    ),
    "create view lost as select datname, w.wal_write from pg_stat_database as d"
    " join pg_stat_wal as w using (stats_reset)": (
        "views",
        "public.lost (column pg_stat_wal.wal_write)",
    ),
    "create materialized view lost_too as select datname, daticulocale from pg_database": (
        "materialized views",
        "public.lost_too (column pg_database.daticulocale)",
    ),
    "create rule lost as on delete to t do also select daticulocale from pg_database": (
        "rules",
        "lost on public.t (column pg_database.daticulocale)",
    ),
}


MADE_SINCE_15 = (
    (
        "create table n (a integer, b integer); create unique index i on n (a) nulls not distinct",
        "NULLS NOT DISTINCT: index made.i",
    ),
    (
        "create publication columns_of for table n (a)",
        "a row filter or a column list: publication relation made.n in publication columns_of",
    ),
    (
        "create view invoked with (security_invoker) as select a from n",
        "security_invoker: view made.invoked",
    ),
    ("create table r (m int4multirange)", "multiranges: table column made.r.m"),
    (
        "create function two() returns integer begin atomic select 2; end",
        "bodies in standard SQL: function made.two()",
    ),
    (
        "create statistics expressions on (a + 1), (b + 1) from n",
        "statistics of expressions: statistics object made.expressions",
    ),
)
MADE_SINCE_18 = (
    (
        "create table g (a integer, b integer generated always as (a + 1) virtual)",
        "virtual generated columns: table column made.g.b",
    ),
    (
        "create table e (a integer constraint positive check (a > 0) not enforced)",
        "NOT ENFORCED: table constraint positive on made.e",
    ),
    (
        "create table v (a integer); alter table v add constraint given not null a not valid",
        "NOT VALID of NOT NULL: table constraint given on made.v",
    ),
)


def assert_lost_names_are_found(
    pair: SourceTarget,
    after: int,
    lost: Mapping[str, tuple[str, str]],
    pgcopydb_command: Pgcopydb,
    tmp_path: Path,
) -> None:
    """What both versions understand, if by other signatures, is not told and is copied."""
    source, target = pair.source, pair.target
    source.execute(
        'create schema "s x"; create table t (id integer primary key); insert into t values (1);'
        " create view arrays as select array_append(array_remove(array[id], 2), 1) || 3 as ids,"
        "  extract(epoch from now()), lag(id, 1, 0) over (order by id), id::text, 'a b' ~ 'a'"
        "  from t where id = any (array[1, 2]);"
        " create view sessions as select a.pid, c.relname, count(*) from pg_stat_activity as a"
        "  join pg_locks as l using (pid) join pg_class as c on c.oid = l.relation"
        "  where pg_table_is_visible(c.oid) group by 1, 2;"
        " create view names as select * from information_schema.columns"
    )
    scene = Scene(source, target)
    does_not_have = f"PostgreSQL {after} does not have what "
    assert checks(scene.look(COPIED).fatal) == set()
    for statement in lost:
        source.execute(statement)
    found = scene.look(COPIED).fatal
    assert checks(found) == {"target system-names"}
    told = dict(one.message.removeprefix(does_not_have).split(": ") for one in found)
    assert set(told) == {f"{kind} of the source use" for kind, _ in lost.values()}
    for kind, name in lost.values():
        assert name in told[f"{kind} of the source use"]
    assert not re.search("arrays|sessions|names", "".join(told.values()))
    options = ["--source", source.conninfo, "--target", target.conninfo]
    refused = pgcopydb_command("clone", "--dir", str(tmp_path / "refused"), *options)
    assert refused.status == 2, refused.stderr
    assert f"{does_not_have}views of the source use" in refused.stderr

    source.execute("drop rule lost on t")
    source.execute("drop domain if exists lost_d; drop function if exists lost")
    filters = tmp_path / "filters"
    filters.write_text("[exclude-table]\n~/.*/.~/^lost/\n")
    left_out = replace(COPIED, filters=parse_filters(filters.read_text(), origin="f"))
    assert checks(scene.look(left_out).fatal) == set()
    options += ["--filters", str(filters)]
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "w"), *options)
    assert finished.status == 0, finished.stderr
    assert target.rows("select ids from arrays") == [([1, 1, 3],)]
    assert target.rows("select from pg_class where relname ~ 'lost'") == []


def assert_new_features_are_found(
    pair: SourceTarget,
    after: int,
    made: Sequence[tuple[str, str]],
    pgcopydb_command: Pgcopydb,
    tmp_path: Path,
) -> None:
    source, target = pair.source, pair.target
    source.execute(
        "create table t (id integer primary key, v integer not null check (v > 0) unique);"
        " create view plain with (security_barrier) as select id from t;"
        " create function one() returns integer language sql as 'select 1';"
        " create statistics pair on id, v from t; insert into t values (1, 2);"
        " create schema left_out; create table left_out.n (a integer)"
    )
    if made is MADE_SINCE_15:
        source.execute(
            "create publication p for table t;"
            " create table left_out.m (a integer, unique nulls not distinct (a))"
        )
    else:
        source.execute("create table left_out.m (a integer check (a > 0) not enforced)")
    scene = Scene(source, target)
    filtered = replace(COPIED, filters=parse_filters("[exclude-schema]\nleft_out\n", origin="f"))
    assert checks(scene.look(filtered).fatal) == set()
    source.execute("drop table left_out.m")
    assert checks(scene.look(COPIED).fatal) == set()
    source.execute("create schema made")
    for statement, _ in made:
        source.execute(f"set search_path = made; {statement}")
    found = scene.look(COPIED).fatal
    assert {one.message for one in found} == {
        f"PostgreSQL {after} does not know {says}" for _, says in made
    }
    assert checks(found) == {"target new-features"}
    options = ["--source", source.conninfo, "--target", target.conninfo]
    refused = pgcopydb_command("clone", "--dir", str(tmp_path / "refused"), *options)
    assert refused.status == 2, refused.stderr
    assert f"PostgreSQL {after} does not know " in refused.stderr
    source.execute("drop schema made cascade")
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "w"), *options)
    assert finished.status == 0, finished.stderr
    assert target.rows("select * from t") == [(1, 2)]
