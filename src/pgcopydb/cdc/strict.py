"""The strict path: every change is one statement, in the source's order, and must touch one row.

Slower than sets, and the last word: what fails here is a conflict, told with the table, the key,
the transaction and its position.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from pgcopydb.cdc.session import ApplySession
from pgcopydb.errors import ConflictError, PgcopydbError
from pgcopydb.lsn import format_lsn
from pgcopydb.model.changes import Change, Delete, Insert, Relation, Row, Truncate, Update
from pgcopydb.model.targets import Route
from pgcopydb.postgres.pipeline import StatementFailure
from pgcopydb.rules.routing import tables_to_truncate
from pgcopydb.sql.statements import Statement, TableStatements, truncate_statement

_MOST_QUEUED: Final = 2000
"""Statements in flight before their results are read, which bounds memory on both sides."""

_NO_ROW: Row = ()

INTEGRITY: Final = "23"
"""The class of errors that say a row does not fit the others: anything else is no conflict."""


class _Subject(Struct, frozen=True):
    """Which change a statement in the pipeline is for, should it fail."""

    statements: TableStatements
    kind: str
    row: Row
    transaction: str


class StrictWriter:
    """Writes changes one by one through the session's pipeline."""

    def __init__(self, session: ApplySession) -> None:
        self._session = session
        self._known: dict[int, TableStatements] = {}
        self._transaction = ""

    def write(self, xid: int, changes: Sequence[Change], *, end_lsn: int = 0) -> None:
        """Write ``changes`` of the source's transaction ``xid`` into the transaction under way.

        ``end_lsn`` is the end of its commit where that is known, for the text of an error.
        """
        self.name_transaction(xid, end_lsn)
        pipeline = self._session.pipeline
        index = 0
        while index < len(changes):
            change = changes[index]
            index += 1
            match change:
                case Insert() | Update() | Delete():
                    self.queue(change)
                case Truncate():
                    index = self._truncate(changes, index - 1)
                case _:
                    # a marker of ours: a transaction id lets the position move without a row
                    pipeline.add("SELECT pg_catalog.txid_current()")
            if pipeline.queued >= _MOST_QUEUED:
                self.sync()

    def name_transaction(self, xid: int, end_lsn: int) -> None:
        """Say which transaction the changes queued from now on are of, for the text of an error."""
        self._transaction = (
            f"{xid}, committed at {format_lsn(end_lsn)}" if end_lsn else str(xid or "")
        )

    def queue(self, change: Change) -> None:
        """Queue a single change of a row."""
        match change:
            case Insert():
                self.insert(change)
            case Update():
                self.update(change)
            case Delete():
                self.delete(change)

    def sync(self) -> None:
        """Run what is queued; raise ConflictError for a change that did not do what it must."""
        try:
            self._session.pipeline.sync()
        except StatementFailure as failure:
            raise explain(failure) from failure

    def commit(self, end_lsn: int, commit_time: int) -> None:
        """Commit; raise as :meth:`sync` does."""
        try:
            self._session.commit(end_lsn, commit_time)
        except StatementFailure as failure:
            raise explain(failure) from failure

    def insert(self, change: Insert) -> None:
        """Queue a new row."""
        statements = self.statements(change.relation)
        self._add(statements, statements.insert(), "INSERT", change.new, _NO_ROW)

    def update(self, change: Update) -> None:
        """Queue a changed row; one that changes nothing that is stored is left out."""
        statements = self.statements(change.relation)
        statement = statements.update(change.old, change.new)
        if statement is not None:
            self._add(statements, statement, "UPDATE", change.new, change.old or _NO_ROW)

    def delete(self, change: Delete) -> None:
        """Queue a row that went."""
        statements = self.statements(change.relation)
        self._add(statements, statements.delete(change.old), "DELETE", _NO_ROW, change.old)

    def statements(self, relation: Relation) -> TableStatements:
        """Return the statements for a relation."""
        known = self._known.get(id(relation))
        if known is None or known.relation is not relation:
            known = self._known[id(relation)] = TableStatements(self._session.route(relation))
        return known

    def _add(
        self, statements: TableStatements, statement: Statement, kind: str, new: Row, old: Row
    ) -> None:
        self._session.pipeline.add(
            statement.text,
            statement.parameters(new, old),
            rows=statement.rows,
            subject=_Subject(statements, kind, old or new, self._transaction),
        )

    def _truncate(self, changes: Sequence[Change], index: int) -> int:
        """Queue the TRUNCATE at ``index`` and return where to go on.

        wal2json tells one statement over several tables as several changes in a row: together
        they are right whatever foreign keys there are, apart they may not be.
        """
        routes: list[Route] = []
        cascade = restart = False
        while index < len(changes):
            change = changes[index]
            if not isinstance(change, Truncate):
                break
            cascade, restart = cascade or change.cascade, restart or change.restart_identity
            routes += [self._session.route(relation) for relation in change.relations]
            index += 1
        tables = tables_to_truncate(routes)
        self._session.pipeline.add(
            truncate_statement(tables, restart_identity=restart, cascade=cascade),
            subject=f"TRUNCATE {tables[0].schema}.{tables[0].name}",
        )
        return index


def explain(failure: StatementFailure) -> PgcopydbError:
    """Return the error for a statement that failed: which change of which transaction it was."""
    subject = failure.subject
    if not isinstance(subject, _Subject):
        return failure.cause or failure
    table = subject.statements.table
    what = (
        f"{subject.kind} on {table.schema}.{table.name}"
        f" ({subject.statements.describe_key(subject.row)})"
        + (f" of source transaction {subject.transaction}" if subject.transaction else "")
    )
    if failure.cause is None:
        return ConflictError(
            f"target: {what} affected {failure.rows} rows instead of 1",
            hint="the row was changed on the target; put it right there and go on with --resume",
        )
    hint = failure.cause.hint
    if hint is None and failure.sqlstate.startswith(INTEGRITY):
        hint = (
            "the target's rows or constraints are not what the source's were by then: make them so,"
            " then go on with --resume"
        )
    error = ConflictError(f"{failure.cause.message}: {what}", hint=hint)
    error.retryable = failure.cause.retryable
    return error
