"""Sessions for a few statements, of which the next who needs one takes the one that is still open.

A copy asks each side for something two dozen times. To open a session takes as long as most of
these questions (a process of the server, and the settings that are pinned), and together they were
a sixth of the time that a copy of a small database takes. So one session a side is kept while a
command says so. Nobody changes the settings of such a session.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.pq import TransactionStatus

from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.parameters import application_name

Session = Connection[tuple[Any, ...]]


class _Kept:
    lock = threading.Lock()
    sessions: dict[Endpoint, Session] | None = None


@contextmanager
def keeping_sessions() -> Iterator[None]:
    """Keep one idle session a side for the next :func:`short_session` until the block is left.

    Inside another such block it does nothing.
    """
    with _Kept.lock:
        outermost = _Kept.sessions is None
        if outermost:
            _Kept.sessions = {}
    try:
        yield
    finally:
        if outermost:
            close_kept_sessions()
            _Kept.sessions = None


def close_kept_sessions() -> None:
    """Close the sessions that nobody uses: before something that takes long."""
    with _Kept.lock:
        idle = list((_Kept.sessions or {}).values())
        (_Kept.sessions or {}).clear()
    for session in idle:
        session.close()


@contextmanager
def short_session(endpoint: Endpoint, *, purpose: str) -> Iterator[Session]:
    """Give an autocommitting session on ``endpoint`` for a few statements, new or kept.

    Its settings are those of :func:`~pgcopydb.postgres.connect.connect`, and stay so. Raises as
    that does.
    """
    session = _kept(endpoint, purpose) or connect(endpoint, purpose=purpose)
    try:
        yield session
    except BaseException:
        session.close()
        raise
    _keep(endpoint, session)


def _kept(endpoint: Endpoint, purpose: str) -> Session | None:
    """Return the session that is kept, if it still answers, under the name of its new purpose."""
    with _Kept.lock:
        session = (_Kept.sessions or {}).pop(endpoint, None)
    if session is None:
        return None
    try:
        session.execute(
            "select pg_catalog.set_config('application_name', %s, false)",
            (application_name(purpose),),
        )
    except psycopg.Error:  # the server was restarted, or the network forgot it
        session.close()
        return None
    return session


def _keep(endpoint: Endpoint, session: Session) -> None:
    idle = not session.closed and session.info.transaction_status is TransactionStatus.IDLE
    with _Kept.lock:
        if idle and _Kept.sessions is not None and endpoint not in _Kept.sessions:
            _Kept.sessions[endpoint] = session
            return
    session.close()
