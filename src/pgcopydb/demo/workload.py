"""The clients that keep writing: pgbench as the application, and writers that keep a ledger."""

import random
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psycopg
from psycopg.conninfo import make_conninfo

from pgcopydb.demo.ledger import Entry, LedgerFile, Outcome, Transaction
from pgcopydb.errors import SourceError, first_line

APPLICATION: Final = Path(__file__).with_name("application")
"""The folder of the application's SQL."""

APPLICATION_NAMES: Final = ("pgbench", "ledger")
"""What the clients' sessions call themselves."""

_CLIENTS: Final = 4
_LEDGER_WRITERS: Final = 2
_PAUSE: Final = 0.03
"""Seconds between two transactions of a ledger writer."""
_STOP_SECONDS: Final = 30.0

_OLDEST_KEPT: Final = 40
"""Entries of one writer beyond which it deletes its oldest, rather than any."""

_LABELS: Final = (
    "plain",
    "",
    None,
    "quote ' and \" and backslash \\ and \\x41",
    "line one\nline two\tand a tab",
    "Grüße, 你好, 🐘",
    "NULL",
    "{a,b}",
)

_INSERT: Final = """
insert into ledger.entry (writer, number, version, amount, label, ratio, share, due, duration,
  payload, document, raw, tags, matrix, span, address, mask, settled)
select %(writer)s, %(number)s, %(version)s, %(amount)s, %(label)s,
  case %(number)s %% 5 when 0 then 'NaN' when 1 then '-Infinity' else random() * 1e-7 end,
  random() * 1e7, current_date - %(number)s::integer %% 1000,
  make_interval(months => %(number)s::integer %% 30, secs => random() * 1e5),
  sha256(convert_to(random()::text, 'UTF8')),
  jsonb_build_object('label', %(label)s::text, 'long', repeated.text, 'n', %(number)s),
  '{"b" : 1.10, "a":[1, 2e3]}', array[%(label)s, 'x'], '[2:3]={7,NULL}',
  int4range(1, %(number)s::integer %% 100 + 2), '192.0.2.0/24',
  %(number)s::integer::bit(16)::bit varying(16),
  nullif(%(number)s %% 3, 0) = 1
from (select string_agg(md5(random()::text), '') as text
      from generate_series(1, case when %(number)s %% 4 = 0 then 200 else 1 end)) as repeated
"""
_UPDATE: Final = """
update ledger.entry set version = %(version)s, amount = %(amount)s
where writer = %(writer)s and number = %(old)s
"""
_RENUMBER: Final = """
update ledger.entry set number = %(number)s, version = %(version)s, amount = %(amount)s
where writer = %(writer)s and number = %(old)s
"""
_DELETE: Final = "delete from ledger.entry where writer = %(writer)s and number = %(old)s"


@dataclass
class Acknowledgements:
    """When each entry of a writer was acknowledged, for whoever watches it arrive elsewhere.

    Written by the writer's thread, read by others; lists only grow, so no lock is needed.
    """

    numbers: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """By time.monotonic(); appended to before ``numbers``."""

    def add(self, number: int, acknowledged: float) -> None:
        """Note when ``number`` was acknowledged."""
        self.times.append(acknowledged)
        self.numbers.append(number)


class LedgerWriter(threading.Thread):
    """One writer: a transaction, its acknowledgement on disk, a pause, and again until stopped."""

    def __init__(self, writer: int, conninfo: str, path: Path) -> None:
        super().__init__(name=f"ledger writer {writer}", daemon=True)
        self.writer = writer
        self.path = path
        self.acknowledgements = Acknowledgements()
        self.error: psycopg.Error | OSError | None = None
        self._conninfo = make_conninfo(conninfo, application_name="ledger")
        self._random = random.Random(writer)  # noqa: S311 - the same work in every demonstration
        self._entries: dict[int, Entry] = {}
        self._next_number = 1
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ask the writer to stop after its present transaction."""
        self._stopped.set()

    def run(self) -> None:
        """Write until stopped; an error ends the writer and is kept."""
        try:
            with (
                LedgerFile(self.path) as file,
                closing(psycopg.connect(self._conninfo, autocommit=True)) as connection,
            ):
                while not self._stopped.wait(_PAUSE):
                    self._one_transaction(connection, file)
        except (psycopg.Error, OSError) as error:
            self.error = error

    def _one_transaction(self, connection: psycopg.Connection[Any], file: LedgerFile) -> None:
        work = _Work(self.writer, connection, dict(self._entries), self._next_number)
        connection.execute("begin")
        self._change(work)
        keep = self._random.random() >= 0.1
        try:
            connection.execute("commit" if keep else "rollback")
        except psycopg.OperationalError:
            file.append(work.transaction(Outcome.UNKNOWN))
            raise
        ended = time.monotonic()
        file.append(work.transaction(Outcome.COMMITTED if keep else Outcome.ROLLED_BACK))
        self._next_number = work.next_number
        if keep:
            self._entries = work.entries
            self.acknowledgements.add(work.last_inserted, ended)

    def _change(self, work: "_Work") -> None:
        """Do some of everything; the last insert makes the transaction visible from elsewhere."""
        choose = self._random.random
        if work.entries and choose() < 0.5:
            work.update(self._any_entry(work), self._amount())
        if work.entries and choose() < 0.1:
            work.renumber(self._any_entry(work), self._amount())
        if choose() < 0.15:
            work.insert_and_withdraw(self._amount(), self._label())
        if len(work.entries) > _OLDEST_KEPT and choose() < 0.5:
            work.delete(min(work.entries))
        for _ in range(self._random.randint(1, 3)):
            work.insert(self._amount(), self._label())

    def _any_entry(self, work: "_Work") -> int:
        return self._random.choice(list(work.entries))

    def _amount(self) -> str:
        return f"{self._random.randrange(-(10**17), 10**17)}.{self._random.randrange(10**6):06d}"

    def _label(self) -> str | None:
        return self._random.choice(_LABELS)


@dataclass
class _Work:
    """One transaction under way: what it has done, and how its writer's entries then look."""

    writer: int
    connection: psycopg.Connection[Any]
    entries: dict[int, Entry]
    next_number: int
    last_inserted: int = 0
    _put: dict[int, Entry] = field(default_factory=dict)
    _removed: set[int] = field(default_factory=set)
    _withdrawn: list[int] = field(default_factory=list)

    def insert(self, amount: str, label: str | None) -> None:
        """Insert a new entry."""
        entry = self._new(amount)
        self._execute(_INSERT, entry, label=label)
        self._keep(entry)
        self.last_inserted = entry.number

    def insert_and_withdraw(self, amount: str, label: str | None) -> None:
        """Insert a new entry and roll it back to a savepoint."""
        entry = self._new(amount)
        self.connection.execute("savepoint before")
        self._execute(_INSERT, entry, label=label)
        self.connection.execute("rollback to savepoint before")
        self._withdrawn.append(entry.number)

    def update(self, old: int, amount: str) -> None:
        """Change an entry but for its long values."""
        entry = Entry(old, self.entries[old].version + 1, amount)
        self._execute(_UPDATE, entry, old=old)
        self._keep(entry)

    def renumber(self, old: int, amount: str) -> None:
        """Give an entry another key."""
        version = self.entries[old].version + 1
        entry = Entry(self._new(amount).number, version, amount)
        self._execute(_RENUMBER, entry, old=old)
        self._forget(old)
        self._keep(entry)

    def delete(self, old: int) -> None:
        """Delete an entry."""
        self._execute(_DELETE, self.entries[old], old=old)
        self._forget(old)

    def transaction(self, outcome: Outcome) -> Transaction:
        """Return what the transaction did, as the ledger keeps it."""
        return Transaction(
            outcome=outcome,
            put=tuple(self._put.values()),
            removed=tuple(sorted(self._removed)),
            withdrawn=tuple(self._withdrawn),
        )

    def _new(self, amount: str) -> Entry:
        number = self.next_number
        self.next_number += 1
        return Entry(number, 1, amount)

    def _keep(self, entry: Entry) -> None:
        self._put[entry.number] = self.entries[entry.number] = entry

    def _forget(self, number: int) -> None:
        del self.entries[number]
        self._put.pop(number, None)
        self._removed.add(number)

    def _execute(self, statement: str, entry: Entry, **more: object) -> None:
        parameters = {
            "writer": self.writer,
            "number": entry.number,
            "version": entry.version,
            "amount": entry.amount,
            **more,
        }
        changed = self.connection.execute(statement.encode(), parameters).rowcount
        if changed != 1:
            raise psycopg.DataError(f"the source changed {changed} rows instead of one")


class Application:
    """pgbench as the clients of the application; knows how to make its tables and to use them."""

    def __init__(self, bindir: Path, scale: int, directory: Path) -> None:
        self._pgbench = bindir / "pgbench"
        self._scale = scale
        self._directory = directory

    @property
    def sizes(self) -> dict[str, int]:
        """How many rows the shop has to begin with."""
        return {"customers": 1000 * self._scale, "products": 500, "orders": 2000 * self._scale}

    def fill(self, conninfo: str) -> None:
        """Make the application's tables in an empty database, with rows in them."""
        self._run(
            "--initialize", f"--scale={self._scale}", "--init-steps=dtgpf", "--quiet", conninfo
        )
        with closing(psycopg.connect(conninfo, autocommit=True)) as connection:
            connection.execute((APPLICATION / "schema.sql").read_bytes())
            script = (APPLICATION / "fill.sql").read_text()
            for name, number in self.sizes.items():
                script = script.replace(f":{name}", str(number))
            connection.execute(script.encode())
            connection.execute("vacuum analyze")

    def transact(self, conninfo: str, transactions: int) -> None:
        """Run a number of transactions of the shop to their end; raise when one fails."""
        script = f"--file={APPLICATION / 'orders.pgbench'}"
        self._run(script, f"--transactions={transactions}", *self._client_options(conninfo))

    @contextmanager
    def clients(self, conninfo: str, rate: int) -> Iterator[subprocess.Popen[bytes]]:
        """Run clients that make ``rate`` transactions a second, at most, until the block ends."""
        options = [
            "--builtin=tpcb-like@2",
            f"--file={APPLICATION / 'orders.pgbench'}@1",
            f"--client={_CLIENTS}",
            f"--rate={rate}",
            "--time=86400",
            *self._client_options(conninfo),
        ]
        with self.log.open("wb") as log:
            process = self._start(options, log.fileno())
        try:
            yield process
        finally:
            end(process)

    @property
    def log(self) -> Path:
        """What the clients complained of."""
        return self._directory / "pgbench.log"

    def _client_options(self, conninfo: str) -> list[str]:
        sizes = [f"--define={name}={number}" for name, number in self.sizes.items()]
        return ["--no-vacuum", f"--scale={self._scale}", *sizes, conninfo]

    def _run(self, *options: str) -> None:
        process = self._start(options, subprocess.PIPE)
        try:
            _, complaint = process.communicate()
        finally:
            end(process)
        lines = complaint.decode(errors="replace").strip().splitlines()
        errors = [line for line in lines if "error:" in line or "aborted" in line]
        if process.returncode != 0 or errors:
            reason = (errors or ["no reason given"])[0]
            raise SourceError(f"pgbench failed with status {process.returncode}: {reason}")

    def _start(self, options: Sequence[str], stderr: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(self._pgbench), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={"LC_ALL": "C"},
            start_new_session=True,  # the terminal's Ctrl-C is for us, who stop it in order
        )


class Workload:
    """All clients of the source; a context manager that leaves none of them behind."""

    def __init__(self, application: Application, conninfo: str, directory: Path, rate: int) -> None:
        self._application = application
        self._conninfo = conninfo
        self._rate = rate
        self._stack = ExitStack()
        self._clients: subprocess.Popen[bytes] | None = None
        self.writers = [
            LedgerWriter(number, conninfo, directory / f"ledger-{number}.jsonl")
            for number in range(1, _LEDGER_WRITERS + 1)
        ]

    def __enter__(self) -> Self:
        self._clients = self._stack.enter_context(
            self._application.clients(self._conninfo, self._rate)
        )
        for writer in self.writers:
            writer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def check(self) -> None:
        """Raise SourceError when the application was disturbed: a client failed, or has ended."""
        for writer in self.writers:
            if writer.error is not None:
                raise SourceError(f"a ledger writer failed: {first_line(writer.error)}")
        complaints = self._application.log.read_text(errors="replace").splitlines()
        if self._clients is not None and self._clients.poll() is not None:
            raise SourceError(f"pgbench ended: {complaints[-1] if complaints else 'no reason'}")
        for line in complaints:
            if "error:" in line or "aborted" in line:
                raise SourceError(f"a client of the application failed: {line}")

    def stop(self) -> None:
        """Stop all clients, and wait until the server has none of their sessions any more."""
        self.check()
        self._end()
        deadline = time.monotonic() + _STOP_SECONDS
        with closing(psycopg.connect(self._conninfo, autocommit=True)) as connection:
            while _sessions(connection):
                if time.monotonic() > deadline:
                    raise SourceError("the application's sessions did not end")
                time.sleep(0.01)

    def _end(self) -> None:
        for writer in self.writers:
            writer.stop()
        self._stack.close()
        self._clients = None
        for writer in self.writers:
            if writer.ident is not None:
                writer.join(_STOP_SECONDS)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and kill it when it does not; harmless when it has ended."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
        return
    process.kill()
    process.wait()


def _sessions(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(
        "select count(*) from pg_stat_activity where application_name = any(%s)",
        [list(APPLICATION_NAMES)],
    ).fetchone()
    assert row is not None
    return int(row[0])
