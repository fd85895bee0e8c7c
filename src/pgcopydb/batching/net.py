"""The net effect of many changes to one table, by the key that names a row.

Insert and update are an insert of the last values, insert and delete are nothing, two updates are
one. What does not fit this (a key that changes, a row that comes back in a way that no single
statement makes) is kept in its order instead, as *ordered* changes between two net effects.

The dictionaries below are disjoint: a key is in one of them at most.

Most tables only get new rows in a batch. These are kept in a list until something comes that could
be about one of them; only then their keys are looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import Any, TypeAlias

from pgcopydb.model.changes import UNCHANGED, Change, Delete, Insert, Row, Update
from pgcopydb.model.targets import Route

Key: TypeAlias = Any
"""The key's value, or a tuple of them; only ever compared."""


@dataclass(slots=True)
class NetEffect:
    """What some changes to one table come to.

    ``replaced`` rows were deleted and inserted again under the same key: they are updated in every
    column. ``gone`` rows were inserted and deleted within the batch: they must not be there.
    """

    route: Route
    inserted: dict[Key, Row] = field(default_factory=dict)
    updated: dict[Key, Row] = field(default_factory=dict)
    replaced: dict[Key, Row] = field(default_factory=dict)
    deleted: dict[Key, Row] = field(default_factory=dict)
    gone: dict[Key, Row] = field(default_factory=dict)
    appended: list[Row] = field(default_factory=list)
    """New rows that nothing after them was about, or of a table without a key."""
    has_unchanged: bool = False
    """Whether updated rows may leave values UNCHANGED."""

    def is_empty(self) -> bool:
        """Tell whether nothing is to be done."""
        return not (
            self.inserted
            or self.updated
            or self.replaced
            or self.deleted
            or self.gone
            or self.appended
        )


@dataclass(slots=True)
class OrderedChanges:
    """Changes of one table to be made one by one, as they came."""

    changes: list[Change]


Segment: TypeAlias = NetEffect | OrderedChanges


class TableBatch:
    """Collects the changes of one table; :meth:`close` gives what is to be made of them."""

    def __init__(self, route: Route) -> None:
        self._segments: list[Segment] = []
        self._newest: list[Row] = []  # under the first route, after all that is in the segments
        self._newest_route = route
        self._use(route)

    def close(self) -> list[Segment]:
        """Return what is to be made, in its order."""
        if self._newest:
            if self._route is not self._newest_route:
                self._use(self._newest_route)
            self._net.appended += self._newest
            self._newest = []
        return self._segments

    def what_inserts(self, route: Route) -> Callable[[Row], None]:
        """Return what takes new rows under ``route``, as :meth:`insert` does, and faster."""
        if route is self._newest_route and not route.table.ordered:
            return self._newest.append
        return partial(self.insert, route)

    def _use(self, route: Route) -> None:
        self._route = route
        self._net = NetEffect(route)
        self._segments.append(self._net)
        table = route.table
        keyed = bool(route.key) and not route.full
        self._by_key = keyed and not table.ordered
        self._appends = not keyed and not table.ordered
        self._key = itemgetter(*route.key) if keyed else None
        self._replaces = set(route.stored) <= set(route.settable) | set(route.key)

    def _turn_to(self, route: Route) -> None:
        """Put the newest rows where what comes now under ``route`` can find them by their keys."""
        rows = self._newest[:]
        self._newest.clear()  # what inserts goes on with this very list
        for row in rows:
            self.insert(self._newest_route, row)
        if route is not self._route:
            self._use(route)

    def insert(self, route: Route, new: Row) -> None:
        """Take a new row."""
        if self._newest or route is not self._route:
            self._turn_to(route)
        net = self._net
        if not self._by_key:
            if self._appends:
                net.appended.append(new)
            else:
                self._keep_order(Insert(route.relation, new))
            return
        key = self._key(new)  # type: ignore[misc]
        if key in net.deleted:
            if not self._replaces:
                self._keep_order(Insert(route.relation, new))
                return
            del net.deleted[key]
            net.replaced[key] = new
        elif key in net.updated or key in net.inserted or key in net.replaced:
            self._keep_order(Insert(route.relation, new))
        else:
            net.gone.pop(key, None)
            net.inserted[key] = new

    def update(self, route: Route, new: Row) -> None:
        """Take the new values of a row whose identity did not change; it has all of them."""
        if self._newest or route is not self._route:
            self._turn_to(route)
        if not self._by_key:
            self._keep_order(Update(route.relation, None, new))
            return
        net = self._net
        key = self._key(new)  # type: ignore[misc]
        if key in net.updated:
            net.updated[key] = new
        elif key in net.inserted:
            net.inserted[key] = new
        elif key in net.replaced:
            net.replaced[key] = new
        elif key in net.deleted or key in net.gone:
            self._keep_order(Update(route.relation, None, new))
        else:
            net.updated[key] = new

    def change(self, route: Route, change: Update) -> None:
        """Take any changed row: its identity may have changed, and values may be left out."""
        if self._newest or route is not self._route:
            self._turn_to(route)
        old, new = change.old, change.new
        if not self._by_key or (old is not None and self._key(old) != self._key(new)):  # type: ignore[misc]
            self._keep_order(change)
        elif UNCHANGED in new:
            self.update_partly(route, new)
        else:
            self.update(route, new)

    def update_partly(self, route: Route, new: Row) -> None:
        """Take a row whose identity did not change, and of which some values are UNCHANGED."""
        if self._newest or route is not self._route:
            self._turn_to(route)
        if not self._by_key:
            self._keep_order(Update(route.relation, None, new))
            return
        net = self._net
        key = self._key(new)  # type: ignore[misc]
        for rows in (net.updated, net.inserted, net.replaced):
            before = rows.get(key)
            if before is not None:
                rows[key] = _merged(before, new)
                return
        if key in net.deleted or key in net.gone:
            self._keep_order(Update(route.relation, None, new))
        else:
            net.updated[key] = new
            net.has_unchanged = True

    def delete(self, route: Route, old: Row) -> None:
        """Take a row that went, by its identity."""
        if self._newest or route is not self._route:
            self._turn_to(route)
        if not self._by_key:
            self._keep_order(Delete(route.relation, old))
            return
        net = self._net
        key = self._key(old)  # type: ignore[misc]
        if net.inserted.pop(key, None) is not None:
            net.gone[key] = old
        elif key in net.deleted or key in net.gone:
            self._keep_order(Delete(route.relation, old))
        else:
            net.updated.pop(key, None)
            net.replaced.pop(key, None)
            net.deleted[key] = old

    def _keep_order(self, change: Change) -> None:
        """Make ``change`` after everything so far and before everything that comes."""
        if self._net.is_empty():
            self._segments.pop()
        last = self._segments[-1] if self._segments else None
        if isinstance(last, OrderedChanges):
            last.changes.append(change)
        else:
            self._segments.append(OrderedChanges([change]))
        self._net = NetEffect(self._route)
        self._segments.append(self._net)


def _merged(before: Row, new: Row) -> Row:
    """Return ``new`` with what it leaves unchanged taken from ``before``."""
    return tuple(
        old if value is UNCHANGED else value for old, value in zip(before, new, strict=True)
    )
