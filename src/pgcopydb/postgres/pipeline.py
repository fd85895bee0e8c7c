"""Many prepared statements in one round trip, with every affected-row count checked.

psycopg's own pipeline costs some 30 us of client CPU a statement; at libpq's level it is 3 us.
Parameters go as text without a type, so that the server reads each as the type of the column it
meets. Sending cannot dead-lock against results: libpq reads while it cannot write (fe-misc.c).
"""

import select
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import pq
from psycopg.pq import ExecStatus

from pgcopydb.errors import PgcopydbError
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import translate

_MOST_PREPARED = 2000
"""Prepared statements that a session keeps: beyond it all are dropped, to bound its memory."""


_SUCCESS = frozenset((ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK))


def next_result(pgconn: pq.abc.PGconn) -> pq.abc.PGresult | None:
    """Return the connection's next result, None at the end of a statement's.

    Other threads run while it is waited for: inside ``get_result`` the driver would hold the
    interpreter's lock meanwhile (measured: a second thread then gets 1 % of its speed).
    """
    while (unsent := pgconn.flush()) or pgconn.is_busy():
        poll = select.poll()
        poll.register(pgconn.socket, select.POLLIN | (select.POLLOUT if unsent else 0))
        poll.poll()
        pgconn.consume_input()
    return pgconn.get_result()


class StatementFailure(PgcopydbError):
    """A statement of the pipeline failed, or touched another number of rows than it must.

    ``subject`` is what was given to :meth:`Pipeline.add` with the statement; ``cause`` is the
    side's own error, with its ``sqlstate``, or None when only the count was wrong; ``rows`` is
    that count.
    """

    def __init__(
        self,
        subject: object,
        cause: PgcopydbError | None,
        rows: int = -1,
        *,
        sqlstate: str | None = None,
    ) -> None:
        super().__init__(cause.message if cause else f"{rows} rows affected")
        self.subject = subject
        self.cause = cause
        self.rows = rows
        self.sqlstate = sqlstate or ""


class Pipeline:
    """Statements queued on one connection; :meth:`sync` runs them to their end."""

    def __init__(self, connection: psycopg.Connection[Any], endpoint: Endpoint) -> None:
        self._connection = connection
        self._endpoint = endpoint
        self._pgconn = connection.pgconn
        self._names: dict[str, bytes] = {}
        self._unproved: list[str] = []
        self._prepared = 0
        self._expected: list[tuple[int, object]] = []
        self._pgconn.enter_pipeline_mode()

    def add(
        self,
        statement: str,
        parameters: Sequence[bytes | None] = (),
        *,
        rows: int = -1,
        subject: object = None,
    ) -> None:
        """Queue ``statement``; it must affect exactly ``rows`` rows unless that is negative."""
        try:
            name = self._names.get(statement)
            if name is None:
                name = self._prepare(statement, subject)
            self._pgconn.send_query_prepared(name, parameters)
        except psycopg.Error as error:
            raise translate(self._endpoint, error, doing="sending changes") from error
        self._expected.append((rows, subject))

    def sync(self) -> None:
        """Run what is queued and check every count.

        Raises StatementFailure for the first statement that failed, and the side's error when
        the connection is gone. After either the connection is to be closed: the origin's setup
        of a transaction that failed outlives it in the session (correctness M1). Only whoever
        knows that the transaction was not set up yet may roll back to a savepoint and go on.
        """
        expected, self._expected = self._expected, []
        try:
            self._pgconn.pipeline_sync()
            failure = self._read(expected)
        except psycopg.Error as error:
            raise self._lost(error) from error
        unproved, self._unproved = self._unproved, []
        if failure is not None:
            # what comes after a failure is not even prepared
            for statement in unproved:
                self._names.pop(statement, None)
            raise failure

    @property
    def queued(self) -> int:
        """The number of statements that wait for :meth:`sync`."""
        return len(self._expected)

    def leave(self) -> None:
        """Return the connection to ordinary use; nothing may be queued."""
        self._switch(self._pgconn.exit_pipeline_mode)

    def enter(self) -> None:
        """Go back to queueing after :meth:`leave`."""
        self._switch(self._pgconn.enter_pipeline_mode)

    def _switch(self, switch: Callable[[], None]) -> None:
        try:
            switch()
        except psycopg.Error as error:
            raise self._lost(error) from error

    def _lost(self, error: psycopg.Error) -> PgcopydbError:
        lost = translate(self._endpoint, error, doing="applying changes")
        lost.retryable = True
        return lost

    def _prepare(self, statement: str, subject: object) -> bytes:
        if len(self._names) >= _MOST_PREPARED:
            self._names.clear()
            self._pgconn.send_query_params(b"DEALLOCATE ALL", ())
            self._expected.append((-1, None))
        name = b"s%d" % self._prepared
        self._prepared += 1
        self._pgconn.send_prepare(name, statement.encode())
        self._names[statement] = name
        self._unproved.append(statement)
        self._expected.append((-1, subject))
        return name

    def _read(self, expected: list[tuple[int, object]]) -> StatementFailure | None:
        pgconn = self._pgconn
        failure: StatementFailure | None = None
        for rows, subject in expected:
            result = next_result(pgconn)
            if result is None:
                result = next_result(pgconn)
            if result is None:
                raise psycopg.OperationalError("the server sent fewer results than statements")
            if failure is None:
                failure = self._check(result, rows, subject)
        while (result := next_result(pgconn)) is None or result.status != ExecStatus.PIPELINE_SYNC:
            if result is None and pgconn.status != pq.ConnStatus.OK:
                raise psycopg.OperationalError("the connection was lost")
        return failure

    def _check(self, result: Any, rows: int, subject: object) -> StatementFailure | None:
        status = result.status
        if status in _SUCCESS:
            if rows < 0 or result.command_tuples == rows:
                return None
            return StatementFailure(subject, None, result.command_tuples or 0)
        if status == ExecStatus.FATAL_ERROR:
            error = psycopg.errors.error_from_result(result)
            cause = translate(self._endpoint, error, doing="applying a change")
            return StatementFailure(subject, cause, sqlstate=error.sqlstate)
        return None
