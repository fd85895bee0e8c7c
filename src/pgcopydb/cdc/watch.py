"""Looking at both servers during a follow: has the source changed its tables, can it lose the slot,
and does somebody on the target hold what apply waits for?

Threads of the supervising process ask every few seconds and warn, once of each thing. They never
end the follow: whatever they cannot ask is decided where it matters, by receive when it connects
and by the comparison at the end.
"""

import logging
import threading
from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import Any, ClassVar, Final, Self

import psycopg

from pgcopydb.cdc.altered import find_altered
from pgcopydb.cdc.capture import read_capture
from pgcopydb.cdc.drift import find_drift
from pgcopydb.cdc.pace import Pace
from pgcopydb.cdc.silence import named, note_fired
from pgcopydb.errors import PgcopydbError, some_of
from pgcopydb.model.capture import Capture
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.slot import read_holdback
from pgcopydb.rules.holdback import worries
from pgcopydb.workdir.directory import WorkDirectory

log = logging.getLogger(__name__)

_EVERY: Final = 10.0

_LOCK_TIMEOUT: Final = "set lock_timeout to '2s'"
"""Expressions of defaults wait for a lock that an ALTER TABLE may hold for hours."""


_LOOK_FOR_LOCKS_EVERY: Final = 2.0

_BLOCKED: Final = """
select waiting.pid, holder.pid, coalesce(about.relation::regclass::text, ''),
       coalesce(session.application_name, ''), coalesce(session.usename::text, '')
  from pg_catalog.pg_stat_activity as waiting
 cross join lateral (
         select pid from pg_catalog.unnest(pg_catalog.pg_blocking_pids(waiting.pid)) as pid
       ) as holder
  left join pg_catalog.pg_stat_activity as session on session.pid = holder.pid
  left join pg_catalog.pg_locks as about on about.pid = waiting.pid and not about.granted
 where waiting.datname = pg_catalog.current_database()
   and waiting.application_name like 'pgcopydb %'
"""


class _Watch(ABC):
    """Looks at a server again and again, in a thread, as long as its block runs."""

    _every: ClassVar[float]
    """Seconds between looks."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"{endpoint.side} watch", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(5)

    @abstractmethod
    def _look(self, connection: psycopg.Connection[Any]) -> None:
        """Look once; raises what goes wrong with the connection."""

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._watch()
            except PgcopydbError as error:
                log.debug("%s could not be looked at: %s", self._endpoint.side, error.message)
                self._stop.wait(_EVERY)

    def _watch(self) -> None:
        """Look again and again over one connection; raises what goes wrong with it."""
        with ExitStack() as stack:
            connection = stack.enter_context(connect(self._endpoint, purpose="watch"))
            with reporting(self._endpoint, "setting up the watch"):
                connection.execute(_LOCK_TIMEOUT)
            while not self._stop.wait(self._every):
                self._look(connection)


class TargetWatch(_Watch):
    """Says for which table a session of this program waits on the target, and who holds it.

    And which triggers were made there meanwhile, that do again what the source has done, and
    which tables were altered under what is applied to them.
    """

    _every = _LOOK_FOR_LOCKS_EVERY

    def __init__(self, work: WorkDirectory, target: Endpoint) -> None:
        super().__init__(target)
        self._work = work
        self._triggers = Pace(_EVERY)
        self._tables = Pace(_EVERY)
        self._altered: dict[tuple[str, str], str] = {}
        self._waiting: set[tuple[Any, ...]] = set()
        self._told: set[tuple[Any, ...]] = set()

    def _look(self, connection: psycopg.Connection[Any]) -> None:
        self._look_for_locks(connection)
        if self._triggers.is_due():
            with self._triggers.looking():
                self._look_at_triggers(connection)
        if self._tables.is_due():
            with self._tables.looking():
                self._look_at_tables(connection)

    def _look_at_tables(self, connection: psycopg.Connection[Any]) -> None:
        found = find_altered(self._work, connection, self._endpoint)
        for name, what in found.items():
            if self._altered.get(name) != what:
                log.warning(
                    "target: %s was altered while changes are applied to it: %s; what is applied"
                    " may be rounded or cut: at the end it must be as on the source",
                    ".".join(name),
                    what,
                )
        self._altered = found

    def _look_at_triggers(self, connection: psycopg.Connection[Any]) -> None:
        fired = note_fired(self._work, connection, self._endpoint)
        if fired:
            log.warning(
                "target: triggers were made that fire for changes which are applied: %s; what they"
                " do the source has done already: disable them",
                some_of(named(fired)),
            )

    def _look_for_locks(self, connection: psycopg.Connection[Any]) -> None:
        with reporting(self._endpoint, "looking for locks that are waited for"):
            found = set(connection.execute(_BLOCKED).fetchall())
        # seen twice: a lock that is held for a moment is nobody's business
        for _, holder, table, name, role in sorted((found & self._waiting) - self._told):
            what = f"table {table}" if table else "a lock"
            if not holder:  # as pg_blocking_pids says it
                log.warning("target: waiting for %s, which a prepared transaction holds", what)
                continue
            log.warning(
                "target: waiting for %s, which session %d (%s) holds locked; to end it: SELECT"
                " pg_terminate_backend(%d)",
                what,
                holder,
                ", ".join(filter(None, (name, role))) or "of another role",
                holder,
            )
        self._told = (self._told | self._waiting) & found
        self._waiting = found


class SourceWatch(_Watch):
    """Watches the source's tables and its slot."""

    _every = _EVERY

    def __init__(self, work: WorkDirectory, source: Endpoint) -> None:
        super().__init__(source)
        self._work = work
        self._source = source
        self._told: set[str] = set()
        self._capture: Capture | None = None
        self._tables = Pace(_EVERY)

    def _look(self, connection: psycopg.Connection[Any]) -> None:
        self._look_at_slot(connection)
        if self._tables.is_due():
            with self._tables.looking():
                self._look_at_tables(connection)

    def _look_at_tables(self, connection: psycopg.Connection[Any]) -> None:
        header = self._work.header()
        if header is None:
            return
        self._capture = self._capture or read_capture(self._work)
        found = find_drift(connection, self._source, header, self._capture)
        for name, reason in found.items():
            text = f"source: {'.'.join(name)} {reason}"
            self._warn_once(
                text,
                f"{text}; the stream does not carry that: at the end the table must be the same on"
                " the target",
            )

    def _look_at_slot(self, connection: psycopg.Connection[Any]) -> None:
        header = self._work.header()
        if header is None or header.slot_name is None:
            return
        found = read_holdback(connection, self._source, header.slot_name)
        told = {} if found is None else dict(worries(header.slot_name, found))
        self._told -= {"half", "xmin"} - told.keys()
        for subject, text in told.items():
            self._warn_once(subject, text)

    def _warn_once(self, subject: str, text: str) -> None:
        if subject not in self._told:
            self._told.add(subject)
            log.warning("%s", text)
