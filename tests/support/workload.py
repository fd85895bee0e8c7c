"""An application at work: writers that change its database all the time, each in its own way.

::

    with Workload(database, ledger) as workload:
        workload.wait_for_transactions(5)      # of every writer
        ...
        workload.stop()                        # raises what went wrong in any of them

Every writer has connections and rows of its own, so that none ever waits for another or fails by
another's doing: an error in a writer is the migration's fault (oracle O7). A transaction adds one
row to ``app.ledger``, and an acknowledged commit is recorded in the ledger of the test.

Where the test kills the server too the workload is ``enduring``: a writer that loses its connection
waits for the server, asks it which of its transactions were committed after all, and goes on.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Self

import psycopg
from psycopg import sql

from tests.support import values
from tests.support.clock import wait_for
from tests.support.ledger import Commit, Ledger
from tests.support.servers import Connection, Database
from tests.support.source_health import is_outage

APPLICATION = Path(__file__).with_name("application.sql").read_text()
"""The script of the application's database, for ``make_database`` and ``source_target``."""

_PAUSE = 0.08
"""Seconds between a writer's transactions: the tests share a small machine with the servers."""


@dataclass
class Session:
    """What a writer works with: a connection, its random numbers, and the way to commit."""

    writer: str
    database: Database
    ledger: Ledger
    random: Random
    specials: bool
    may_truncate: threading.Event
    connection: Connection
    n: int = 0
    longest: float = 0.0
    """Seconds of the longest transaction, waits for locks included."""
    resources: ExitStack = field(default_factory=ExitStack)
    """Closed when the writer has stopped."""

    @cached_property
    def second(self) -> Connection:
        """Another connection, for a writer that needs two."""
        return self.resources.enter_context(self.database.connect())

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Run the block in a transaction with a row in the ledger, and commit it."""
        begun = time.monotonic()
        self.connection.execute("begin")
        n = self.enter(self.connection)
        yield self.connection
        self.commit(self.connection, n)
        self.longest = max(self.longest, time.monotonic() - begun)

    @contextmanager
    def rolled_back(self) -> Iterator[Connection]:
        """Run the block in a transaction with a row in the ledger, and roll it back."""
        self.connection.execute("begin")
        self.enter(self.connection)
        yield self.connection
        self.connection.execute("rollback")

    def enter(self, connection: Connection) -> int:
        """Add the next row to the database's ledger; return its number."""
        self.n += 1
        row = (self.writer, self.n)
        connection.execute("insert into app.ledger (writer, n) values (%s, %s)", row)
        if self.n % 5 == 0:
            connection.execute("insert into app.echo (writer, n) values (%s, %s)", row)
        return self.n

    def commit(self, connection: Connection, n: int, statement: str = "commit") -> None:
        """Commit and, once the server has said so, write the acknowledgement down."""
        asked = time.monotonic()
        connection.execute(statement.encode())
        self.ledger.acknowledge(Commit(self.writer, n, asked, time.monotonic()))

    def connect_again(self) -> None:
        """Connect to a server that has crashed, and settle what was committed without an answer.

        What a server shows when it has recovered is durable. Raises psycopg.OperationalError when
        it is not there yet.
        """
        self.resources.close()
        self.__dict__.pop("second", None)
        self.connection = self.resources.enter_context(self.database.connect())
        if self.writer == commit_in_two_phases.__name__:
            self._commit_prepared()
        known = self.ledger.commits.get(self.writer)
        last, answered = (known[-1].n, known[-1].answered) if known else (0, 0.0)
        query = "select n from app.ledger where writer = %s and n > %s order by n"
        for (n,) in self.connection.execute(query, [self.writer, last]).fetchall():
            self.ledger.acknowledge(Commit(self.writer, n, answered, time.monotonic()))

    def _commit_prepared(self) -> None:
        query = "select gid from pg_prepared_xacts where database = current_database()"
        for (name,) in self.connection.execute(query).fetchall():
            self.connection.execute(sql.SQL("commit prepared {}").format(name))


Writer = Callable[[Session], None]
"""Commits one or a few transactions each time it is called."""


def keep_books(session: Session) -> None:
    """Nothing but the ledger, with savepoints, rollbacks, messages and empty transactions."""
    random = session.random
    with session.transaction() as connection:
        connection.execute("savepoint a")
        phantom = ("rolled back to a savepoint", session.n)
        connection.execute("insert into app.ledger (writer, n) values (%s, %s)", phantom)
        connection.execute("rollback to savepoint a")
        connection.execute("savepoint b")
        connection.execute("insert into app.only_keys values (%s, 'kept')", [session.n])
        connection.execute("release savepoint b")
        connection.execute(
            "update app.only_keys set a = a where (a, b) = (%s, 'kept')", [session.n]
        )
        if random.random() < 0.3:
            connection.execute("select pg_logical_emit_message(true, 'app', E'\\'x\\'\n')")
    with session.rolled_back() as connection:
        connection.execute("insert into app.only_keys values (%s, 'rolled back')", [-session.n])
        connection.execute("select pg_logical_emit_message(false, 'app', 'not transactional')")
    session.connection.execute("begin; select txid_current(); commit")


def interleave(session: Session) -> None:
    """BEGIN A, BEGIN B, COMMIT B, COMMIT A: the order of commits is not that of beginnings."""
    first, second = session.connection, session.second
    first.execute("begin")
    first.execute("insert into app.only_keys values (%s, 'first')", [session.n])
    second.execute("begin")
    n = session.enter(second)
    second.execute("insert into app.only_keys values (%s, 'second')", [n])
    session.commit(second, n)
    session.commit(first, session.enter(first))


def move_money(session: Session) -> None:
    """Transfers between accounts: the sum of all balances never changes."""
    random = session.random
    payer, payee = random.sample(range(1, 21), 2)
    amount = f"{random.randint(0, 99)}.{random.randint(0, 99):02}"
    with session.transaction() as connection:
        update = "update app.accounts set balance = balance + %s::numeric where id = %s"
        connection.execute(update, ["-" + amount, payer])
        connection.execute(
            "insert into app.transfers (from_id, to_id, amount) values (%s, %s, %s)",
            [payer, payee, amount],
        )
        connection.execute(update, [amount, payee])


def use_all_types(session: Session) -> None:
    """Inserts, updates, key changes and deletes of rows with values of many types."""
    random = session.random
    new = 1000 + session.n
    with session.transaction() as connection:
        _insert_everything(connection, new, values.row(random, specials=session.specials))
        old = random.randrange(1, new)
        changed = values.row(random, specials=session.specials)
        assignments = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(column), sql.Placeholder())
            for column in changed
        )
        connection.execute(
            sql.SQL("update app.everything set {} where id = {}").format(
                assignments, sql.Placeholder()
            ),
            [*changed.values(), old],
        )
        if session.n % 3 == 0:
            connection.execute("update app.everything set id = -id where id = %s", [old])
        if session.n % 4 == 0:
            connection.execute("delete from app.everything where id = %s", [new - 3])
        if session.n % 5 == 0:
            connection.execute("update app.everything set t = t where id between 50 and 60")


def _insert_everything(connection: Connection, key: int, row: Mapping[str, str | None]) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, ["id", *row]))
    places = sql.SQL(", ").join(sql.Placeholder() for _ in range(len(row) + 1))
    connection.execute(
        sql.SQL("insert into app.everything ({}) values ({})").format(names, places),
        [key, *row.values()],
    )


def edit_documents(session: Session) -> None:
    """Updates beside large values that stay as they are, and are not in the stream then."""
    random = session.random
    large = random.randbytes(2500)
    with session.transaction() as connection:
        connection.execute(
            "insert into app.documents (title, body, attachment) values (%s, %s, %s)",
            [values.text(random), large.hex(), large],
        )
        some = [random.randint(1, 100 + session.n)]
        connection.execute("update app.documents set title = title || '.' where id = %s", some)
        connection.execute(
            "update app.documents set revision = revision + 1, attachment = null where id = %s",
            [random.randint(1, 100)],
        )
        if session.n % 4 == 0:
            connection.execute("update app.documents set body = body || 'x' where id = %s", some)
        if session.n % 7 == 0:
            connection.execute("delete from app.documents where id = %s", some)
    key = f"{session.n} " + large.hex()[:2300]
    with session.transaction() as connection:
        connection.execute("insert into app.long_keys values (%s, 0, %s)", [key, large.hex()])
        connection.execute("update app.long_keys set n = n + 1 where k = %s", [key])
        connection.execute(
            "update app.long_keys set k = k || '!' where k in (select k from app.long_keys limit 1)"
        )


def swap_places(session: Session) -> None:
    """Changes of keys and unique values that conflict row by row and fit at commit."""
    here, there = session.random.sample(range(1, 21), 2)
    with session.transaction() as connection:
        connection.execute(
            "update app.ranking r set place = o.place from app.ranking o"
            " where (r.id, o.id) in ((%(a)s, %(b)s), (%(b)s, %(a)s))",
            {"a": here, "b": there},
        )
    with session.transaction() as connection:
        connection.execute(
            "update app.assets set name = name || '.' where id %% 7 = %s", [here % 7]
        )
        connection.execute("update only app.assets set id = -id where id = %s", [here])
        connection.execute("update app.machines set power = power + 1 where power = %s", [there])
        # Identities that swap by way of a third one, all in one transaction.
        connection.execute("update app.ranking set id = 0 where id = %s", [here])
        connection.execute("update app.ranking set id = %s where id = %s", [here, there])
        connection.execute("update app.ranking set id = %s where id = 0", [there])


def move_between_partitions(session: Session) -> None:
    """Rows that leave one partition for another, whose columns are in another order."""
    random = session.random
    with session.transaction() as connection:
        connection.execute(
            "insert into app.events values (%s, date '2025-12-25' + %s::integer, %s)",
            [10_000 + session.n, random.randrange(150), values.text(random)],
        )
        some = [random.randrange(150), random.randint(1, 600)]
        connection.execute(
            "update app.events set day = date '2025-12-25' + %s::integer where id = %s", some
        )
        connection.execute(
            "update app.events set body = body || '.' where id = %s", [random.randint(1, 600)]
        )
        if session.n % 3 == 0:
            connection.execute("delete from app.events where id = %s", [random.randint(1, 600)])


def load_and_truncate(session: Session) -> None:
    """COPY of many rows, wide deletes, and TRUNCATE of tables that refer to each other."""
    first = 100_000 + session.n * 1000
    with session.transaction() as connection:
        with connection.cursor().copy("copy app.bulk from stdin") as copy:
            for number in range(first, first + 300):
                copy.write_row((number, f"loaded {number}"))
        connection.execute("delete from app.bulk where id between %s and %s", [first, first + 99])
    with session.transaction() as connection:
        connection.execute(
            "with placed as (insert into app.orders default values returning id)"
            " insert into app.order_lines (order_id, what)"
            " select id, %s from placed, generate_series(1, 3)",
            [values.text(session.random)],
        )
    if session.random.random() < 0.15 and session.may_truncate.is_set():
        with session.transaction() as connection:
            connection.execute("truncate app.orders, app.order_lines restart identity")
            connection.execute("insert into app.orders default values")


def serve_customers(session: Session) -> None:
    """Foreign keys that cascade, and a trigger that writes rows of its own."""
    n, random = session.n, session.random
    with session.transaction() as connection:
        connection.execute(
            "insert into app.customers select %s, max(id), %s from app.customers",
            [10 * n + 10, values.text(random)],
        )
        connection.execute(
            "insert into app.notes (customer, note) values (%s, 'new')", [10 * n + 10]
        )
    with session.transaction() as connection:
        connection.execute("update app.customers set name = name || '.' where id = %s", [10 * n])
        connection.execute(
            "update app.customers set id = id + 1 where id = (select max(id) from app.customers)"
            " and not exists (select from app.customers c where c.referred_by = customers.id)"
        )
    if random.random() < 0.2:
        with session.transaction() as connection:
            connection.execute(
                "delete from app.customers where id = (select min(id) from app.customers"
                " where id > (select max(id) - 60 from app.customers))"
            )


def keep_twins(session: Session) -> None:
    """Rows that are found by all of their columns, with duplicates, nulls and no equality."""
    random, n = session.random, session.n
    special = random.choice(["NaN", "-0", "Infinity"]) if session.specials else "-0"
    large = f"{random.random()}" * 150
    row = [n % 7, values.text(random), "1.50", '{"a": 1}', '{"a" :1}', special, "(1,2)"]
    with session.transaction() as connection:
        for _ in range(3):
            connection.execute("insert into app.by_full values (%s, %s, %s, %s, %s, %s, %s)", row)
        connection.execute(
            "insert into app.by_full (big) values (%s)", [f"{random.random()}" * 150]
        )
        one = "where ctid = (select ctid from app.by_full where {} limit 1)"
        connection.execute(("delete from app.by_full " + one.format("b = 'twin'")).encode())
        connection.execute(
            ("update app.by_full set c = c + 1 " + one.format(f"a = {n % 7}")).encode()
        )
        connection.execute(
            ("update app.by_full set a = 1, b = 'twin' " + one.format("b is null")).encode()
        )
    with session.transaction() as connection:
        connection.execute("insert into app.by_full (a, b) values (null, null), (null, null)")
        connection.execute("insert into app.by_index values (%s, 'b', 'c', %s)", [n, large])
        connection.execute("update app.by_index set c = c || '.' where a = %s", [n])
        connection.execute("update app.by_index set b = %s where a = %s", [values.text(random), n])
        connection.execute("update app.by_index set a = -a where a = %s", [n - 2])
        connection.execute("delete from app.by_index where a = %s", [n - 6])


def use_odd_names(session: Session) -> None:
    """A table whose names need quotes, and sequences that the application takes numbers from."""
    random = session.random
    table = sql.Identifier("Odd Schema", "ta\"ble.of 'things'")
    key, dotted, slash = map(sql.Identifier, ['qu"ote', "a.b", "back\\slash"])
    with session.transaction() as connection:
        connection.execute(
            sql.SQL("insert into {} ({}, {}, {}) values (%s, %s, %s)").format(
                table, key, dotted, slash
            ),
            [values.text(random), values.text(random), values.text(random)],
        )
        connection.execute(
            sql.SQL("update {} set {} = %s where {} = %s").format(table, dotted, key),
            [values.text(random), values.text(random)],
        )
        connection.execute(
            sql.SQL("update {} set {} = {} || %s where {} %% 5 = %s").format(
                table, key, key, sql.Identifier("select")
            ),
            [random.choice("'\"\\"), random.randrange(5)],
        )
        connection.execute(
            sql.SQL("delete from {} where {} = %s").format(table, sql.Identifier("select")),
            [session.n - 8],
        )
    with session.transaction() as connection:
        connection.execute(
            "insert into app.sold values (nextval('app.tickets'), nextval('app.countdown'))"
        )


def commit_in_two_phases(session: Session) -> None:
    """Transactions that are prepared first, and sometimes not committed after all."""
    with session.transaction() as connection:
        connection.execute("insert into app.only_keys values (%s, 'one phase')", [session.n])
    name = f"{session.database.name} {session.n}"
    connection = session.connection
    connection.execute("begin")
    n = session.enter(connection)
    connection.execute("insert into app.only_keys values (%s, 'two phases')", [n])
    connection.execute(sql.SQL("prepare transaction {}").format(name))
    if session.random.random() < 0.5:
        connection.execute(sql.SQL("rollback prepared {}").format(name))
        return
    session.commit(connection, n, sql.SQL("commit prepared {}").format(name).as_string())


WRITERS: Mapping[str, Writer] = {
    writer.__name__: writer
    for writer in (
        keep_books,
        interleave,
        move_money,
        use_all_types,
        edit_documents,
        swap_places,
        move_between_partitions,
        load_and_truncate,
        serve_customers,
        keep_twins,
        use_odd_names,
        commit_in_two_phases,
    )
}


class Workload:
    """All writers at work on a database, from the beginning to the end of a ``with`` block.

    ``specials`` says whether they write NaN and infinite numbers. ``writers`` are the names of
    those that work; ``seed`` makes them choose the same rows and values again. ``enduring`` ones
    go on after a crash of their server.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        *,
        specials: bool = True,
        writers: tuple[str, ...] = tuple(WRITERS),
        seed: int | None = None,
        enduring: bool = False,
    ) -> None:
        self.database = database
        self.ledger = ledger
        self.seed = Random().randrange(2**32) if seed is None else seed
        self._specials = specials
        self._enduring = enduring
        self._writers = writers
        self._sessions: dict[str, Session] = {}
        self._errors: dict[str, BaseException] = {}
        self._stopped = threading.Event()
        self._may_truncate = threading.Event()
        self._may_truncate.set()
        self._threads: list[threading.Thread] = []
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            for name in self._writers:
                own = resources.enter_context(ExitStack())
                self._sessions[name] = Session(
                    writer=name,
                    database=self.database,
                    ledger=self.ledger,
                    random=Random(f"{self.seed} {name}"),
                    specials=self._specials,
                    may_truncate=self._may_truncate,
                    connection=own.enter_context(self.database.connect()),
                    resources=own,
                )
            self._resources = resources.pop_all()
        for name in self._writers:
            thread = threading.Thread(target=self._work, args=[name], name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self._end()
        if kind is None:
            self._raise_errors()

    def stop(self) -> None:
        """Let every writer end the transaction it is in, and stop; raise what went wrong."""
        self._end()
        self._raise_errors()

    def wait_for_transactions(self, count: int, *, seconds: float = 30) -> None:
        """Wait until every writer has committed ``count`` more transactions."""
        before = self._counts()
        enough = wait_for(
            lambda: (
                bool(self._errors)
                or all(now >= before[name] + count for name, now in self._counts().items())
            ),
            seconds=seconds,
        )
        self._raise_errors()
        stuck = [name for name, now in self._counts().items() if now < before[name] + count]
        assert enough, f"in {seconds} s these writers did not commit {count} times: {stuck}"

    @contextmanager
    def not_truncating(self) -> Iterator[None]:
        """Let no table be truncated while the block runs: a TRUNCATE that has begun is over."""
        self._may_truncate.clear()
        if "load_and_truncate" in self._writers:
            before = self._counts()["load_and_truncate"]
            # One call commits three times at most, so the fourth belongs to a later one.
            assert wait_for(lambda: self._counts()["load_and_truncate"] > before + 3)
        yield
        self._may_truncate.set()

    @property
    def longest(self) -> float:
        """Seconds of the longest transaction of any writer, waits for locks included."""
        return max(session.longest for session in self._sessions.values())

    def _counts(self) -> dict[str, int]:
        commits = self.ledger.commits
        return {name: len(commits.get(name, ())) for name in self._writers}

    def _work(self, name: str) -> None:
        session = self._sessions[name]
        try:
            while not self._stopped.is_set():
                try:
                    WRITERS[name](session)
                except psycopg.OperationalError as error:
                    if not (self._enduring and is_outage(error)):
                        raise
                    self._wait_for_server(session)
                self._stopped.wait(_PAUSE)
        except BaseException as error:
            self._errors[name] = error

    @staticmethod
    def _wait_for_server(session: Session) -> None:
        """Connect again, even if told to stop meanwhile: what was committed is to be known."""

        def connected() -> bool:
            try:
                session.connect_again()
            except psycopg.OperationalError:
                return False
            return True

        assert wait_for(connected, seconds=60), "the server does not come back"

    def _end(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(30)
            if thread.is_alive():
                self._errors.setdefault(thread.name, TimeoutError("it does not stop"))
        self._resources.close()

    def _raise_errors(self) -> None:
        if not self._errors:
            return
        told = "; ".join(f"{name}: {error!r}" for name, error in self._errors.items())
        raise AssertionError(
            f"the application's own writes failed (seed {self.seed}): {told}"
        ) from next(iter(self._errors.values()))
