"""The record of what is applied: who may take it over from whom, and what is refused."""

from collections.abc import Callable

import psycopg
import pytest

from pgcopydb.errors import StateError
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.helper_schema import create_helper_schema
from pgcopydb.postgres.progress import (
    OriginProgress,
    Progress,
    TableProgress,
    create_origin,
    create_progress_row,
)
from tests.support.servers import Database, MakeDatabase, Servers

START = 0x1000
RUN = "0123456789"

Attach = Callable[[psycopg.Connection[tuple[object, ...]]], int]


@pytest.fixture
def target(servers: Servers, make_database: MakeDatabase) -> Database:
    return make_database(servers.get(18, "target"))


@pytest.fixture(params=["origin", "row"])
def attach(request: pytest.FixtureRequest, target: Database) -> Attach:
    """Attaches a session to a record of progress, which is an origin or a row."""
    endpoint = target.endpoint(Side.TARGET)
    with connect(endpoint, purpose="setup") as connection:
        create_helper_schema(connection, RUN)
        if request.param == "origin":
            create_origin(connection, endpoint, "ours", START)
        else:
            create_progress_row(connection, endpoint, RUN, START)
    kinds: dict[str, Callable[[psycopg.Connection[tuple[object, ...]]], Progress]] = {
        "origin": lambda session: OriginProgress(session, endpoint, "ours"),
        "row": lambda session: TableProgress(session, endpoint, RUN),
    }
    return lambda session: kinds[request.param](session).attach()


def session(target: Database, purpose: str) -> psycopg.Connection[tuple[object, ...]]:
    endpoint: Endpoint = target.endpoint(Side.TARGET)
    return connect(endpoint, purpose=purpose)


def test_a_session_that_a_killed_apply_left_is_ended(target: Database, attach: Attach) -> None:
    with session(target, "apply 01234567") as left, session(target, "apply 01234567") as new:
        assert attach(left) == START
        assert attach(new) == START
        with pytest.raises(psycopg.OperationalError):
            left.execute("select 1")


def test_a_session_of_another_run_is_left_alone(target: Database, attach: Attach) -> None:
    with session(target, "apply 76543210") as other, session(target, "apply 01234567") as new:
        assert attach(other) == START
        with pytest.raises(StateError, match="another session"):
            attach(new)
        other.execute("select 1")


def test_an_origin_that_somebody_dropped_is_refused(target: Database) -> None:
    endpoint = target.endpoint(Side.TARGET)
    with (
        session(target, "apply 01234567") as new,
        pytest.raises(StateError, match='"ours" is gone'),
    ):
        OriginProgress(new, endpoint, "ours").attach()
