"""``compare data``: are all rows, sequences and large objects the same on both sides?"""

import time
from collections.abc import Iterable, Iterator

from pgcopydb.compare import fence
from pgcopydb.compare.moments import read_facts, read_moment
from pgcopydb.compare.objects import large_object_differences, read_sequences, sequence_differences
from pgcopydb.compare.pairs import pair_tables, readable_tables
from pgcopydb.compare.readers import Readers, open_readers, stopping
from pgcopydb.compare.tables import Comparing, Observe
from pgcopydb.model.comparison import DataComparison, ObjectDifference
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.filters import Filters
from pgcopydb.model.objects import Table, TableKind
from pgcopydb.model.options import CompareOptions, WorkOptions
from pgcopydb.postgres import discover
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.large_object_digests import LargeObjectDigest, paired_large_objects
from pgcopydb.runtime import signals


def compare_data(
    source: Endpoint,
    target: Endpoint,
    options: CompareOptions,
    work: WorkOptions,
    observe: Observe | None = None,
) -> DataComparison:
    """Compare what the selected tables, sequences and large objects of both sides hold.

    Raises NotComparable while a migration between the two is under way, ConfigurationError for
    what a role may not read, the side's error otherwise.
    """
    started = time.monotonic()
    with stopping(), open_readers(source, target, jobs=options.jobs) as readers:
        # At once: the log goes on while the snapshots stay.
        moments = {side: read_moment(readers.held(side), readers.endpoint(side)) for side in Side}
        facts = {side: read_facts(readers.held(side), readers.endpoint(side)) for side in Side}
        migration = fence.find_migration(work, facts[Side.SOURCE], facts[Side.TARGET])
        if migration is not None:
            fence.refuse_under_way(migration)
        filters = fence.selected(options, migration, source, readers.held(Side.SOURCE)).filters
        tables = {side: _tables(readers, side, filters) for side in Side}
        pairs, lacking = pair_tables(tables[Side.SOURCE], tables[Side.TARGET])
        comparing = Comparing(
            readers,
            pairs,
            versions={side: facts[side].version_num for side in Side},
            jobs=options.jobs,
            most=options.max_rows,
            observe=observe or (lambda _: None),
        )
        different = sorted(
            [*lacking, *comparing.differences()], key=lambda one: (one.schema, one.name)
        )
        sequences = {
            side: read_sequences(readers.held(side), readers.endpoint(side), filters)
            for side in Side
        }
        objects = _LargeObjects(readers)
        others = [
            *sequence_differences(sequences[Side.SOURCE], sequences[Side.TARGET]),
            *([] if options.skip_large_objects else objects.differences()),
        ]
        unapplied = fence.note_unapplied(migration) if migration is not None else None
        return DataComparison(
            source=moments[Side.SOURCE],
            target=moments[Side.TARGET],
            tables=len(pairs) + len(lacking),
            rows=comparing.rows,
            sequences=len(sequences[Side.SOURCE]),
            large_objects=objects.count,
            seconds=time.monotonic() - started,
            table_differences=tuple(different),
            object_differences=tuple(others),
            notes=tuple(filter(None, [*_unread(tables[Side.SOURCE]), unapplied])),
        )


def _tables(readers: Readers, side: Side, filters: Filters) -> list[Table]:
    """Return the selected tables of a side, all of which its role can read whole."""
    with reporting(readers.endpoint(side), "reading the list of tables"):
        tables = [
            table
            for table in discover.list_tables(readers.held(side))
            if filters.copies_data(table.schema, table.name)
        ]
    discover.check_visible(readable_tables(tables), side)
    return tables


def _unread(tables: Iterable[Table]) -> Iterator[str]:
    foreign = [f"{one.schema}.{one.name}" for one in tables if one.kind is TableKind.FOREIGN]
    if foreign:
        yield f"foreign tables hold no rows of their own and are not read: {', '.join(foreign)}"


class _LargeObjects:
    """The comparison of large objects, which counts those of the source."""

    def __init__(self, readers: Readers) -> None:
        self.count = 0
        self._readers = readers

    def differences(self) -> Iterator[ObjectDifference]:
        """Yield those that are not the same."""
        ours, theirs = Side.SOURCE, Side.TARGET
        pairs = paired_large_objects(
            self._readers.held(ours),
            self._readers.endpoint(ours),
            self._readers.held(theirs),
            self._readers.endpoint(theirs),
            look=signals.raise_if_stopped,
        )
        yield from large_object_differences(self._counted(pairs))

    def _counted(
        self, pairs: Iterable[tuple[LargeObjectDigest | None, LargeObjectDigest | None]]
    ) -> Iterator[tuple[LargeObjectDigest | None, LargeObjectDigest | None]]:
        for here, there in pairs:
            self.count += here is not None
            yield here, there
