"""Going on over conflicts, where ``--on-conflict skip`` or ``overwrite`` asks for it (ruling 23).

A transaction is written in groups of changes, each behind a savepoint. A group that fails is
halved until the change that is in conflict stands alone: that one is left out, or made to overwrite
what it met. Either way it is listed in the work directory before the target commits, and the
command that applied it does not end in status 0.
"""

import logging
from collections.abc import Sequence
from itertools import groupby
from typing import Final

import msgspec

from pgcopydb.cdc.capture import read_facts, refuse_other_source
from pgcopydb.cdc.session import ApplySession
from pgcopydb.cdc.strict import INTEGRITY, StrictWriter, explain
from pgcopydb.cdc.target_setup import refuse_other_target
from pgcopydb.cdc.whole_tables import differing_tables
from pgcopydb.errors import ConflictError
from pgcopydb.model.changes import UNCHANGED, Change, Delete, Insert, Relation, Row, Update
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import OnConflict
from pgcopydb.model.results import Conflict
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.pipeline import StatementFailure
from pgcopydb.workdir.conflicts import (
    ConflictLog,
    conflicting_tables,
    count_conflicts,
    forget_conflicts,
)
from pgcopydb.workdir.directory import WorkDirectory

log = logging.getLogger(__name__)

_GROUP: Final = 1000
"""Changes behind one savepoint."""

_SAVEPOINT: Final = "pgcopydb_change"

_UNIQUE: Final = "23505"

SKIPPED: Final = "skipped"
OVERWRITTEN: Final = "overwritten"

RowChange = Insert | Update | Delete


class ConflictResolver:
    """Writes transactions into the session, change by change, and gets over conflicts."""

    def __init__(
        self,
        session: ApplySession,
        strict: StrictWriter,
        conflicts: ConflictLog,
        policy: OnConflict,
    ) -> None:
        self._session = session
        self._strict = strict
        self._conflicts = conflicts
        self._overwrites = policy is OnConflict.OVERWRITE
        self._keyed: dict[int, tuple[Relation, Relation | None]] = {}
        self._xid = 0
        self._behind_savepoint = False

    def write(self, xid: int, changes: Sequence[Change], *, end_lsn: int = 0) -> None:
        """Write ``changes`` of the source's transaction ``xid`` into the transaction under way.

        Raises ConflictError for a failure that is not one row's, such as a missing privilege.
        """
        self._xid = xid
        self._strict.name_transaction(xid, end_lsn)
        for is_row, run in groupby(changes, lambda change: isinstance(change, RowChange)):
            alike = list(run)
            if not is_row:
                self._strict.write(xid, alike, end_lsn=end_lsn)
                continue
            for start in range(0, len(alike), _GROUP):
                self._write_group(alike[start : start + _GROUP])

    def complete(self, end_lsn: int) -> None:
        """Make the list of the transaction's conflicts durable; to be called before its commit."""
        self._conflicts.complete(end_lsn)
        self._behind_savepoint = False

    def forget(self) -> None:
        """Forget the transaction under way, which is rolled back."""
        self._conflicts.forget_transaction()
        self._behind_savepoint = False

    def _write_group(self, changes: Sequence[Change]) -> None:
        failure = self._attempt(changes)
        if failure is None:
            return
        if len(changes) == 1:
            self._settle(changes[0], failure)
            return
        middle = len(changes) // 2
        self._write_group(changes[:middle])
        self._write_group(changes[middle:])

    def _attempt(self, changes: Sequence[Change]) -> StatementFailure | None:
        """Write ``changes``, or none of them; return the conflict that one of them met."""
        pipeline = self._session.pipeline
        if self._behind_savepoint:
            pipeline.add(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        pipeline.add(f"SAVEPOINT {_SAVEPOINT}")
        self._behind_savepoint = True
        for change in changes:
            self._strict.queue(change)
        try:
            pipeline.sync()
        except StatementFailure as failure:
            if not _is_conflict(failure):
                raise explain(failure) from failure
            pipeline.add(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
            self._strict.sync()
            return failure
        return None

    def _settle(self, change: Change, failure: StatementFailure) -> None:
        """Overwrite what ``change`` met, or leave it out, and note that down."""
        assert isinstance(change, RowChange)
        done = self._overwrites and self._overwrite(change, failure)
        statements = self._strict.statements(change.relation)
        identity = change.new if isinstance(change, Insert) else change.old
        if identity is None:
            assert isinstance(change, Update)
            identity = change.new
        self._conflicts.add(
            Conflict(
                lsn=0,
                xid=self._xid,
                schema=statements.table.schema,
                table=statements.table.name,
                kind=type(change).__name__.upper(),
                key=statements.describe_key(identity),
                reason=_reason(failure),
                action=OVERWRITTEN if done else SKIPPED,
            )
        )

    def _overwrite(self, change: RowChange, failure: StatementFailure) -> bool:
        """Give the row of the target the values that the change carries; tell whether that worked.

        An UPDATE that meets another row's unique value and a DELETE are left out: what would have
        to go for them is not theirs.
        """
        if isinstance(change, Insert):
            return failure.sqlstate == _UNIQUE and self._replace(change.relation, change.new)
        if isinstance(change, Update) and failure.cause is None and failure.rows == 0:
            new = _whole(change)
            return self._is_complete(change.relation, new) and self._put(change.relation, new)
        return False

    def _is_complete(self, relation: Relation, row: Row) -> bool:
        """Tell whether ``row`` has a value for every column that the target stores.

        wal2json leaves unchanged large values out of the relation, the others mark them.
        """
        table = self._strict.statements(relation).table
        stored = {name for name, column in table.columns.items() if not column.generated}
        return UNCHANGED not in row and stored <= set(relation.columns)

    def _put(self, relation: Relation, new: Row) -> bool:
        """Insert a row that was to be there, or replace the one that has its key."""
        failure = self._attempt([Insert(relation, new)])
        return failure is None or (failure.sqlstate == _UNIQUE and self._replace(relation, new))

    def _replace(self, relation: Relation, new: Row) -> bool:
        """Give the row that has the key of ``new`` its other values; False where there is none."""
        keyed = self._by_key(relation)
        if keyed is None or self._strict.statements(keyed).update(None, new) is None:
            return False
        return self._attempt([Update(keyed, None, new)]) is None

    def _by_key(self, relation: Relation) -> Relation | None:
        """Return the relation with a key that finds the row to overwrite, None without any.

        Where the whole row is the identity that is the target's primary key: what is to be
        overwritten differs from the old row somewhere.
        """
        known = self._keyed.get(id(relation))
        if known is None or known[0] is not relation:
            known = self._keyed[id(relation)] = (relation, self._make_keyed(relation))
        return known[1]

    def _make_keyed(self, relation: Relation) -> Relation | None:
        route = self._strict.statements(relation).route
        if not route.full:
            return relation if route.key else None
        if not route.table.key or not set(route.table.key) <= set(relation.columns):
            return None
        key = tuple(relation.columns.index(name) for name in route.table.key)
        return msgspec.structs.replace(relation, key=key, full=False)


def refuse_conflicts(work: WorkDirectory) -> None:
    """Raise ConflictError when changes were skipped or overwrote rows, so that nobody misses it."""
    with work.store() as store:
        counts = count_conflicts(store)
    total = sum(counts.values())
    if not total:
        return
    told = " and ".join(f"{count} {action}" for action, count in sorted(counts.items()))
    raise ConflictError(
        f"target: {total} change{'' if total == 1 else 's'} met a row that was not what the source"
        f" says it was: {told}",
        hint=f"list them with 'pgcopydb stream conflicts --dir {work.path}', put those rows right,"
        " say so with --resolved, then go on with --resume",
    )


def settle_conflicts(work: WorkDirectory, source: Endpoint, target: Endpoint) -> int:
    """Remove the list of conflicts, once its tables are the same on both sides; return its length.

    Raises ConflictError naming the tables that differ: as long as the source's writers have not
    stopped, or changes are not applied, tables differ for that reason.
    """
    refuse_other_source(work, source)
    header = work.header()
    with connect(target, purpose="check") as connection:
        if header is not None:
            refuse_other_target(header, read_facts(connection, target))
    with work.store() as store:
        tables = conflicting_tables(store)
        total = sum(count_conflicts(store).values())
    different = differing_tables(work, source, target, tables)
    if different:
        raise ConflictError(
            f"target: rows are not right yet, tables differ: {different}",
            hint="put them right with the source's writers stopped and everything applied;"
            " 'pgcopydb compare data' names the rows",
        )
    with work.store() as store:
        forget_conflicts(store)
    return total


def _is_conflict(failure: StatementFailure) -> bool:
    """Tell whether a single change met a row that it does not fit."""
    if failure.subject is None:
        return False
    return failure.cause is None or failure.sqlstate.startswith(INTEGRITY)


def _reason(failure: StatementFailure) -> str:
    if failure.cause is None:
        return f"{failure.rows} rows affected instead of 1"
    return failure.cause.message


def _whole(change: Update) -> Row:
    """Return the new row, with what did not change taken from the old one where that is whole."""
    if change.old is None or not change.relation.full:
        return change.new
    return tuple(
        before if now is UNCHANGED else now
        for before, now in zip(change.old, change.new, strict=True)
    )
