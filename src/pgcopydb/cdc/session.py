"""The session that applies: its settings, its progress, its transaction.

After any failure the session is closed and a new one begun: what a replication origin was told in
a transaction that failed would otherwise be believed by the next one that commits (correctness
M1). The origin then says where to go on.
"""

import logging
from contextlib import ExitStack, closing
from typing import Any, Final, Self

import psycopg
from psycopg import pq

from pgcopydb.cdc.targets import TargetTables, read_target_tables
from pgcopydb.errors import PgcopydbError, StateError
from pgcopydb.model.capture import Capture
from pgcopydb.model.changes import Relation
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.targets import Route
from pgcopydb.postgres.connect import connect, reporting, translate
from pgcopydb.postgres.origin import OriginProgress
from pgcopydb.postgres.pipeline import Pipeline, next_result
from pgcopydb.postgres.progress import Progress, TableProgress
from pgcopydb.postgres.session import use_raw_encoding
from pgcopydb.rules.routing import make_route
from pgcopydb.workdir.store import RunHeader

log = logging.getLogger(__name__)

_SYNCHRONOUS_COMMIT: Final = {
    True: "set synchronous_commit to off",
    False: "set synchronous_commit to on",
}


class ApplySession:
    """A connection to the target in which changes are applied; a context manager that owns it.

    ``position`` is the end of the last source transaction that this session or an earlier one has
    committed here. ``independent`` tells whether tables can be written in any order, because
    neither triggers nor foreign keys fire or are there yet. ``tables`` are the target's, as they
    were when the session began.
    """

    def __init__(self, target: Endpoint, header: RunHeader, capture: Capture) -> None:
        self._target = target
        self._header = header
        self._capture = capture
        self._followed = {(table.schema, table.name): table for table in capture.tables}
        self._in_transaction = False
        self.position = 0
        self.independent = False

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            purpose = f"apply {self._header.run_id[:8]}"
            # closed as it is: leaving psycopg's own block would commit a transaction under way
            self._connection = stack.enter_context(closing(connect(self._target, purpose=purpose)))
            self.tables: TargetTables = read_target_tables(self._connection, self._target)
            silent = set_up_session(self._connection, self._target, self._header)
            self.independent = silent or self._header.constraints_deferred
            self._progress = open_progress(self._connection, self._target, self._header)
            self.position = self._progress.attach()
            with reporting(self._target, "setting the session's encoding"):
                use_raw_encoding(self._connection)
            self.pipeline = Pipeline(self._connection, self._target)
            self._close = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._close.close()

    def route(self, relation: Relation) -> Route:
        """Return where the rows of ``relation`` go.

        Raises StateError for a table that the target lacks, or has without one of the columns or
        with another type. One that was made after the capture began, a new partition say, is
        written to when somebody has made it on the target: at the end it is compared. A partition
        that the target has not goes to the nearest table above it that is there.
        """
        name = (relation.schema, relation.name)
        if name not in self._followed and name not in self.tables:
            raise StateError(
                f"source: table {relation.schema}.{relation.name} was made after the change"
                " capture began, and the target lacks it",
                hint="everything before that is applied: create it on the target as it is on the"
                " source, then go on with --resume",
            )
        followed = self._followed.get(name)
        generated = None if followed is None else frozenset(followed.generated)
        if name in self.tables:
            return make_route(relation, self.tables, generated=generated)
        above = (table for table in self._capture.ancestors(*name) if table in self.tables)
        home = next(above, name)
        partitions = self._capture.partitions(home)
        return make_route(
            relation, self.tables, home=home, partitions=partitions, generated=generated
        )

    def begin(self) -> None:
        """Begin a transaction on the target, unless one is under way."""
        if self._in_transaction:
            return
        self.pipeline.add("BEGIN")
        self.pipeline.add("SET CONSTRAINTS ALL DEFERRED")
        self._in_transaction = True

    @property
    def in_transaction(self) -> bool:
        """Whether something is written, or queued, that is not committed."""
        return self._in_transaction

    def commit(self, end_lsn: int, commit_time: int) -> None:
        """Commit what was written, and ``end_lsn`` as the position that is now applied.

        Every affected-row count is checked before the commit is sent.
        """
        if self._in_transaction:
            if self.pipeline.queued:
                self.pipeline.sync()
            self._progress.mark(self.pipeline, end_lsn, commit_time)
            self.pipeline.add("COMMIT")
            self.pipeline.sync()
            self._in_transaction = False
        self.position = end_lsn

    def rollback(self) -> None:
        """Undo what was written since the last commit.

        The origin was told nothing yet in this transaction, so the session can go on.
        """
        if self._in_transaction:
            self.pipeline.add("ROLLBACK")
            self.pipeline.sync()
            self._in_transaction = False

    def durable_position(self) -> int:
        """Return the position whose transactions are flushed to disk; between transactions only."""
        self.pipeline.leave()
        try:
            return self._progress.durable()
        finally:
            self.pipeline.enter()

    def execute(self, statement: str) -> int:
        """Run one statement outside of the pipeline; return the rows it affected or returned."""
        try:
            result = self._connection.pgconn.exec_(statement.encode())
        except psycopg.Error as error:
            raise self._lost(error) from error
        self._check(result)
        return result.command_tuples or 0

    def copy(self, statement: str, data: bytes) -> int:
        """Run a COPY FROM STDIN with ``data``, outside of the pipeline; return its rows."""
        pgconn = self._connection.pgconn
        try:
            self._check(pgconn.exec_(statement.encode()))
            pgconn.put_copy_data(data)
            pgconn.put_copy_end()
            last = None
            while (result := next_result(pgconn)) is not None:
                last = last or result
        except psycopg.Error as error:
            raise self._lost(error) from error
        assert last is not None
        self._check(last)
        return last.command_tuples or 0

    def _check(self, result: pq.abc.PGresult) -> None:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            error = psycopg.errors.error_from_result(result)
            if self._connection.pgconn.status != pq.ConnStatus.OK:
                raise self._lost(error)
            raise translate(self._target, error, doing="applying changes")

    def _lost(self, error: psycopg.Error) -> PgcopydbError:
        lost = translate(self._target, error, doing="applying changes")
        lost.retryable = True
        return lost

    def cancel(self) -> None:
        """Cancel the statement under way; what it was part of fails."""
        self._connection.cancel_safe(timeout=2)


def set_up_session(
    connection: psycopg.Connection[Any], target: Endpoint, header: RunHeader
) -> bool:
    """Make triggers and foreign keys stay silent, and commits not wait where that is safe.

    With an origin a commit that is lost with the server is lost together with its position, so
    it need not wait for the disk (correctness M2); a progress row is confirmed when it commits,
    whatever the database's own setting is.
    Returns whether triggers and foreign keys are silent.
    """
    with reporting(target, "setting up the apply session"):
        connection.execute(_SYNCHRONOUS_COMMIT[header.progress == "origin"])
        try:
            connection.execute("set session_replication_role to replica")
        except psycopg.errors.InsufficientPrivilege:
            if not header.constraints_deferred:
                log.warning(
                    "target: the role may not set session_replication_role: triggers and foreign"
                    " keys fire while changes are applied, which therefore goes row by row"
                )
            return False
    return True


def open_progress(
    connection: psycopg.Connection[Any], target: Endpoint, header: RunHeader
) -> Progress:
    """Return how this run's progress is kept on the target (ruling 22)."""
    if header.progress == "table":
        return TableProgress(connection, target, header.run_id)
    if header.progress != "origin" or header.origin is None:
        raise StateError(
            "the target has not been set up for this migration",
            hint="run stream setup, or follow",
        )
    return OriginProgress(connection, target, header.origin)
