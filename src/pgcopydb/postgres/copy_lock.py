"""The lock by which only one run at a time copies into a database.

A look whether the target is empty cannot keep two runs from beginning together: both may look
before either has made anything. The lock is a transaction's, so that nothing is left of it when its
session ends, in whatever way; rows on the target keep others out from then on.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

from psycopg import Connection

from pgcopydb.errors import TargetError
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.progress import take_over

Session = Connection[tuple[Any, ...]]

_KEY: Final = int.from_bytes(b"pgcopydb")

_HOLDER: Final = """
select a.pid, a.application_name
  from pg_catalog.pg_locks as l join pg_catalog.pg_stat_activity as a on a.pid = l.pid
 where l.locktype = 'advisory' and l.granted and a.datname = pg_catalog.current_database()
   and l.objsubid = 1 and (l.classid::bigint << 32 | l.objid::bigint) = %s
"""


@contextmanager
def copying_alone(target: Endpoint, run_id: str) -> Iterator[None]:
    """Keep other runs from copying into the target while the block runs.

    A session that a run left which was killed is no obstacle to the same run, which ends it. Raises
    TargetError (exit status 7) when another run copies into that database now.
    """
    purpose = f"copy {run_id[:8]}"
    with closing(connect(target, purpose=purpose, autocommit=False)) as session:

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
        yield


def _holder(session: Session, target: Endpoint) -> str:
    with reporting(target, "looking for another copy"):
        row = session.execute(_HOLDER, (_KEY,)).fetchone()
    return "" if row is None else f" (session {row[0]}, {row[1]})"
