"""A batch: changes of whole transactions (or of part of a large one), planned table by table.

Tables are independent of each other as long as nothing on the target looks across them while it is
written: foreign keys and triggers are silent. Within a table order is kept where it matters (see
``net``). A TRUNCATE is a barrier: everything before it is made before it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from msgspec import Struct

from pgcopydb.batching.net import NetEffect, OrderedChanges, Segment, TableBatch
from pgcopydb.model.changes import (
    Change,
    Completed,
    Delete,
    Insert,
    Relation,
    Row,
    Truncate,
    Update,
)
from pgcopydb.model.targets import Route


class Truncation(Struct, frozen=True):
    """One TRUNCATE over the tables of ``routes``."""

    routes: tuple[Route, ...]
    cascade: bool
    restart_identity: bool


class Marker(Struct, frozen=True):
    """Nothing to write, but the position is to move."""


Step: TypeAlias = Segment | Truncation | Marker


@dataclass(slots=True)
class Batch:
    """Steps to make in their order, and how much work of the source they are.

    ``end_lsn`` is the end of the last transaction that is complete with them, 0 for none.
    """

    steps: list[Step] = field(default_factory=list)
    changes: int = 0
    transactions: int = 0
    end_lsn: int = 0
    commit_time: int = 0


class TableRows(Struct, frozen=True):
    """What takes the rows of one relation."""

    insert: Callable[[Row], None]
    update: Callable[[Row], None]
    update_partly: Callable[[Row], None]


class Planner:
    """Collects changes; :meth:`take` gives the batch of those collected so far."""

    def __init__(self, route: Callable[[Relation], Route]) -> None:
        self._find = route
        self._routes: dict[int, Route] = {}
        self._tables: dict[tuple[str, str], TableBatch] = {}
        self._batch = Batch()

    @property
    def changes(self) -> int:
        """The number of changes collected since the last batch was taken."""
        return self._batch.changes

    @property
    def end_lsn(self) -> int:
        """The end of the last complete transaction collected, 0 for none."""
        return self._batch.end_lsn

    def add(self, changes: list[Change]) -> None:
        """Collect changes, in the order of the stream."""
        self._batch.changes += len(changes)
        for change in changes:
            kind = type(change)
            if kind is Insert:
                table, route = self._table(change.relation)  # type: ignore[union-attr]
                table.insert(route, change.new)  # type: ignore[union-attr]
            elif kind is Update:
                table, route = self._table(change.relation)  # type: ignore[union-attr]
                table.change(route, change)  # type: ignore[arg-type]
            elif kind is Delete:
                table, route = self._table(change.relation)  # type: ignore[union-attr]
                table.delete(route, change.old)  # type: ignore[union-attr, arg-type]
            elif kind is Truncate:
                self._truncate(change)  # type: ignore[arg-type]
            else:
                self._batch.steps.append(Marker())

    def rows(self, relation: Relation) -> TableRows:
        """Return what takes rows of ``relation``, until anything else than a row comes.

        They are counted by :meth:`complete`.
        """
        table, route = self._table(relation)
        return TableRows(
            table.what_inserts(route),
            partial(table.update, route),
            partial(table.update_partly, route),
        )

    def complete(self, completed: Completed) -> None:
        """Note that the transactions whose changes were added last are complete, if any are."""
        self._batch.changes += completed.rows
        if not completed.transactions:
            return
        self._batch.transactions += completed.transactions
        self._batch.end_lsn = completed.end_lsn
        self._batch.commit_time = completed.commit_time

    def take(self) -> Batch:
        """Return what was collected, and begin anew."""
        self._close_tables()
        batch, self._batch = self._batch, Batch()
        return batch

    def _table(self, relation: Relation) -> tuple[TableBatch, Route]:
        route = self._routes.get(id(relation))
        if route is None or route.relation is not relation:
            route = self._routes[id(relation)] = self._find(relation)
        name = (route.table.schema, route.table.name)
        table = self._tables.get(name)
        if table is None:
            table = self._tables[name] = TableBatch(route)
        return table, route

    def _truncate(self, change: Truncate) -> None:
        self._close_tables()
        routes = tuple(self._find(relation) for relation in change.relations)
        steps = self._batch.steps
        cascade, restart = change.cascade, change.restart_identity
        if steps and isinstance(steps[-1], Truncation):
            # wal2json tells one statement over several tables as several changes in a row;
            # apart, a foreign key between them would forbid it
            before = steps.pop()
            assert isinstance(before, Truncation)
            routes = before.routes + routes
            cascade, restart = cascade or before.cascade, restart or before.restart_identity
        steps.append(Truncation(routes, cascade, restart))

    def _close_tables(self) -> None:
        """Append the steps of every table, rank by rank, so that like steps stand together."""
        pending = [table.close() for table in self._tables.values()]
        for rank in range(max(map(len, pending), default=0)):
            for segments in pending:
                if rank < len(segments) and not _is_empty(segments[rank]):
                    self._batch.steps.append(segments[rank])
        self._tables.clear()


def _is_empty(segment: Segment) -> bool:
    match segment:
        case NetEffect():
            return segment.is_empty()
        case OrderedChanges(changes):
            return not changes
