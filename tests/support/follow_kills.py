"""A migration whose processes, sessions and servers are killed again and again, at random moments.

::

    FollowKillRun(migration, seed=7, faults=5).run()
"""

import itertools
import os
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from random import Random

import psycopg

from tests.scenarios.migration import Migration
from tests.support.background import InBackground
from tests.support.clock import wait_for
from tests.support.disturbed import STOP_SECONDS
from tests.support.disturbed_follow import SERVER_IS_GONE, DisturbedFollow, parent_and_session
from tests.support.servers import Connection, Database
from tests.support.source_health import is_outage

LOAD_SCHEMA = """
create table load (id bigint primary key, batch integer not null, filler text);
create table load_size (batch integer primary key, rows integer);
create table load_twice (batch integer, n integer);
alter table load_twice replica identity full;
"""
"""Tables for the large transactions; in the second one nothing but care prevents duplicates."""

LOADS_IN_PART = """
select format('batch %s of %s rows: %s and %s, of which %s of %s are changed', batch, size.rows,
              load.rows, twice.rows, load.changed, load.to_change)
  from load_size as size
  left join (select batch, count(*) as rows, count(*) filter (where id % 3 = 0) as to_change,
                    count(*) filter (where filler like '%x') as changed
               from load group by batch) as load using (batch)
  full join (select batch, count(*) as rows from load_twice group by batch) as twice using (batch)
 where coalesce(twice.rows, 0) not in (19, 20)
    or coalesce(load.rows, 0) not in (0, size.rows)
    or load.changed not in (0, load.to_change)
    or size.rows is null
 union all
select format('batch %s has rows without their number', batch) from load
 where not exists (select from load_size as size where size.batch = load.batch)
 group by batch
"""
"""Finds the large transactions of which only a part is there."""

_APPLYING = """
select pid from pg_stat_activity
 where datname = current_database() and application_name like 'pgcopydb apply%'
"""
_RECEIVING = """
select active_pid from pg_replication_slots
 where database = current_database() and active_pid is not null
"""

_EVERYTHING = "group and both servers"

_DEFECT = frozenset({12})
_KILLED = frozenset({-signal.SIGKILL})
_TERMINATED = frozenset({128 + signal.SIGTERM})
_STATUSES: Mapping[str, frozenset[int]] = {
    "receive": _DEFECT,
    "apply": _DEFECT,
    "fork server": _DEFECT,
    "supervisor": _KILLED,
    "whole group": _KILLED,
    "group and target": _KILLED,
    _EVERYTHING: _KILLED,
    "SIGTERM": _TERMINATED,
    "SIGINT": frozenset({128 + signal.SIGINT}),
    "SIGHUP": frozenset({128 + signal.SIGHUP}),
    "SIGTERM while a worker stands still": _TERMINATED,
}
"""The status with which a command ends, by what was done to it; what is not here it outlives."""


class LargeTransactions(InBackground):
    """A writer of transactions that are stored in slices; a context manager."""

    def __init__(self, database: Database, random: Random, *, rows: int) -> None:
        super().__init__("large")
        self._database = database
        self._random = random
        self._rows = rows

    def work(self) -> None:
        """Write one after the other, with pauses."""
        batches = itertools.count(1)
        while not self.stopping.is_set():
            # the server may crash: what was under way is committed or it is not
            try:
                with self._database.connect() as connection:
                    while not self.stopping.is_set():
                        self._write(connection, next(batches))
                        self.stopping.wait(self._random.uniform(0.5, 4))
            except psycopg.OperationalError as error:
                if not is_outage(error):
                    raise
            self.stopping.wait(0.2)

    def _write(self, connection: Connection, batch: int) -> None:
        rows = self._random.randint(self._rows // 10, self._rows)
        connection.execute("begin")
        connection.execute("insert into load_size values (%s, %s)", [batch, rows])
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
        connection.execute("rollback" if self._random.random() < 0.2 else "commit")


class FollowKillRun(DisturbedFollow):
    """One migration with ``faults`` kills in it, of which the first ones are ``begin_with``.

    ``only`` names the kinds of kills that there are, if not all; ``rows`` is the size of a large
    transaction.
    """

    kills_source = True
    in_part = LOADS_IN_PART

    def __init__(
        self,
        migration: Migration,
        seed: int,
        *,
        faults: int,
        rows: int = 15_000,
        pause: float = 2,
        begin_with: Sequence[str] = (),
        only: Collection[str] = (),
    ) -> None:
        resumed_by = [["clone", "--follow"], ["follow"]]
        super().__init__(migration, seed, faults=faults, pause=pause, resumed_by=resumed_by)
        self.options += ["--max-replaydb-size", self.random.choice(["1MB", "4MB", "100MB"])]
        if self.random.random() < 0.25:
            self.options += ["--apply-mode", "transaction"]
        migration.pair.source.execute(LOAD_SCHEMA)
        self._begin_with = begin_with
        self._only = only
        self._large = LargeTransactions(migration.pair.source, self.random, rows=rows)

    def further_writers(self) -> AbstractContextManager[object]:
        """Return the writer of large transactions."""
        return self._large

    def drain(self) -> None:
        """Kill the source as well, now that nobody writes, and more on the way to the end."""
        self._large.stop()
        if self.random.random() < 0.4:
            self._see_to(self._kill(self.random.choice(["source server", _EVERYTHING])))
        self.set_end()
        if self.random.random() < 0.3 and self.running.is_running:
            way = self._try_to_kill()
            if way is not None:
                self._see_to(way, draining=True)
        self.wait_for_end()

    def disturb(self) -> None:
        """Kill, stop or end something."""
        way = self._kill(*self._begin_with[:1])
        self._begin_with = self._begin_with[1:]
        self.recovery.after(way)
        self._see_to(way)

    # -- what is killed ----------------------------------------------------------------------------

    def _kill(self, *wanted: str) -> str:
        """Do one of many things, or what is wanted, as soon as one can be done; return which."""
        done: list[str] = []

        def kill() -> bool:
            way = self._try_to_kill(*wanted)
            done.extend([way] if way else [])
            return way is not None

        assert wait_for(kill, seconds=60), "there is nothing to be killed"
        return done[0]

    def _try_to_kill(self, *wanted: str) -> str | None:
        """Do one of many things, or what is wanted; return which, None if none can be done now."""
        pair = self.migration.pair
        ways: dict[str, Callable[[], bool]] = {
            "receive": lambda: self._kill_worker("receiving from"),
            "apply": lambda: self._kill_worker("applying from"),
            "fork server": lambda: self._kill_worker("receiving from", its_parent=True),
            "supervisor": self._kill_supervisor,
            "whole group": self._kill_group,
            "SIGTERM": lambda: self.running.ask_to_stop(signal.SIGTERM),
            "SIGINT": lambda: self.running.ask_to_stop(signal.SIGINT),
            "SIGHUP": lambda: self.running.ask_to_stop(signal.SIGHUP),
            "SIGTERM while a worker stands still": self._stop_a_worker_for_good,
            "a worker stands still": self._stop_a_worker,
            "walsender": lambda: _terminate(pair.source, _RECEIVING),
            "target session": lambda: _terminate(pair.target, _APPLYING),
            "target session stands still": lambda: self._stop_a_session(pair.target, _APPLYING),
            "walsender stands still": lambda: self._stop_a_session(pair.source, _RECEIVING),
            "target backend": self._kill_backend,
            "target server": lambda: _restart(pair.target),
            "group and target": lambda: self._kill_group() and _restart(pair.target),
            "source server": lambda: _restart(pair.source),
            _EVERYTHING: self._kill_everything,
        }
        allowed = [way for way in ways if not self._only or way in self._only]
        for way in (*wanted, *self.random.sample(allowed, len(allowed))):
            if ways[way]():
                self.tally.faults[way] += 1
                return way
        return None

    def _kill_supervisor(self) -> bool:
        self.running.send_signal(signal.SIGKILL)
        return True

    def _kill_group(self) -> bool:
        self.running.kill_all()
        return True

    def _kill_everything(self) -> bool:
        """Kill the command and both servers within a moment, in an order of chance."""
        source, target = self.migration.pair.source.cluster, self.migration.pair.target.cluster
        victims = [self.running.kill_all, source.kill, target.kill]
        for kill in self.random.sample(victims, len(victims)):
            kill()
        source.start()
        target.start()
        return True

    def _kill_worker(self, message: str, *, its_parent: bool = False) -> bool:
        pid = self.worker(message)
        found = parent_and_session(pid) if pid else None
        if pid is None or found is None:
            return False
        return _send(found[0] if its_parent else pid, signal.SIGKILL)

    def _stop_a_worker(self) -> bool:
        """Let a worker stand still until that is told, then let it go on."""
        pid = self.worker(self.random.choice(["receiving from", "applying from"]))
        if pid is None or not _send(pid, signal.SIGSTOP):
            return False
        told = wait_for(lambda: self._is_told(pid) or not self.running.is_running, seconds=15)
        _send(pid, signal.SIGCONT)
        assert told, f"nothing tells that process {pid} stands still:\n{self.running.stderr}"
        return True

    def _stop_a_worker_for_good(self) -> bool:
        """Let a worker stand still, and ask the command to end."""
        pid = self.worker(self.random.choice(["receiving from", "applying from"]))
        if pid is None or not _send(pid, signal.SIGSTOP):
            return False
        return self.running.ask_to_stop(signal.SIGTERM)

    def _is_told(self, pid: int) -> bool:
        return f"(process {pid}) stands still" in self.running.stderr

    def _stop_a_session(self, database: Database, sessions: str) -> bool:
        """Let a server's process stand still for a while."""
        found = [pid for (pid,) in database.rows(sessions) if _send(pid, signal.SIGSTOP)]
        time.sleep(self.random.uniform(0.2, 2))
        for pid in found:
            _send(pid, signal.SIGCONT)
        return bool(found)

    def _kill_backend(self) -> bool:
        """Kill a backend, at which the whole server ends its sessions and recovers."""
        target = self.migration.pair.target
        killed = [pid for (pid,) in target.rows(_APPLYING) if _send(pid, signal.SIGKILL)]
        assert wait_for(lambda: _answers(target), seconds=30)
        return bool(killed)

    # -- and what comes of it ----------------------------------------------------------------------

    def _see_to(self, way: str, *, draining: bool = False) -> None:
        """Wait until the command has ended, if it has to, and resume it."""
        statuses = _STATUSES.get(way)
        if statuses is None:
            # It should go on by itself, when it has connected again.
            if self.goes_on(1.5):
                self.tally.survived += 1
                return
            statuses = SERVER_IS_GONE
        elif self.goes_on(STOP_SECONDS):
            raise AssertionError(f"it outlives {way}:\n{self.running.stderr}")
        finished = self.ended(statuses | ({0} if draining else set()))
        if finished.status != 0:
            self.resume(draining=draining)


def _restart(database: Database) -> bool:
    database.cluster.kill()
    database.cluster.start()
    return True


def _terminate(database: Database, sessions: str) -> bool:
    return bool(database.rows(f"select pg_terminate_backend(pid) from ({sessions}) as s (pid)"))


def _send(pid: int, number: signal.Signals) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def _answers(database: Database) -> bool:
    try:
        return bool(database.rows("select 1"))
    except psycopg.OperationalError:
        return False
