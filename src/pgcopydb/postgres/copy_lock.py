"""The lock by which only one run at a time copies into a database.

A look whether the target is empty cannot keep two runs from beginning together: both may look
before either has made anything. The lock is a transaction's, so that nothing is left of it when its
session ends, in whatever way; rows on the target keep others out from then on. A run that goes on
although the session was lost takes the lock again.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Final

from psycopg import Connection

from pgcopydb.errors import PgcopydbError, TargetError
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.losses import is_lost
from pgcopydb.postgres.progress import take_over

log = logging.getLogger(__name__)

Session = Connection[tuple[Any, ...]]

_KEY: Final = int.from_bytes(b"pgcopydb")

_BETWEEN_TRIES: Final = 1.0

_HOLDER: Final = """
select a.pid, a.application_name
  from pg_catalog.pg_locks as l join pg_catalog.pg_stat_activity as a on a.pid = l.pid
 where l.locktype = 'advisory' and l.granted and a.datname = pg_catalog.current_database()
   and l.objsubid = 1 and (l.classid::bigint << 32 | l.objid::bigint) = %s
"""


class CopyLock:
    """The lock, from when it is made until :meth:`close`.

    Making one raises TargetError (exit status 7) when another run copies into that database now.
    """

    def __init__(self, target: Endpoint, run_id: str) -> None:
        self._target = target
        self._purpose = f"copy {run_id[:8]}"
        self._try_again_at = 0.0
        self._session = self._take()

    def check(self) -> None:
        """Take the lock again when its session is known to be gone; to be called now and then.

        A target that cannot be reached is tried again at a later call. Raises TargetError (exit
        status 7) when another run has taken the lock meanwhile, and for a target that refuses.
        """
        if not is_lost(self._session) or time.monotonic() < self._try_again_at:
            return
        self._try_again_at = time.monotonic() + _BETWEEN_TRIES
        self._session.close()
        try:
            self._session = self._take()
        except PgcopydbError as error:
            if not error.retryable:
                raise
            log.debug("the lock of the copy cannot be taken again yet: %s", error.message)
            return
        log.warning("target: the session was lost that keeps other copies out; another has begun")

    def close(self) -> None:
        """Let go of the lock."""
        self._session.close()

    def _take(self) -> Session:
        """Return a new session that has the lock."""
        target = self._target
        with ExitStack() as on_error:
            session = on_error.enter_context(
                closing(connect(target, purpose=self._purpose, autocommit=False))
            )

            def take() -> bool:
                with reporting(target, "looking for another copy"):
                    found = session.execute(
                        "select pg_catalog.pg_try_advisory_xact_lock(%s)", (_KEY,)
                    ).fetchone()
                    taken = found == (True,)
                    if not taken:
                        session.rollback()  # a transaction sees the same sessions until its end
                return taken

            if not take_over(session, target, take):
                raise TargetError(
                    f"target: another run copies into this database{_holder(session, target)}",
                    hint="let it end, or stop it; or give another database as --target",
                )
            on_error.pop_all()
        return session


@contextmanager
def copying_alone(target: Endpoint, run_id: str) -> Iterator[CopyLock]:
    """Keep other runs from copying into the target while the block runs.

    A session that a run left which was killed is no obstacle to the same run, which ends it. Raises
    TargetError (exit status 7) when another run copies into that database now.
    """
    with closing(CopyLock(target, run_id)) as lock:
        yield lock


def _holder(session: Session, target: Endpoint) -> str:
    with reporting(target, "looking for another copy"):
        row = session.execute(_HOLDER, (_KEY,)).fetchone()
    return "" if row is None else f" (session {row[0]}, {row[1]})"
