"""What a migration does to the source and to the application that works there (oracle O7).

::

    with SourceHealth(pair.source) as watch:
        ...                      # the base copy
        watch.copied()           # from now on nothing of the source is held for long
        ...                      # the follow
    assert_healthy(watch.health)
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import psycopg

from tests.support.background import InBackground
from tests.support.servers import Connection, Database

_PAUSE = 0.1
"""Seconds between two looks: by so much a wait may be longer than it is found to be."""

LONGEST_WAIT = 3.0
"""Seconds that a statement of the application may wait behind a session of pgcopydb.

It never does for longer than a moment, except for a statement that wants a table for itself while
rows are copied (limits.md); the workloads have none then.
"""

LONGEST_IDLE = 20.0
"""Seconds that a session of pgcopydb may be idle in a transaction once the base copy is complete.

A worker that was stopped in one stays in it until that is told, within fifteen seconds.
"""

MOST_RETAINED = 1 << 30
"""Bytes of WAL that a slot may retain in a run, whose writers write a tenth of that."""

_OUTAGES = ("08", "57P01", "57P02", "57P03")
"""What the codes begin with of errors of a server that is not there, or is going."""

_SESSIONS = """
select pid, application_name like 'pgcopydb%', application_name, query,
       case when state like 'idle in transaction%'
            then extract(epoch from clock_timestamp() - state_change)::float8 else 0 end,
       greatest(age(backend_xmin), age(backend_xid), 0),
       case when wait_event_type = 'Lock' then pg_blocking_pids(pid) else '{}' end,
       case when wait_event_type = 'Lock'
            then coalesce((select extract(epoch from clock_timestamp() - min(waitstart))::float8
                             from pg_locks where pid = a.pid and not granted), 0) else 0 end
  from pg_stat_activity as a
 where datname = current_database() and pid <> pg_backend_pid()
"""

_SLOTS = """
select coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)), 0)::int8,
       coalesce(max(greatest(age(xmin), age(catalog_xmin))), 0)
  from pg_replication_slots where database = current_database()
"""


@dataclass
class Health:
    """The worst that was seen of a source in a run; what is idle or old, after the base copy."""

    waited: float = 0.0
    """Seconds that a statement of the application waited for a lock behind pgcopydb."""
    waited_for: str = ""
    """That statement, and the session behind which it waited."""
    waiters: int = 0
    """How many statements of the application waited so at once."""
    retained: int = 0
    """Bytes of WAL that the slot kept."""
    slot_age: int = 0
    """Transactions since the oldest one whose catalogue rows the slot kept from vacuum."""
    session_age: int = 0
    """Transactions since the oldest one whose rows a session of pgcopydb kept from vacuum."""
    idle: float = 0.0
    """Seconds that a session of pgcopydb was idle in a transaction."""
    idle_session: str = ""


class _Session(NamedTuple):
    pid: int
    ours: bool
    name: str
    query: str
    idle: float
    age: int
    blocked_by: Sequence[int]
    waited: float


class SourceHealth(InBackground):
    """Looks at a source ten times a second, whenever it can be reached; 14 or later."""

    def __init__(self, source: Database) -> None:
        super().__init__("source health")
        self._source = source
        self._copied = False
        self.health = Health()
        self.looks = 0

    def copied(self) -> None:
        """Say that the base copy is complete, so that no transaction is held for it."""
        self._copied = True

    def work(self) -> None:
        """Look again and again; a server that is killed may be back soon."""
        while not self.stopping.wait(_PAUSE):
            with (
                suppress(psycopg.OperationalError),
                self._source.connect(connect_timeout=5) as connection,
            ):
                while not self.stopping.wait(_PAUSE):
                    self._look(connection)

    def _look(self, connection: Connection) -> None:
        copied = self._copied  # before the look: a session seen by it may be of the copy yet
        sessions = {
            one.pid: one
            for one in map(_Session._make, connection.execute(_SESSIONS.encode()).fetchall())
        }
        slots = connection.execute(_SLOTS.encode()).fetchone()
        assert slots is not None
        health = self.health
        health.retained = max(health.retained, slots[0])
        self._note_waits(sessions)
        if copied:
            health.slot_age = max(health.slot_age, slots[1])
            self._note_held(session for session in sessions.values() if session.ours)
        self.looks += 1

    def _note_waits(self, sessions: Mapping[int, _Session]) -> None:
        health, waiters = self.health, 0
        for session in sessions.values():
            holder = None if session.ours else _of_ours_before(session, sessions)
            if holder is None:
                continue
            waiters += 1
            if session.waited > health.waited:
                health.waited = session.waited
                health.waited_for = f"{session.query[:200]} behind {holder.name}: {holder.query}"
        health.waiters = max(health.waiters, waiters)

    def _note_held(self, ours: Iterable[_Session]) -> None:
        health = self.health
        for session in ours:
            health.session_age = max(health.session_age, session.age)
            if session.idle > health.idle:
                health.idle = session.idle
                health.idle_session = f"{session.name}: {session.query[:200]}"


def _of_ours_before(waiting: _Session, sessions: Mapping[int, _Session]) -> _Session | None:
    """Return the session of pgcopydb for which one waits, be it behind others that wait for it."""
    seen: set[int] = set()
    ahead = list(waiting.blocked_by)
    while ahead:
        holder = sessions.get(ahead.pop())
        if holder is None or holder.pid in seen:
            continue
        if holder.ours:
            return holder
        seen.add(holder.pid)
        ahead.extend(holder.blocked_by)
    return None


def assert_healthy(health: Health) -> None:
    """Assert that a source suffered nothing from a migration that an application would feel."""
    assert health.waited < LONGEST_WAIT, f"{health.waited:.1f} s: {health.waited_for}"
    assert health.idle < LONGEST_IDLE, f"{health.idle:.1f} s idle: {health.idle_session}"
    assert health.retained < MOST_RETAINED, f"the slot kept {health.retained} bytes of WAL"


def is_outage(error: psycopg.OperationalError) -> bool:
    """Tell whether an error says that a server was killed or stopped, and nothing else.

    Deadlocks, time limits and full lock tables are operational errors too, to psycopg.
    """
    return error.sqlstate is None or error.sqlstate.startswith(_OUTAGES)
