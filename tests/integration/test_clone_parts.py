"""What a clone rests on, tried on real servers: quoting, sequences, snapshots, the late finish."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgcopydb.clone.run import copy_database, finish_constraints
from pgcopydb.errors import ConfigurationError, TargetError
from pgcopydb.model.endpoint import Side
from pgcopydb.model.options import WorkOptions
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.helper_schema import (
    copied_parts,
    create_helper_schema,
    drop_helper_schema,
    helper_schema_exists,
)
from pgcopydb.postgres.maintenance import server_resources, take_share
from pgcopydb.postgres.sequences import synchronize_sequences
from pgcopydb.postgres.snapshot import check_lock_space, exported_snapshot, locked_snapshot
from pgcopydb.rules.maintenance import SessionShare, share
from pgcopydb.sql.quote import quote_identifier, quote_literal
from pgcopydb.workdir.directory import open_directory
from tests.integration.test_clone import OBJECTS, TWO_JOBS, run_clone
from tests.support.equality import (
    definitions,
    differences,
    differing_tables,
    sequence_places,
)
from tests.support.servers import (
    AsRole,
    Connection,
    Database,
    MakeCluster,
    MakeDatabase,
    Servers,
    SourceTarget,
)

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1)


@pytest.fixture
def database(servers: Servers, make_database: MakeDatabase) -> Database:
    return make_database(servers.get(16))


@pytest.fixture
def session(database: Database) -> Iterator[Connection]:
    with database.connect() as connection:
        yield connection


_on_one_server = settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@_on_one_server
@given(text=TEXT)
def test_the_server_reads_back_a_quoted_literal(session: Connection, text: str) -> None:
    for standard in ("on", "off"):
        session.execute(f"set standard_conforming_strings = {standard}".encode())
        assert session.execute(f"select {quote_literal(text)}".encode()).fetchone() == (text,)
    session.execute("set standard_conforming_strings = on")
    row = session.execute("select quote_literal(%s)", (text,)).fetchone()
    assert row is not None
    assert quote_literal(text).lstrip() == row[0].lstrip()


@_on_one_server
@given(name=TEXT.filter(lambda name: len(name.encode()) <= 63))
def test_the_server_reads_back_a_quoted_identifier(session: Connection, name: str) -> None:
    cursor = session.execute(f"select 1 as {quote_identifier(name)}".encode())
    assert cursor.description is not None
    assert cursor.description[0].name == name
    row = session.execute("select quote_ident(%s)", (name,)).fetchone()
    assert row is not None
    assert row[0] in {name, quote_identifier(name)}


SEQUENCES = """
create sequence up; create sequence down increment -1; create sequence uncalled start 7;
create sequence reset minvalue -100 start 50; create sequence cycling maxvalue 3 cycle;
create sequence only_here; create table t (id serial);
"""


def test_sequences_are_set_exactly(source_target: SourceTarget) -> None:
    source, target = source_target.source, source_target.target
    source.execute(SEQUENCES)
    target.execute(SEQUENCES + "drop sequence only_here")
    source.execute("""
        select setval('up', 41); select setval('down', -41); select setval('reset', -3, false);
        select setval('cycling', 2); select nextval('t_id_seq');
    """)
    done = synchronize_sequences(source.endpoint(Side.SOURCE), target.endpoint(Side.TARGET))
    assert done.lacks == ("public.only_here",)
    assert done.ahead == ()
    assert done.set == 5
    wanted = sequence_places(source)
    del wanted["public.only_here"]
    assert sequence_places(target) == wanted
    again = synchronize_sequences(source.endpoint(Side.SOURCE), target.endpoint(Side.TARGET))
    assert again.set == 0


@pytest.mark.parametrize("side", list(Side))
def test_sequences_that_a_role_may_not_read_are_named_with_its_side(
    source_target: SourceTarget, side: Side
) -> None:
    pair, role = source_target, "sequences_reader"
    for database in (pair.source, pair.target):
        for number in range(7):
            database.execute(f"create sequence s{number}")
    database = pair.source if side is Side.SOURCE else pair.target
    database.execute(f"create role {role} login")
    limited = AsRole(database.cluster, database.name, role)
    sides = {Side.SOURCE: pair.source, Side.TARGET: pair.target, side: limited}
    with pytest.raises(ConfigurationError) as refused:
        synchronize_sequences(
            sides[Side.SOURCE].endpoint(Side.SOURCE), sides[Side.TARGET].endpoint(Side.TARGET)
        )
    assert refused.value.message == (
        f"the {side} role may not read the sequences public.s0, public.s1, public.s2, public.s3,"
        " public.s4 and 2 more"
    )


def test_sequences_never_go_back(source_target: SourceTarget) -> None:
    source, target = source_target.source, source_target.target
    for database in (source, target):
        database.execute(SEQUENCES)
    source.execute(
        "select setval('up', 10); select setval('down', -10); select setval('cycling', 1)"
    )
    target.execute(
        "select setval('up', 11); select setval('down', -11); select setval('cycling', 3)"
    )
    done = synchronize_sequences(source.endpoint(Side.SOURCE), target.endpoint(Side.TARGET))
    assert set(done.ahead) == {"public.up", "public.down"}
    places = sequence_places(target)
    assert places["public.up"] == (11, True)
    assert places["public.down"] == (-11, True)
    assert places["public.cycling"] == (1, True)


def test_a_snapshot_of_a_snapshot_sees_the_same(source_target: SourceTarget) -> None:
    source = source_target.source
    source.execute("create table t (i integer); insert into t values (1)")
    with exported_snapshot(source.endpoint(Side.SOURCE)) as first:
        source.execute("insert into t values (2)")
        with exported_snapshot(source.endpoint(Side.SOURCE), first.id) as second:
            assert second.origin == first.id
            assert second.id != first.id
            assert second.connection.execute("select i from public.t").fetchall() == [(1,)]
            second.confirm()


def test_locked_tables_cannot_change_their_shape(source_target: SourceTarget) -> None:
    source = source_target.source
    source.execute(
        "create table t (i integer); create table parent (i integer) partition by list (i)"
    )
    with locked_snapshot(source.endpoint(Side.SOURCE)) as locked:
        assert {table.name for table in locked.tables} == {"t", "parent"}
        with source.connect() as other, pytest.raises(Exception, match="lock timeout"):
            other.execute("set lock_timeout = 100; alter table t add j integer")
        source.execute("insert into t values (1)")
    source.execute("alter table t add j integer")


def test_more_tables_than_locks_are_refused() -> None:
    check_lock_space(1000, 900)
    with pytest.raises(ConfigurationError, match="901 tables must be locked") as refused:
        check_lock_space(1000, 901)
    assert "max_locks_per_transaction" in (refused.value.hint or "")
    assert "at least 2 times" in (refused.value.hint or "")


@pytest.mark.parametrize("major", [15, 16])
def test_many_tables_are_refused_before_anything_is_locked(
    source_target: SourceTarget, major: int, make_cluster: MakeCluster, tmp_path: Path
) -> None:
    settings = {"max_locks_per_transaction": "10", "max_connections": "20"}
    cluster = make_cluster(major, settings=settings)
    cluster.create_database("many")
    many = Database(cluster, "many")
    for first in range(0, 600, 50):
        many.execute("".join(f"create table t{number} ();" for number in range(first, first + 50)))
    with pytest.raises(ConfigurationError, match="600 tables must be locked at once"):
        run_clone(SourceTarget(many, source_target.target), tmp_path / "work")
    assert source_target.target.rows("select from pg_class where relname = 't1'") == []


def test_a_session_that_builds_takes_its_share(session: Connection) -> None:
    session.execute("set maintenance_work_mem = '1MB'; set max_parallel_maintenance_workers = 6")
    server = server_resources(session)
    take_share(session, sessions=3)
    taken = server_resources(session)
    assert SessionShare(
        taken.maintenance_work_mem, taken.max_parallel_maintenance_workers
    ) == share(server, sessions=3)
    assert taken.maintenance_work_mem > server.maintenance_work_mem


def test_the_helper_schema_goes_with_its_last_run(database: Database) -> None:
    endpoint = database.endpoint(Side.TARGET)
    with connect(endpoint, purpose="test") as connection:
        create_helper_schema(connection, "one")
        create_helper_schema(connection, "one")
        create_helper_schema(connection, "two")
        assert copied_parts(connection, "one", "snapshot") == []
        drop_helper_schema(connection, "one")
        assert helper_schema_exists(connection)
        drop_helper_schema(connection, "two")
        assert not helper_schema_exists(connection)
        drop_helper_schema(connection, "two")


def test_a_schema_of_that_name_by_others_is_left_alone(database: Database) -> None:
    database.execute("create schema pgcopydb; create table pgcopydb.mine (i integer)")
    with (
        connect(database.endpoint(Side.TARGET), purpose="test") as connection,
        pytest.raises(TargetError, match="not of this program's making"),
    ):
        create_helper_schema(connection, "one")
    assert database.rows("select count(*) from pgcopydb.mine") == [(0,)]


@pytest.mark.parametrize("source_target", [(16, 18, OBJECTS)], indirect=True)
def test_constraints_can_come_later(source_target: SourceTarget, tmp_path: Path) -> None:
    sides = (source_target.source.endpoint(Side.SOURCE), source_target.target.endpoint(Side.TARGET))
    looked = 0

    def watch() -> None:
        nonlocal looked
        looked += 1

    with (
        exported_snapshot(sides[0]) as held,
        open_directory(WorkOptions(directory=tmp_path / "work"), command="clone") as work,
    ):
        copy_database(work, *sides, TWO_JOBS, snapshot=held.id, watch=watch, defer_constraints=True)
        assert looked > 0
        assert differing_tables(source_target.source, source_target.target) == []
        triggers = [name for name in definitions(source_target.target) if "trigger" in name]
        assert triggers == []
        assert source_target.target.rows("select from pg_constraint where contype = 'f'") == []
        finish_constraints(work, *sides, TWO_JOBS)
    with connect(sides[1], purpose="test") as connection:
        assert helper_schema_exists(connection)
    assert differences(source_target.source, source_target.target) == []
