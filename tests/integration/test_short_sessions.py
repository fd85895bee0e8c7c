"""Sessions for a few statements: kept for the next, and never taken for alive when they are not."""

from collections.abc import Iterator

import psycopg
import pytest

from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.postgres.short_sessions import (
    close_kept_sessions,
    keeping_sessions,
    short_session,
)
from tests.support.clock import wait_for
from tests.support.servers import Database, MakeDatabase, Servers

_OURS = "select pid from pg_stat_activity where application_name like 'pgcopydb %'"


@pytest.fixture
def database(servers: Servers, make_database: MakeDatabase) -> Database:
    return make_database(servers.get(18, "target"))


@pytest.fixture
def endpoint(database: Database) -> Endpoint:
    return database.endpoint(Side.TARGET)


@pytest.fixture
def kept() -> Iterator[None]:
    with keeping_sessions():
        yield


def backend(endpoint: Endpoint, purpose: str = "clone") -> int:
    with short_session(endpoint, purpose=purpose) as session:
        return session.info.backend_pid


@pytest.mark.usefixtures("kept")
def test_the_next_one_gets_the_same_under_its_own_name(endpoint: Endpoint) -> None:
    first = backend(endpoint)
    with short_session(endpoint, purpose="verify") as session:
        assert session.info.backend_pid == first
        assert session.execute("show application_name").fetchone() == ("pgcopydb verify",)
        with short_session(endpoint, purpose="clone") as other:  # it is taken
            assert other.info.backend_pid != first
    assert backend(endpoint) != 0


@pytest.mark.usefixtures("kept")
def test_one_that_the_server_has_ended_is_not_used_again(
    endpoint: Endpoint, database: Database
) -> None:
    first = backend(endpoint)
    database.execute(f"select pg_terminate_backend({first}, 5000)")
    assert backend(endpoint) != first


@pytest.mark.usefixtures("kept")
def test_one_in_which_something_failed_is_not_used_again(endpoint: Endpoint) -> None:
    first = backend(endpoint)
    with (
        pytest.raises(psycopg.errors.UndefinedTable),
        short_session(endpoint, purpose="clone") as session,
    ):
        session.execute("select from nothing")
    assert backend(endpoint) != first


@pytest.mark.usefixtures("kept")
def test_one_that_is_left_in_a_transaction_is_not_used_again(endpoint: Endpoint) -> None:
    with short_session(endpoint, purpose="clone") as session:
        session.execute("begin")
        first = session.info.backend_pid
    assert backend(endpoint) != first


def test_none_is_left(endpoint: Endpoint, database: Database) -> None:
    backend(endpoint)
    assert wait_for(lambda: database.rows(_OURS) == [])
    with keeping_sessions():
        backend(endpoint)
        with keeping_sessions():  # of a command within a command
            backend(endpoint)
        assert len(database.rows(_OURS)) == 1
        close_kept_sessions()
        assert wait_for(lambda: database.rows(_OURS) == [])
        backend(endpoint)
    assert wait_for(lambda: database.rows(_OURS) == [])
