"""The record of what is applied: who may take it over from whom, and what is refused."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import psycopg
import pytest

from pgcopydb.errors import StateError
from pgcopydb.lsn import format_lsn
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.postgres import origin
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.helper_schema import create_helper_schema
from pgcopydb.postgres.origin import OriginProgress, applied_position, create_origin
from pgcopydb.postgres.pipeline import Pipeline, StatementFailure
from pgcopydb.postgres.progress import Progress, TableProgress, create_progress_row
from tests.support.servers import Database, MakeDatabase, Servers

START = 0x1000
RUN = "0123456789"

Session = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True)
class Attach:
    """Attaches a session to a record of progress, or makes the record for a session."""

    to: Callable[[Session], Progress]

    def __call__(self, session: Session) -> int:
        return self.to(session).attach()


@pytest.fixture
def target(servers: Servers, make_database: MakeDatabase) -> Database:
    return make_database(servers.get(18, "target"))


@pytest.fixture(params=["origin", "row"])
def attach(request: pytest.FixtureRequest, target: Database) -> Attach:
    """A record of progress, which is an origin or a row."""
    endpoint = target.endpoint(Side.TARGET)
    with connect(endpoint, purpose="setup") as connection:
        create_helper_schema(connection, RUN)
        if request.param == "origin":
            create_origin(connection, endpoint, "ours", START)
        else:
            create_progress_row(connection, endpoint, RUN, START)
    kinds: dict[str, Callable[[Session], Progress]] = {
        "origin": lambda session: OriginProgress(session, endpoint, "ours"),
        "row": lambda session: TableProgress(session, endpoint, RUN),
    }
    return Attach(kinds[request.param])


def session(target: Database, purpose: str) -> Session:
    endpoint: Endpoint = target.endpoint(Side.TARGET)
    return connect(endpoint, purpose=purpose)


class Applying:
    """A session that writes rows, each in a transaction that records a position."""

    def __init__(self, target: Database, session: Session, record: Progress) -> None:
        self.record = record
        self._target = target
        self._session = session
        self._pipeline = Pipeline(session, target.endpoint(Side.TARGET))
        self._pipeline.leave()

    def write(self, value: int, end_lsn: int, *, commit: bool = True) -> None:
        """Insert a row, and commit it or leave the transaction under way."""
        self._pipeline.enter()
        self._pipeline.add("begin")
        self._pipeline.add(f"insert into public.t values ({value})")
        self.record.mark(self._pipeline, end_lsn, 0)
        if commit:
            self._pipeline.add("commit")
        self._pipeline.sync()
        self._pipeline.leave()

    def end(self) -> None:
        """End the session, and with it a transaction under way."""
        self._target.execute(f"select pg_terminate_backend({self._session.info.backend_pid}, 5000)")


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


@pytest.mark.parametrize("ending", ["its commit fails", "it is ended", "its client goes away"])
def test_a_transaction_that_was_rolled_back_is_not_taken_for_applied(
    target: Database, attach: Attach, ending: str
) -> None:
    """Since PostgreSQL 16 an abort moves the origin as a commit does."""
    target.execute("create table public.t (a integer unique deferrable initially deferred)")
    with closing(session(target, "apply 01234567")) as first:  # its own block would commit
        applying = Applying(target, first, attach.to(first))
        assert applying.record.attach() == START
        applying.write(1, START + 1)
        assert applying.record.durable() == START + 1
        applying.write(2, START + 2)
        if ending == "its commit fails":
            with pytest.raises(StatementFailure):
                applying.write(2, START + 3)
        else:
            applying.write(3, START + 3, commit=False)
            if ending == "it is ended":
                applying.end()
    with session(target, "apply 01234567") as second:
        applying = Applying(target, second, attach.to(second))
        assert applying.record.attach() == START + 2
        applying.write(3, START + 3)
        assert applying.record.durable() == START + 3
    with session(target, "apply 01234567") as third:
        assert attach(third) == START + 3
    assert target.rows("select a from public.t order by a") == [(1,), (2,), (3,)]


@pytest.fixture
def applying(target: Database) -> Iterator[Applying]:
    """A session that has applied START + 1, and has the position after it in a transaction."""
    endpoint = target.endpoint(Side.TARGET)
    target.execute("create table public.t (a integer)")
    with session(target, "setup") as connection:
        create_helper_schema(connection, RUN)
        create_origin(connection, endpoint, "ours", START)
    with closing(session(target, "apply 01234567")) as old:
        applying = Applying(target, old, OriginProgress(old, endpoint, "ours"))
        assert applying.record.attach() == START
        applying.write(1, START + 1)
        applying.write(2, START + 2, commit=False)
        yield applying


@pytest.fixture(params=["read_origin", "_read_witness"])
def ends_meanwhile(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, applying: Applying
) -> None:
    """That session aborts just before another reads the one or the other of what tells of it."""
    read = getattr(origin, request.param)

    def read_after_the_end(*arguments: object) -> object:
        applying.end()
        return read(*arguments)

    monkeypatch.setattr(origin, request.param, read_after_the_end)


@pytest.mark.usefixtures("ends_meanwhile")
def test_a_session_that_ends_while_its_origin_is_taken_over(target: Database) -> None:
    endpoint = target.endpoint(Side.TARGET)
    with session(target, "apply") as new:
        assert OriginProgress(new, endpoint, "ours").attach() == START + 1


@pytest.mark.usefixtures("ends_meanwhile")
def test_a_session_that_ends_while_its_position_is_asked(target: Database) -> None:
    with session(target, "asks") as asking:
        assert applied_position(asking, target.endpoint(Side.TARGET), "ours") == START + 1


@pytest.mark.parametrize("attach", ["origin"], indirect=True)
@pytest.mark.parametrize(
    ("confirmed", "moved_by"),
    # Back by one transaction only what is confirmed: a crash may take what the next one noted.
    [(True, 1), (True, -1), (True, -3), (False, 1), (False, -2), (False, -3)],
)
def test_an_origin_that_somebody_moved_is_refused(
    target: Database, attach: Attach, confirmed: bool, moved_by: int
) -> None:
    """Forwards it would pass over what is stored, and backwards do it twice."""
    target.execute("create table public.t (a integer)")
    with closing(session(target, "apply 01234567")) as first:
        applying = Applying(target, first, attach.to(first))
        assert applying.record.attach() == START
        for further in (1, 2, 3):
            applying.write(further, START + further)
        if confirmed:
            assert applying.record.durable() == START + 3
        applying.end()
    _move_origin(target, START + 3 + moved_by)
    with (
        session(target, "apply 01234567") as second,
        pytest.raises(StateError, match=r"but what was applied last ends at 0/1003"),
    ):
        attach(second)
    _move_origin(target, START + 3)
    with session(target, "apply 01234567") as third:
        assert attach(third) == START + 3


def _move_origin(target: Database, position: int) -> None:
    target.execute(f"select pg_replication_origin_advance('ours', '{format_lsn(position)}')")


def test_what_nobody_can_prove_is_refused(target: Database) -> None:
    """The sequences are gone: whether the last transaction was committed cannot be asked."""
    endpoint = target.endpoint(Side.TARGET)
    with session(target, "apply 01234567") as connection:
        create_helper_schema(connection, RUN)
        create_origin(connection, endpoint, "ours", START)
        connection.execute("drop schema pgcopydb cascade")
        with pytest.raises(StateError, match="what proves the position"):
            OriginProgress(connection, endpoint, "ours").attach()


def test_an_origin_that_somebody_dropped_is_refused(target: Database) -> None:
    endpoint = target.endpoint(Side.TARGET)
    with (
        session(target, "apply 01234567") as new,
        pytest.raises(StateError, match='"ours" is gone'),
    ):
        OriginProgress(new, endpoint, "ours").attach()
