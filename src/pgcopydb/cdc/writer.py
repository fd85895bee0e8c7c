"""The session that writes changes to the target: one transaction at a time, every row counted.

After any failure the session is closed and a new one begun: what a replication origin was told in
a transaction that failed would otherwise be believed by the next one that commits (correctness
M1). The origin then says where to go on.
"""

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

import psycopg

from pgcopydb.cdc.targets import TargetTables, read_target_tables
from pgcopydb.errors import ConflictError, PgcopydbError, StateError
from pgcopydb.lsn import format_lsn
from pgcopydb.model.capture import Capture
from pgcopydb.model.changes import Change, Delete, Insert, Relation, Row, Truncate, Update
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.targets import TargetTable
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.pipeline import Pipeline, StatementFailure
from pgcopydb.postgres.progress import OriginProgress, Progress, TableProgress
from pgcopydb.sql.statements import Statement, TableStatements, truncate_statement
from pgcopydb.workdir.store import RunHeader

log = logging.getLogger(__name__)

_ROWS_BETWEEN_SYNCS = 2000
"""Statements in flight before their results are read, which bounds memory on both sides."""

_NO_ROW: Row = ()


@dataclass(frozen=True, slots=True)
class _Where:
    """Which change a statement in the pipeline is for, should it fail."""

    statements: TableStatements
    kind: str
    row: Row
    transaction: str


class TargetWriter:
    """Writes changes in the order given; a context manager that owns its connection."""

    def __init__(self, target: Endpoint, header: RunHeader, capture: Capture | None) -> None:
        self._target = target
        self._header = header
        self._capture = capture
        self._in_transaction = False
        self._known: dict[int, TableStatements | None] = {}
        self._transaction = ""
        self._skipped: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            purpose = f"apply {self._header.run_id[:8]}"
            self._connection = stack.enter_context(connect(self._target, purpose=purpose))
            self._tables = read_target_tables(self._connection, self._target)
            set_up_session(self._connection, self._target, self._header)
            self._progress = open_progress(self._connection, self._target, self._header)
            self.position = self._progress.attach()
            self._pipeline = Pipeline(self._connection, self._target)
            self._close = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._close.close()

    @property
    def tables(self) -> TargetTables:
        """The target's tables, as they were when this session began."""
        return self._tables

    def durable_position(self) -> int:
        """Return the position whose transactions are flushed to disk; between transactions only."""
        self._pipeline.leave()
        try:
            return self._progress.durable()
        finally:
            self._pipeline.enter()

    def write(self, xid: int, changes: list[Change], *, end_lsn: int = 0) -> None:
        """Write ``changes`` of the source's transaction ``xid``, beginning one here if need be.

        ``end_lsn`` is the end of its commit where that is known, for the text of an error.
        """
        if not changes:
            return
        self._begin()
        self._transaction = f"{xid}, committed at {format_lsn(end_lsn)}" if end_lsn else f"{xid}"
        index, count = 0, len(changes)
        while index < count:
            change = changes[index]
            index += 1
            kind = type(change)
            if kind is Insert:
                self._insert(change)  # type: ignore[arg-type]
            elif kind is Update:
                self._update(change)  # type: ignore[arg-type]
            elif kind is Delete:
                self._delete(change)  # type: ignore[arg-type]
            elif kind is Truncate:
                index = self._truncate(changes, index - 1)
            else:
                # a marker of ours: with a transaction id, the position moves although no row does
                self._pipeline.add("SELECT pg_catalog.txid_current()")
            if self._pipeline.queued >= _ROWS_BETWEEN_SYNCS:
                self._sync()

    def commit(self, end_lsn: int, commit_time: int) -> None:
        """Commit what was written, with ``end_lsn`` as the position that is now applied.

        Every affected-row count is checked before the commit is sent.
        """
        if not self._in_transaction:
            return
        self._sync()
        self._progress.mark(self._pipeline, end_lsn, commit_time)
        self._pipeline.add("COMMIT")
        self._sync()
        self._in_transaction = False
        self.position = end_lsn

    def rollback(self) -> None:
        """Undo what was written since the last commit; its position was never told to the origin,
        so the session can go on.
        """
        if not self._in_transaction:
            return
        self._pipeline.add("ROLLBACK")
        self._sync()
        self._in_transaction = False

    def _begin(self) -> None:
        if self._in_transaction:
            return
        self._pipeline.add("BEGIN")
        self._pipeline.add("SET CONSTRAINTS ALL DEFERRED")
        self._in_transaction = True

    def _insert(self, change: Insert) -> None:
        statements = self._statements(change.relation)
        if statements is not None:
            self._add(statements, statements.insert(), "INSERT", change.new, _NO_ROW)

    def _update(self, change: Update) -> None:
        statements = self._statements(change.relation)
        if statements is None:
            return
        statement = statements.update(change.old, change.new)
        if statement is not None:
            self._add(statements, statement, "UPDATE", change.new, change.old or _NO_ROW)

    def _delete(self, change: Delete) -> None:
        statements = self._statements(change.relation)
        if statements is not None:
            self._add(statements, statements.delete(change.old), "DELETE", _NO_ROW, change.old)

    def _add(
        self, statements: TableStatements, statement: Statement, kind: str, new: Row, old: Row
    ) -> None:
        self._pipeline.add(
            statement.text,
            statement.parameters(new, old),
            rows=statement.rows,
            subject=_Where(statements, kind, old or new, self._transaction),
        )

    def _truncate(self, changes: list[Change], index: int) -> int:
        """Write the TRUNCATE at ``index`` and return where to go on.

        wal2json tells one statement over several tables as several changes in a row: together
        they are right whatever foreign keys there are, apart they may not be.
        """
        tables: list[TargetTable] = []
        cascade = restart = False
        while index < len(changes):
            change = changes[index]
            if not isinstance(change, Truncate):
                break
            cascade, restart = cascade or change.cascade, restart or change.restart_identity
            for relation in change.relations:
                statements = self._statements(relation)
                if statements is not None and statements.table not in tables:
                    tables.append(statements.table)
            index += 1
        if tables:
            self._pipeline.add(
                truncate_statement(tables, restart_identity=restart, cascade=cascade),
                subject=f"TRUNCATE {tables[0].schema}.{tables[0].name}",
            )
        return index

    def _statements(self, relation: Relation) -> TableStatements | None:
        """Return the statements for a relation, None for one that is not followed."""
        known = self._known.get(id(relation), _UNKNOWN)
        if known is not _UNKNOWN and (known is None or known.relation is relation):
            return known
        statements = self._find(relation)
        self._known[id(relation)] = statements
        return statements

    def _find(self, relation: Relation) -> TableStatements | None:
        name = (relation.schema, relation.name)
        if self._capture is not None and name not in self._capture.names():
            raise StateError(
                f"source: table {relation.schema}.{relation.name} was made after the change"
                " capture began, and was not copied",
                hint="clone again, or leave it out with --filters",
            )
        table = self._tables.get(name)
        if table is None:
            raise StateError(
                f"target: table {relation.schema}.{relation.name} does not exist",
                hint="create it as on the source, then go on with --resume",
            )
        return TableStatements(relation, table, table.key)

    def _sync(self) -> None:
        try:
            self._pipeline.sync()
        except StatementFailure as failure:
            raise explain(failure) from failure


class _Unknown(TableStatements):
    def __init__(self) -> None:
        """Stand for a relation that has not been looked up yet."""


_UNKNOWN = _Unknown()


def explain(failure: StatementFailure) -> PgcopydbError:
    """Return the error for a statement that failed: which change of which transaction it was."""
    where = failure.subject
    if not isinstance(where, _Where):
        return failure.cause or failure
    table = where.statements.table
    what = (
        f"{where.kind} on {table.schema}.{table.name}"
        f" ({where.statements.describe_key(where.row)}) of source transaction {where.transaction}"
    )
    if failure.cause is None:
        return ConflictError(
            f"target: {what} affected {failure.rows} rows instead of 1",
            hint="the row was changed on the target; put it right there and go on with --resume",
        )
    error = ConflictError(f"{failure.cause.message}: {what}", hint=failure.cause.hint)
    error.retryable = failure.cause.retryable
    return error


def set_up_session(
    connection: psycopg.Connection[Any], target: Endpoint, header: RunHeader
) -> None:
    """Make triggers and foreign keys stay silent, and commits not wait where that is safe.

    With an origin a commit that is lost with the server is lost together with its position, so
    it need not wait for the disk (correctness M2); a progress row is confirmed when it commits.
    """
    with reporting(target, "setting up the apply session"):
        if header.progress == "origin":
            connection.execute("set synchronous_commit to off")
        try:
            connection.execute("set session_replication_role to replica")
        except psycopg.errors.InsufficientPrivilege:
            log.warning(
                "target: the role may not set session_replication_role: triggers and foreign keys"
                " fire while changes are applied"
            )


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
