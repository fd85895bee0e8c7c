"""The tests' own judges: they accept what is right, and notice every kind of wrong."""

from contextlib import ExitStack, closing
from decimal import Decimal
from threading import Thread

import psycopg
import pytest

from pgcopydb.demo.cluster import Cluster
from tests.support import litter
from tests.support.clock import wait_for
from tests.support.ledger import Commit, Ledger
from tests.support.oracles import PrefixReader, Sighting, assert_migrated, assert_prefixes
from tests.support.servers import Database, MakeCluster, MakeDatabase, SourceTarget
from tests.support.source_health import (
    LONGEST_IDLE,
    LONGEST_WAIT,
    MOST_RETAINED,
    Health,
    SourceHealth,
    assert_healthy,
    is_outage,
)
from tests.support.workload import APPLICATION, WRITERS, Workload

_ENOUGH = """
select from app.echo, app.ledger
where echo.n = 10 and ledger.n = 2 and ledger.writer = 'move_money'
  and exists (select from app.sold) and exists (select from app.documents)
"""
"""Whether the writers have made the rows that are damaged below."""


@pytest.mark.parametrize("source_target", [(15, 15, APPLICATION)], indirect=True)
def test_the_application_works_and_every_wrong_is_noticed(
    source_target: SourceTarget, make_database: MakeDatabase
) -> None:
    source, ledger = source_target.source, Ledger()
    with Workload(source, ledger) as workload, PrefixReader(source) as reader:
        workload.wait_for_transactions(20)
        assert wait_for(lambda: bool(source.rows(_ENOUGH)), seconds=60)
        workload.stop()
    assert_prefixes(reader, ledger)
    assert ledger.commits.keys() == set(WRITERS)

    target = make_database(source.cluster, None)
    source.cluster.drop_database(target.name)
    source.cluster.create_database(target.name, source.name)
    copy = SourceTarget(source, target)
    assert_migrated(copy, ledger)
    for damage, told in (
        ("delete from app.ledger where n = 2 and writer = 'move_money'", "'lost': (1,"),
        ("insert into app.ledger (writer, n) values ('nobody', 1)", "'phantom': (1,"),
        ("insert into app.echo select * from app.echo limit 1", "'duplicated': (1,"),
        ("delete from app.echo where n = 10", "'without its other half'"),
        (
            "update app.documents set body = 'x' where id = (select min(id) from app.documents)",
            "app.documents",
        ),
        (
            "delete from app.machines where power = (select max(power) from app.machines)",
            "app.machines",
        ),
        ("create table app.new ()", "app.new: missing on the source"),
        ("select setval('app.tickets', 1, false)", "app.tickets"),
        ("select setval('app.countdown', 100)", "app.countdown"),
    ):
        target.execute(damage)
        with pytest.raises(AssertionError) as wrong:
            assert_migrated(copy, ledger)
        assert told in str(wrong.value)
        source.cluster.drop_database(target.name)
        source.cluster.create_database(target.name, source.name)


def test_an_order_that_never_was_is_noticed() -> None:
    ledger = Ledger()
    for commit in (Commit("a", 1, 1.0, 2.0), Commit("b", 1, 3.0, 4.0), Commit("a", 2, 3.5, 5.0)):
        ledger.acknowledge(commit)

    def judge(a: tuple[int, int], b: tuple[int, int], *in_part: str) -> None:
        reader = PrefixReader.__new__(PrefixReader)
        commits = {"a": a, "b": b}
        reader.sightings = [Sighting(Decimal(20_000), 0, (20, 210, 210), commits, in_part)]
        assert_prefixes(reader, ledger)

    judge((0, 0), (0, 0))
    judge((1, 1), (0, 0))
    judge((2, 2), (0, 0))  # b's and a's second overlapped: either may be first
    with pytest.raises(AssertionError, match="gaps"):
        judge((2, 1), (1, 1))
    with pytest.raises(AssertionError, match="seen later"):
        judge((0, 0), (1, 1))
    with pytest.raises(AssertionError, match="half of it"):
        judge((1, 1), (0, 0), "half of it")


def test_a_killed_server_is_waited_for_and_nothing_else(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(16)
    cluster.create_database("app")
    database = Database(cluster, "app")
    database.execute(APPLICATION)
    with (
        closing(database.connect()) as locking,
        closing(database.connect()) as writing,
        PrefixReader(database, in_part="select 'half of it'") as reader,
    ):
        # A writer that outlives a crash must not outlive what a migration does to it.
        locking.execute("begin; lock table app.only_keys")
        with pytest.raises(psycopg.OperationalError) as limited:
            writing.execute("set lock_timeout to 1; select * from app.only_keys")
        assert not is_outage(limited.value)
        assert wait_for(lambda: len(reader.sightings) > 3)
        cluster.kill()
        with pytest.raises(psycopg.OperationalError) as killed:
            writing.execute("select 1")
        assert is_outage(killed.value)
        seen = len(reader.sightings)
        cluster.start()
        assert wait_for(lambda: len(reader.sightings) > seen + 10)
    assert ("half of it",) in {sighting.in_part for sighting in reader.sightings[seen:]}


def test_what_is_left_behind_is_found(pg16: Cluster, make_database: MakeDatabase) -> None:
    database = make_database(pg16)
    before = litter.litter(database)
    database.execute("create schema pgcopydb; create publication p")
    database.rows("select pg_create_logical_replication_slot('s', 'pgoutput')")
    database.rows("select pg_replication_origin_create('o')")
    assert set(litter.litter(database)) - set(before) == {
        "schema pgcopydb",
        "publication p",
        "slot s",
        "origin o",
    }
    with database.connect(application_name="pgcopydb test"):
        assert litter.sessions(database)
    assert wait_for(lambda: not litter.sessions(database))


def test_what_a_source_suffers_is_seen(pg16: Cluster, make_database: MakeDatabase) -> None:
    """A reader waits for a TRUNCATE, and that for the migration: both wait for the migration."""
    database = make_database(pg16)
    database.execute("create table t (i integer); insert into t values (1)")
    waiting = "select from pg_locks where not granted and relation = 't'::regclass"

    def wait_in_turn(statement: str, after: int) -> None:
        connection = stack.enter_context(closing(database.connect(application_name=statement)))
        thread = Thread(target=connection.execute, args=[statement.encode()], daemon=True)
        stack.callback(thread.join)
        thread.start()
        assert wait_for(lambda: len(database.rows(waiting)) > after)

    with ExitStack() as stack, SourceHealth(database) as watch:
        seen = watch.health
        # What the base copy itself holds is not told of; waits are.
        ours = stack.enter_context(database.connect(application_name="pgcopydb lock holder"))
        ours.execute("begin isolation level repeatable read")
        ours.execute("select * from t")
        looks = watch.looks
        assert wait_for(lambda: watch.looks > looks + 1)
        assert (seen.idle, seen.session_age, seen.slot_age, seen.waited) == (0, 0, 0, 0)

        watch.copied()
        database.rows("select pg_create_logical_replication_slot('s', 'pgoutput')")
        database.execute("insert into t select generate_series(1, 10000)")
        assert wait_for(lambda: seen.retained > 500_000 and seen.session_age > 0)
        assert wait_for(lambda: seen.idle > 0.2 and seen.slot_age > 0)
        assert seen.idle_session == "pgcopydb lock holder: select * from t"
        wait_in_turn("truncate t", 0)
        wait_in_turn("select count(*) from t", 1)
        assert wait_for(lambda: seen.waited > 0.3)
        assert wait_for(lambda: seen.waiters == 2)
        assert seen.waited_for.startswith("truncate t behind pgcopydb lock holder: select")
        assert_healthy(seen)
        ours.execute("rollback")


@pytest.mark.parametrize(
    ("health", "told"),
    [
        (Health(waited=LONGEST_WAIT, waited_for="truncate t behind us"), "truncate t behind us"),
        (Health(idle=LONGEST_IDLE, idle_session="lock holder"), "idle: lock holder"),
        (Health(retained=MOST_RETAINED), "bytes of WAL"),
    ],
    ids=["waited", "idle", "retained"],
)
def test_a_source_that_suffers_is_not_healthy(health: Health, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        assert_healthy(health)
