"""A migration whose processes, sessions and servers are killed again and again, at random moments.

::

    KillRun(migration, seed=7, kills=5).run()      # fails the test when anything is not right

Whoever runs the command resumes it each time it has ended. What it was told to do is right when the
target has every transaction that the source acknowledged, once, and no process stays behind or
waits for ever. The source's server is killed too while the application is at work. The same seed
takes the same decisions; the moments are never quite the same.
"""

import itertools
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

import psycopg

from tests.scenarios.migration import Migration, assert_alone
from tests.support.clock import wait_for
from tests.support.commands import Running
from tests.support.recovery import Recovery
from tests.support.servers import Database

LOAD_SCHEMA = """
create table load (id bigint primary key, batch integer not null, filler text);
create table load_twice (batch integer, n integer);
alter table load_twice replica identity full;
"""
"""Tables for the large transactions; in the second one nothing but care prevents duplicates."""

_DRAIN_SECONDS = 400.0
"""How long everything that piled up may take on a machine with much else to do."""

_LINE = re.compile(r"^\S+ (\d+) \w+ +(.*)$", re.MULTILINE)

_APPLYING = """
select pid from pg_stat_activity
 where datname = current_database() and application_name like 'pgcopydb apply%'
"""
_RECEIVING = """
select active_pid from pg_replication_slots
 where database = current_database() and active_pid is not null
"""


class LargeTransactions:
    """A writer of transactions that are stored in slices; a context manager."""

    def __init__(self, database: Database, random: Random, *, rows: int) -> None:
        self._database = database
        self._random = random
        self._rows = rows
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="large", daemon=True)
        self._error: BaseException | None = None
        self.committed = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join(60)

    def stop(self) -> None:
        """Let the transaction under way end; raise what went wrong."""
        self._stopped.set()
        self._thread.join(60)
        if self._error is not None:
            raise self._error
        assert not self._thread.is_alive()

    def _work(self) -> None:
        batches = itertools.count(1)
        try:
            while not self._stopped.is_set():
                # the server may crash: what was under way is committed or it is not
                with suppress(psycopg.OperationalError), self._database.connect() as connection:
                    while not self._stopped.is_set():
                        self._write(connection, next(batches))
                        self._stopped.wait(self._random.uniform(0.1, 2))
                self._stopped.wait(0.2)
        except BaseException as error:
            self._error = error

    def _write(self, connection: psycopg.Connection[tuple[object, ...]], batch: int) -> None:
        rows = self._random.randint(self._rows // 10, self._rows)
        connection.execute("begin")
        connection.execute(
            "insert into load select %(b)s::bigint * 1000000 + g, %(b)s, repeat(md5(g::text), 4)"
            " from generate_series(1, %(rows)s::integer) g",
            {"b": batch, "rows": rows},
        )
        connection.execute(
            "insert into load_twice select %s, g %% 5 from generate_series(1, 20) g", [batch]
        )
        connection.execute(
            "update load set filler = filler || 'x' where batch = %s and id %% 3 = 0", [batch - 1]
        )
        connection.execute("delete from load where batch = %s", [batch - 3])
        connection.execute(
            "delete from load_twice where ctid ="
            " (select ctid from load_twice where batch = %s limit 1)",
            [batch - 1],
        )
        if self._random.random() < 0.2:
            connection.execute("rollback")
            return
        connection.execute("commit")
        self.committed += 1


class KillRun:
    """One migration with ``kills`` kills in it, of which the first ones are ``begin_with``.

    ``rows`` is the size of a large transaction.
    """

    def __init__(
        self,
        migration: Migration,
        seed: int,
        *,
        kills: int,
        begin_with: tuple[str, ...] = (),
        rows: int = 30_000,
        pause: float = 3,
    ) -> None:
        self._migration = migration
        self._random = Random(seed)
        self._kills = kills
        self._begin_with = begin_with
        self._rows = rows
        self._pause = pause
        self.faults: Counter[str] = Counter()
        self.resumed = 0
        self.survived = 0
        self.recovered: list[float] = []

    def run(self) -> None:
        """Begin the migration, kill and resume, drain it and judge the outcome."""
        migration, random = self._migration, self._random
        migration.pair.source.execute(LOAD_SCHEMA)
        options = ["--max-replaydb-size", random.choice(["1MB", "4MB", "100MB"])]
        options += ["--plugin", migration.plugin]
        if random.random() < 0.25:
            options += ["--apply-mode", "transaction"]
        with (
            migration.workload(enduring=True) as workload,
            LargeTransactions(migration.pair.source, random, rows=self._rows) as large,
            ExitStack() as command,
            Recovery(migration.pair.target, migration.ledger) as recovery,
        ):
            self.recovered = recovery.seconds
            running = command.enter_context(migration.start_follow(workload, *options))
            told = itertools.chain(self._begin_with, itertools.repeat(None))
            for wanted in itertools.islice(told, self._kills):
                time.sleep(random.uniform(0, self._pause))
                way = self._kill(running, wanted)
                recovery.after_fault()
                running = self._after(way, running, command, options)
            workload.stop()
            large.stop()
            if random.random() < 0.4:
                way = self._kill(running, random.choice(["source server", _EVERYTHING]))
                running = self._after(way, running, command, options)
            self._drain(running, command, options)
        migration.judge()

    def _drain(self, running: Running, command: ExitStack, options: list[str]) -> None:
        self._migration.sentinel("set", "endpos", "--current")
        if self._random.random() < 0.3 and running.is_running:
            running = self._after(self._kill(running), running, command, options, draining=True)
        finished = running.wait(_DRAIN_SECONDS)
        for _ in range(2):  # a server that recovers refuses a command that begins just then
            if finished.status == 0:
                break
            running = self._resume(command, options, draining=True)
            finished = running.wait(_DRAIN_SECONDS)
        assert finished.status == 0, finished.stderr
        assert_alone(running)

    # -- what is killed ----------------------------------------------------------------------------

    def _kill(self, running: Running, way: str | None = None) -> str:
        """Kill something, chosen at random unless it is told; return what."""
        ways: dict[str, Callable[[Running], None]] = {
            "receive": lambda one: self._kill_worker(one, "receiving from"),
            "apply": lambda one: self._kill_worker(one, "applying from"),
            "fork server": lambda one: self._kill_worker(one, "receiving from", its_parent=True),
            "supervisor": lambda one: one.send_signal(signal.SIGKILL),
            "whole group": Running.kill_all,
            "walsender": lambda _: self._terminate(self._migration.pair.source, _RECEIVING),
            "target session": lambda _: self._terminate(self._migration.pair.target, _APPLYING),
            "target backend": lambda _: self._kill_backend(),
            "target server": lambda _: self._restart(self._migration.pair.target),
            "group and target": self._kill_all,
            "source server": lambda _: self._restart(self._migration.pair.source),
            _EVERYTHING: self._kill_everything,
        }
        way = way or self._random.choice(list(ways))
        self.faults[way] += 1
        ways[way](running)
        return way

    def _kill_worker(self, running: Running, message: str, *, its_parent: bool = False) -> None:
        pids = [int(pid) for pid, text in _LINE.findall(running.stderr) if message in text]
        found = _parent_and_session(pids[-1]) if pids else None
        if found is None or found[1] != running.pid:
            return
        with suppress(ProcessLookupError):
            os.kill(found[0] if its_parent else pids[-1], signal.SIGKILL)

    def _kill_everything(self, running: Running) -> None:
        """Kill the command and both servers within a moment, in an order of chance."""
        pair = self._migration.pair
        victims = [running.kill_all, pair.source.cluster.kill, pair.target.cluster.kill]
        for kill in self._random.sample(victims, k=len(victims)):
            kill()
        pair.source.cluster.start()
        pair.target.cluster.start()

    def _terminate(self, database: Database, sessions: str) -> None:
        database.rows(f"select pg_terminate_backend(pid) from ({sessions}) as s (pid)")

    def _kill_backend(self) -> None:
        """Kill a backend, at which the whole server ends its sessions and recovers."""
        target = self._migration.pair.target
        for (pid,) in target.rows(_APPLYING):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert wait_for(lambda: _answers(target), seconds=30)

    def _restart(self, database: Database) -> None:
        database.cluster.kill()
        database.cluster.start()

    def _kill_all(self, running: Running) -> None:
        running.kill_all()
        self._restart(self._migration.pair.target)

    # -- and what comes of it ----------------------------------------------------------------------

    def _after(
        self,
        way: str,
        running: Running,
        command: ExitStack,
        options: list[str],
        *,
        draining: bool = False,
    ) -> Running:
        """Return the command that runs on, or another that resumes it."""
        if way in _ENDED_BY:
            wait_for(lambda: not running.is_running, seconds=15)
        else:
            # it should go on by itself, when it has connected again
            wait_for(lambda: not running.is_running, seconds=1.5)
        if running.is_running and (way not in _OF_WORKERS or draining):
            self.survived += 1
            return running
        if running.is_running:  # there was no such process at that moment
            return running
        finished = running.wait(1)
        if draining and finished.status == 0:
            return running
        assert finished.status != 0, f"it ended well although it was killed:\n{finished.stderr}"
        assert_alone(running)
        return self._resume(command, options, draining=draining)

    def _resume(self, command: ExitStack, options: list[str], *, draining: bool) -> Running:
        self.resumed += 1
        words = self._random.choice([["clone", "--follow"], ["follow"]])
        running = command.enter_context(self._migration.start(*words, "--resume", *options))
        if not draining and self._random.random() < 0.8:  # else it is killed while it begins
            self._migration.wait_until_applying(running)
        return running


_EVERYTHING = "group and both servers"
_OF_WORKERS = {"receive", "apply", "fork server"}
_ENDED_BY = {
    *_OF_WORKERS,
    "supervisor",
    "whole group",
    "group and target",
    _EVERYTHING,
}


def _parent_and_session(pid: int) -> tuple[int, int] | None:
    """Return the parent and the session of a process, None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]), int(fields[3])


def _answers(database: Database) -> bool:
    try:
        return bool(database.rows("select 1"))
    except psycopg.OperationalError:
        return False
