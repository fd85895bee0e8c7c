"""The catalogue's lists, on every version that there is."""

import pytest

from pgcopydb.errors import ConfigurationError
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.objects import ConstraintKind, ReplicaIdentity, TableKind
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.discover import (
    check_visible,
    list_constraints,
    list_indexes,
    list_sequences,
    list_tables,
    sequence_values,
    server_facts,
)
from tests.support.servers import Database, MakeDatabase, Servers

SCHEMA = """
create schema "Odd s";
create schema pgcopydb;
create table pgcopydb.marker (i int primary key);
create table "Odd s"."t "" x" (
  id int generated always as identity primary key,
  a text collate "C" not null default 'x',
  b int generated always as (length(a)) stored,
  gone int,
  c numeric(10,2)
);
alter table "Odd s"."t "" x" drop column gone;
insert into "Odd s"."t "" x" (c) values (1);
alter table "Odd s"."t "" x" add constraint ck check (c > 2) not valid;
create unique index uu on "Odd s"."t "" x" (a) include (c);
alter table "Odd s"."t "" x" replica identity using index uu;
create index ex on "Odd s"."t "" x" ((c + 1));
alter index "Odd s".ex alter column 1 set statistics 77;
alter table "Odd s"."t "" x" cluster on ex;
create table late (k int primary key deferrable, full_k int);
create table whole (k int);
alter table whole replica identity full;
create table mute (k int primary key);
alter table mute replica identity nothing;
create table pt (k int, s serial, v text, primary key (s, k)) partition by range (k);
create table pt1 partition of pt for values from (1) to (10);
create index pt_v on pt (v);
create table child (k int references mute on delete cascade, n int unique);
create materialized view mv as select 1 as x;
create view vw as select 1 as x;
create sequence countdown increment -2 start 9 minvalue -9 maxvalue 9 cache 3 cycle;
create temporary table tmp (i int);
select setval('countdown', 5);
"""


@pytest.fixture(params=[15, 16, 18])
def database(
    request: pytest.FixtureRequest, servers: Servers, make_database: MakeDatabase
) -> Database:
    return make_database(servers.get(request.param), SCHEMA)


def test_facts_of_a_server(database: Database) -> None:
    with connect(database.endpoint(Side.SOURCE), purpose="test") as connection:
        facts = server_facts(connection)
    assert facts.major in {15, 16, 18}
    assert facts.database == database.name
    assert facts.wal_level == "logical"
    assert facts.system_identifier
    assert facts.timeline == 1
    assert facts.is_superuser
    assert "plpgsql" in facts.extensions


def test_tables(database: Database) -> None:
    with connect(database.endpoint(Side.SOURCE), purpose="test") as connection:
        tables = {table.name: table for table in list_tables(connection)}
    assert set(tables) == {'t " x', "late", "whole", "mute", "pt", "pt1", "child", "mv"}
    odd = tables['t " x']
    assert [(column.name, column.type) for column in odd.columns] == [
        ("id", "integer"),
        ("a", "text"),
        ("b", "integer"),
        ("c", "numeric(10,2)"),
    ]
    assert [column.name for column in odd.copied_columns] == ["id", "a", "c"]
    assert odd.columns[0].identity == "a"
    assert odd.columns[1].collation == 'pg_catalog."C"'
    assert odd.columns[1].default == "'x'::text"
    assert (odd.schema, odd.key_columns, odd.identity_columns) == ("Odd s", ("id",), ("a",))
    assert odd.pages == 1
    assert odd.bytes >= 8192
    assert tables["pt"].kind is TableKind.PARTITIONED
    assert tables["pt1"].parent_oids == (tables["pt"].oid,)
    assert tables["pt1"].identity_columns == ("s", "k")
    assert tables["mv"].kind is TableKind.MATERIALIZED_VIEW


def test_estimated_sizes_are_those_of_the_last_analyze(database: Database) -> None:
    database.execute(
        "create table big (t text); alter table big alter t set storage external;"
        " insert into big select repeat('x', 9000) from generate_series(1, 100)"
    )
    database.execute("vacuum big")
    database.execute(
        "insert into big select repeat('x', 9000) from generate_series(1, 100);"
        " create table new with (autovacuum_enabled = false) as select generate_series(1, 900)"
    )
    with connect(Endpoint(Side.SOURCE, database.conninfo), purpose="test") as session:
        measured = {table.name: table for table in list_tables(session)}
        estimated = {table.name: table for table in list_tables(session, estimate_sizes=True)}
        unknown = list_tables(session, with_sizes=False)
    assert 0.4 * measured["big"].bytes < estimated["big"].bytes < 0.6 * measured["big"].bytes
    assert 0 < estimated["big"].pages <= measured["big"].pages
    # No rows are taken for none: what was never looked at is measured.
    assert (estimated["new"].pages, estimated["new"].bytes) == (
        measured["new"].pages,
        measured["new"].bytes,
    )
    assert {table.name for table in unknown} == set(measured)
    assert {(table.pages, table.bytes) for table in unknown} == {(0, 0)}
    assert estimated["late"].pages == 0


def test_only_a_usable_identity_counts(database: Database) -> None:
    with connect(database.endpoint(Side.SOURCE), purpose="test") as connection:
        tables = {table.name: table for table in list_tables(connection)}
    assert not tables["late"].has_usable_identity
    assert tables["late"].key_columns == ()
    assert tables["whole"].has_usable_identity
    assert tables["whole"].replica_identity is ReplicaIdentity.FULL
    assert not tables["mute"].has_usable_identity
    assert tables["mute"].key_columns == ("k",)
    assert not tables["child"].has_usable_identity


def test_the_snapshots_filenode_stays_while_the_table_is_rewritten(database: Database) -> None:
    with connect(database.endpoint(Side.SOURCE), purpose="test", autocommit=False) as connection:
        connection.execute("set transaction isolation level repeatable read")
        server_facts(connection)
        database.execute("alter table whole alter k type bigint")
        (whole,) = (table for table in list_tables(connection) if table.name == "whole")
    ((now,),) = database.rows("select relfilenode::bigint from pg_class where relname = 'whole'")
    assert whole.filenode != now


def test_indexes(database: Database) -> None:
    with connect(database.endpoint(Side.SOURCE), purpose="test") as connection:
        indexes = {index.name: index for index in list_indexes(connection)}
    assert "marker_pkey" not in indexes
    assert indexes["ex"].statistics == ((1, 77),)
    assert indexes["ex"].is_clustered
    assert indexes["uu"].is_replica_identity
    assert indexes["uu"].constraint_oid is None
    key = indexes['t " x_pkey']
    assert key.constraint_kind is ConstraintKind.PRIMARY_KEY
    assert key.constraint_definition == "PRIMARY KEY (id)"
    assert indexes["late_pkey"].constraint_deferrable
    assert not indexes["late_pkey"].is_immediate
    assert indexes["pt_v"].is_partitioned
    assert indexes["pt1_v_idx"].parent_oid == indexes["pt_v"].oid
    assert indexes["child_n_key"].constraint_kind is ConstraintKind.UNIQUE


def test_constraints(database: Database) -> None:
    with connect(database.endpoint(Side.SOURCE), purpose="test") as connection:
        constraints = {constraint.name: constraint for constraint in list_constraints(connection)}
    check = constraints["ck"]
    assert not check.is_validated
    assert check.definition == "CHECK ((c > (2)::numeric)) NOT VALID"
    foreign = constraints["child_k_fkey"]
    assert (foreign.kind, foreign.referenced_name) == (ConstraintKind.FOREIGN_KEY, "mute")
    assert foreign.definition == "FOREIGN KEY (k) REFERENCES public.mute(k) ON DELETE CASCADE"
    assert constraints["pt1_pkey"].parent_oid == constraints["pt_pkey"].oid


def test_sequences_and_where_they_stand(database: Database) -> None:
    with connect(database.endpoint(Side.SOURCE), purpose="test") as connection:
        sequences = {sequence.name: sequence for sequence in list_sequences(connection)}
        values = {value.oid: value for value in sequence_values(connection, sequences.values())}
    countdown = sequences["countdown"]
    assert (countdown.increment, countdown.cache, countdown.cycles) == (-2, 3, True)
    assert (values[countdown.oid].last_value, values[countdown.oid].is_called) == (5, True)
    serial = sequences["pt_s_seq"]
    assert (serial.table_name, serial.column_name, serial.dependency) == ("pt", "s", "a")
    assert not values[serial.oid].is_called
    assert sequences['t " x_id_seq'].dependency == "i"


def test_a_role_that_would_not_see_every_row_is_refused(database: Database) -> None:
    role = f"reader_{database.name}"
    database.execute(
        f'create role {role} login; grant usage on schema "Odd s" to {role};'
        f'grant select on all tables in schema public, "Odd s" to {role};'
        f"alter table whole enable row level security"
    )
    endpoint = Endpoint(Side.SOURCE, database.cluster.conninfo(database.name, user=role))
    with connect(endpoint, purpose="test") as connection:
        with pytest.raises(ConfigurationError, match=r"row security .* public\.whole"):
            check_visible(list_tables(connection))
        database.execute(f"revoke select on mute from {role}")
        with pytest.raises(ConfigurationError, match=r"may not read public\.mute"):
            check_visible(list_tables(connection))
        facts = server_facts(connection)
    assert not facts.is_superuser
    assert not facts.may_replicate
