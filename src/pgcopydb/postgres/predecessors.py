"""Ends sessions that a client left behind: a server goes on with a statement whose client is gone.

An index that such a session still builds would be in the way of the one who builds it again. A
process id is used again after a while, so a session is known by its start as well.
"""

import time
from typing import Any, Final

from msgspec import Struct
from psycopg import Connection

Session = Connection[tuple[Any, ...]]

_PATIENCE: Final = 10.0
_PAUSE: Final = 0.02

_OWN: Final = (
    "select pid, backend_start::text from pg_catalog.pg_stat_activity"
    " where pid = pg_catalog.pg_backend_pid()"
)
_END: Final = (
    "select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity"
    " where pid = %s and backend_start = %s::pg_catalog.timestamptz and usename = current_user"
)


class SessionIdentity(Struct, frozen=True):
    """A session of a server: process id and start, as the server prints it."""

    pid: int
    started: str


def session_identity(connection: Session) -> SessionIdentity:
    """Return what tells this session from every other; raises psycopg.Error."""
    row = connection.execute(_OWN).fetchone()
    assert row is not None
    return SessionIdentity(*row)


def end_session(connection: Session, left: SessionIdentity) -> None:
    """End a session of this role that may still be there, and wait for its end for a while.

    Raises psycopg.Error.
    """
    deadline = time.monotonic() + _PATIENCE
    while connection.execute(_END, (left.pid, left.started)).rowcount:
        if time.monotonic() > deadline:
            return
        time.sleep(_PAUSE)
