"""The fast path: a batch is written as sets, table by table, and every count is checked.

Anything that does not come out as planned raises, and the caller does the batch again strictly.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, Final

from pgcopydb.batching.net import NetEffect, OrderedChanges
from pgcopydb.batching.plan import Batch, Marker, Truncation
from pgcopydb.cdc.session import ApplySession
from pgcopydb.cdc.strict import StrictWriter
from pgcopydb.errors import ConflictError
from pgcopydb.model.changes import UNCHANGED, Delete, Insert, Row, Update
from pgcopydb.model.targets import Route
from pgcopydb.rules.routing import tables_to_truncate
from pgcopydb.sql import staging
from pgcopydb.sql.copytext import encode_rows
from pgcopydb.sql.statements import truncate_statement

_SET_FROM: Final = 50
"""Rows from which on a COPY and one statement cost less than single prepared statements."""

_ROWS_PER_COPY: Final = 20_000


class SetWriter:
    """Writes batches into the session's transaction."""

    def __init__(self, session: ApplySession, strict: StrictWriter) -> None:
        self._session = session
        self._strict = strict
        self._staging: dict[tuple[object, ...], str] = {}
        self._filled: set[str] = set()

    def write(self, batch: Batch) -> None:
        """Write the steps of ``batch`` into a transaction that is begun if need be."""
        if batch.steps:
            self._session.begin()
        for step in batch.steps:
            match step:
                case NetEffect():
                    self._net(step)
                case OrderedChanges(changes):
                    self._strict.write(0, changes)
                case Truncation(routes, cascade, restart_identity):
                    statement = truncate_statement(
                        tables_to_truncate(routes),
                        restart_identity=restart_identity,
                        cascade=cascade,
                    )
                    self._session.pipeline.add(statement)
                case Marker():
                    self._session.pipeline.add("SELECT pg_catalog.txid_current()")
        if batch.end_lsn:
            self._strict.commit(batch.end_lsn, batch.commit_time)
            self._filled.clear()

    def forget(self) -> None:
        """Forget the staging tables, which a rollback may have taken with it."""
        self._staging.clear()
        self._filled.clear()

    def _net(self, net: NetEffect) -> None:
        """Look for what must not be there, then delete, update and insert, in this order."""
        route = net.route
        if net.gone:
            self._probe(route, list(net.gone.values()))
        if net.deleted:
            self._delete(route, list(net.deleted.values()))
        if net.replaced:
            self._update(route, list(net.replaced.values()), has_unchanged=False)
        if net.updated:
            self._update(route, list(net.updated.values()), has_unchanged=net.has_unchanged)
        if net.inserted:
            self._insert(route, list(net.inserted.values()))
        if net.appended:
            self._insert(route, net.appended)

    def _insert(self, route: Route, rows: Sequence[Row]) -> None:
        if len(rows) < _SET_FROM or not route.stored:
            for row in rows:
                self._strict.insert(Insert(route.relation, row))
            return
        self._outside_pipeline(lambda: self._copy_rows(route, rows))

    def _copy_rows(self, route: Route, rows: Sequence[Row]) -> None:
        statement = staging.copy_statement(route, route.stored)
        for fields in _slices(_fields(route, rows, route.stored)):
            _expect(self._session.copy(statement, encode_rows(fields)), len(fields), route)

    def _update(self, route: Route, rows: Sequence[Row], *, has_unchanged: bool) -> None:
        """Set rows, of which, if ``has_unchanged``, some may leave values as they are."""
        for unchanged, alike in (_by_unchanged(rows) if has_unchanged else {(): rows}).items():
            changed = [n for n in route.settable if n not in unchanged and n not in route.key]
            if not changed:
                continue
            if len(alike) < _SET_FROM:
                for row in alike:
                    self._strict.update(Update(route.relation, None, row))
                continue
            positions = (*route.key, *(n for n in route.always if n not in route.key), *changed)
            self._outside_pipeline(partial(self._update_set, route, positions, alike))

    def _update_set(self, route: Route, positions: tuple[int, ...], rows: Sequence[Row]) -> None:
        name = self._stage(route, positions, rows)
        count = self._session.execute(staging.update_from_staging(route, positions, name))
        _expect(count, len(rows), route)

    def _delete(self, route: Route, rows: Sequence[Row]) -> None:
        if len(rows) < _SET_FROM:
            for row in rows:
                self._strict.delete(Delete(route.relation, row))
            return

        def delete() -> None:
            name = self._stage(route, route.key, rows)
            count = self._session.execute(staging.delete_by_staging(route, name))
            _expect(count, len(rows), route)

        self._outside_pipeline(delete)

    def _probe(self, route: Route, rows: Sequence[Row]) -> None:
        """Make sure that rows which came and went within the batch are not on the target."""

        def probe() -> None:
            name = self._stage(route, route.key, rows)
            if self._session.execute(staging.probe_by_staging(route, name)):
                raise ConflictError(
                    f"target: {route.table.schema}.{route.table.name} already has a row that the"
                    " source inserts"
                )

        self._outside_pipeline(probe)

    def _stage(self, route: Route, positions: Sequence[int], rows: Sequence[Row]) -> str:
        """Fill the staging table for these columns, and return its name."""
        table = route.table
        shape = (table.schema, table.name, *(route.relation.columns[n] for n in positions))
        name = self._staging.get(shape)
        if name is None:
            name = self._staging[shape] = f"pgcopydb_staging_{len(self._staging)}"
            self._session.execute(staging.create_staging(route, positions, name))
        elif name in self._filled:
            self._session.execute(staging.empty_staging(name))
        self._filled.add(name)
        for fields in _slices(_fields(route, rows, positions)):
            self._session.copy(staging.copy_to_staging(name), encode_rows(fields))
        return name

    def _outside_pipeline(self, work: Callable[[], None]) -> None:
        """Do what cannot be pipelined, after everything that is queued."""
        pipeline = self._session.pipeline
        if pipeline.queued:
            self._strict.sync()
        pipeline.leave()
        work()
        pipeline.enter()


def _fields(route: Route, rows: Sequence[Row], positions: Sequence[int]) -> Sequence[Any]:
    """Return the values at ``positions`` of each row, as they are when that is all of them."""
    if len(positions) == len(route.relation.columns) and list(positions) == sorted(positions):
        return rows
    if len(positions) == 1:
        only = positions[0]
        return [(row[only],) for row in rows]
    return list(map(itemgetter(*positions), rows))


def _slices(rows: Sequence[Any]) -> Iterable[Sequence[Any]]:
    if len(rows) <= _ROWS_PER_COPY:
        return (rows,)
    return (rows[n : n + _ROWS_PER_COPY] for n in range(0, len(rows), _ROWS_PER_COPY))


def _by_unchanged(rows: Sequence[Row]) -> dict[tuple[int, ...], list[Row]]:
    """Divide updates by the columns that the source did not send."""
    divided: dict[tuple[int, ...], list[Row]] = defaultdict(list)
    for row in rows:
        unchanged = (
            tuple(n for n, value in enumerate(row) if value is UNCHANGED)
            if UNCHANGED in row
            else ()
        )
        divided[unchanged].append(row)
    return divided


def _expect(count: int, wanted: int, route: Route) -> None:
    if count != wanted:
        table = route.table
        raise ConflictError(
            f"target: {count} rows of {table.schema}.{table.name} were affected instead of {wanted}"
        )
