"""Which changes of a stream concern the migration: those of tables whose rows are followed.

test_decoding and wal2json send the changes of every table, also those that refresh a materialised
view, and a publication may carry more than the filters take: what is not followed is dropped as
soon as it is decoded.
"""

from collections.abc import Iterable

from pgcopydb.model.capture import Capture
from pgcopydb.model.changes import Change, Delete, Insert, Relation, Truncate, Update


class FollowedChanges:
    """Says of each change of a capture whether it is to be written; pure.

    Where the stream is ``published``, there is nothing in it but tables.
    """

    def __init__(self, capture: Capture, *, published: bool = False) -> None:
        self._filters = capture.filters
        self._views = frozenset(() if published else capture.views)
        self._takes_all = self._filters.selects_all and not self._views
        self._partitioned = frozenset(capture.partitioned)
        self._known: dict[tuple[str, str], bool] = {}

    def of(self, changes: list[Change]) -> list[Change]:
        """Return the ``changes`` of followed tables; each TRUNCATE stays as it is."""
        if self._takes_all:
            return changes
        return [change for change in changes if self.takes(change)]

    def takes(self, change: Change) -> bool:
        """Tell whether a change is of a table that is followed, or of none."""
        return not isinstance(change, Insert | Update | Delete) or self.follows(change.relation)

    def follows(self, relation: Relation) -> bool:
        """Tell whether the rows of ``relation`` are followed."""
        return self._takes_all or self._is_followed(relation)

    def truncated(self, truncate: Truncate) -> Truncate | None:
        """Return a TRUNCATE of the followed tables alone, None when it names no such table.

        Partitioned tables store no rows: their partitions are named too.
        """
        relations = tuple(self._truncated(truncate.relations))
        if not relations:
            return None
        return Truncate(relations, truncate.cascade, truncate.restart_identity)

    def _truncated(self, relations: Iterable[Relation]) -> Iterable[Relation]:
        for relation in relations:
            if (relation.schema, relation.name) not in self._partitioned and self._is_followed(
                relation
            ):
                yield relation

    def _is_followed(self, relation: Relation) -> bool:
        name = (relation.schema, relation.name)
        known = self._known.get(name)
        if known is None:
            known = name not in self._views and self._filters.copies_data(*name)
            self._known[name] = known
        return known
