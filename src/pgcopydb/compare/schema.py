"""``compare schema``: is all that a clone makes defined the same on both sides?"""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from pgcopydb.compare import fence
from pgcopydb.compare.moments import read_facts, read_moment
from pgcopydb.compare.readers import Readers, open_readers, stopping
from pgcopydb.model.comparison import Found, ObjectDifference, SchemaComparison
from pgcopydb.model.definition import Definition
from pgcopydb.model.dependencies import PG_CLASS
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.options import CompareOptions, WorkOptions
from pgcopydb.postgres.definitions import KINDS, order, read_definitions, schema_names
from pgcopydb.rules.definitions import Definitions, is_left_out
from pgcopydb.rules.merge import merge_ordered
from pgcopydb.rules.privileges import SINCE_17
from pgcopydb.rules.selection import Selection
from pgcopydb.runtime import signals

_PUBLISHED: Final = frozenset({"tables", "schemas"})
_OF_CHECKED: Final = frozenset({"validated", "definition"})

_RELATIONS: Final = frozenset({"table", "view", "materialized view", "foreign table"})


def compare_schema(
    source: Endpoint, target: Endpoint, options: CompareOptions, work: WorkOptions
) -> SchemaComparison:
    """Compare the definitions of all selected objects, with owners, privileges and comments.

    Raises NotComparable while a migration between the two is under way, the side's error otherwise.
    """
    started = time.monotonic()
    with stopping(), open_readers(source, target, jobs=1) as readers:
        # At once: the log goes on while the snapshots stay.
        moments = {side: read_moment(readers.held(side), readers.endpoint(side)) for side in Side}
        facts = {side: read_facts(readers.held(side), readers.endpoint(side)) for side in Side}
        migration = fence.find_migration(work, facts[Side.SOURCE], facts[Side.TARGET])
        if migration is not None:
            fence.refuse_under_way(migration)
        comparing = _Comparing(
            readers,
            Definitions(
                options,
                schemas=frozenset().union(
                    *(schema_names(readers.held(side), readers.endpoint(side)) for side in Side)
                ),
                versions_differ=facts[Side.SOURCE].major != facts[Side.TARGET].major,
                unknown_privileges=(
                    SINCE_17 if min(one.major for one in facts.values()) < 17 else frozenset()
                ),
            ),
            selection=fence.selected(options, migration, source, readers.held(Side.SOURCE)),
            own_publications=fence.own_publications(migration),
        )
        differences = tuple(comparing.differences())
        return SchemaComparison(
            source=moments[Side.SOURCE],
            target=moments[Side.TARGET],
            objects=comparing.objects,
            seconds=time.monotonic() - started,
            differences=differences,
            notes=tuple(comparing.notes),
        )


@dataclass(slots=True)
class _Comparing:
    """The comparison of all kinds of objects, one after the other.

    ``absent`` are the schemas and tables that one side lacks: what belongs to them is not told.
    """

    readers: Readers
    definitions: Definitions
    selection: Selection
    own_publications: frozenset[str]
    objects: int = 0
    notes: list[str] = field(default_factory=list)
    absent: set[tuple[str | None, str | None]] = field(default_factory=set)

    def differences(self) -> Iterator[ObjectDifference]:
        left_out = is_left_out(self.definitions.options)
        for kind in KINDS:
            if not left_out(kind):
                signals.raise_if_stopped()
                yield from self._of_kind(kind)

    def _of_kind(self, kind: str) -> Iterator[ObjectDifference]:
        with ThreadPoolExecutor(2) as threads, ExitStack() as stack:
            ours, theirs = (
                self._selected(
                    stack.enter_context(
                        read_definitions(
                            threads, self.readers.held(side), self.readers.endpoint(side), kind
                        )
                    )
                )
                for side in (Side.SOURCE, Side.TARGET)
            )
            for here, there in merge_ordered(ours, theirs, order):
                yield from self._difference(here, there)

    def _selected(self, definitions: Iterable[Definition]) -> Iterator[Definition]:
        return (one for one in definitions if self._is_selected(one))

    def _is_selected(self, one: Definition) -> bool:
        filters = self.selection.filters
        if one.publication is not None:
            return one.publication not in self.own_publications
        if one.extension is not None:
            return filters.selects_extension(one.extension)
        if one.event_trigger is not None:
            return filters.selects_event_trigger(one.event_trigger)
        if one.schema is None or one.table is None:
            return one.schema is None or filters.selects_schema(one.schema)
        if one.index is not None and not filters.selects_index(one.schema, one.index):
            return False
        return filters.selects_table(one.schema, one.table)

    def _difference(
        self, here: Definition | None, there: Definition | None
    ) -> Iterator[ObjectDifference]:
        if here is not None and here.address in self.selection.left_out:
            return
        self.objects += here is not None
        if here is None or there is None:
            yield from self._missing(here, there)
            return
        self.notes += self.definitions.notes(here, there)
        values = tuple(
            value
            for value in self.definitions.differences(here, there)
            if not self._follows_from_filters(here, value.name)
        )
        if values:
            yield ObjectDifference(
                kind=here.kind, name=here.name, found=Found.DIFFERS, values=values
            )

    def _follows_from_filters(self, here: Definition, name: str) -> bool:
        """Tell whether a property must differ because something else is left out."""
        if name in _OF_CHECKED and self._lacks_rows(here):
            return True
        if name == "owned by":
            return here.address in self.selection.unowned
        if name == "populated":
            return not self.selection.filters.copies_data(here.schema or "", here.table or "")
        return here.publication is not None and name in _PUBLISHED and bool(self.selection.left_out)

    def _lacks_rows(self, here: Definition) -> bool:
        """Tell whether filters leave out rows that a foreign key refers to."""
        return here.referenced is not None and (
            (PG_CLASS, here.referenced) in self.selection.gapped
        )

    def _missing(
        self, here: Definition | None, there: Definition | None
    ) -> Iterator[ObjectDifference]:
        one = here or there
        assert one is not None
        if here is not None and self._lacks_rows(here):
            return
        if not self.absent.isdisjoint({(one.schema, None), (one.schema, one.table)}):
            return
        if one.kind == "schema" or one.kind in _RELATIONS:
            self.absent.add((one.schema, one.table))
        found = Found.ONLY_SOURCE if there is None else Found.ONLY_TARGET
        yield ObjectDifference(kind=one.kind, name=one.name, found=found)
