"""Are the rows of all tables the same? By a sum a table, and row by row where the sums differ."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pgcopydb.compare.pairs import Pair
from pgcopydb.compare.readers import Readers, Session, Task
from pgcopydb.compare.rows import Pieces, find_rows
from pgcopydb.model.comparison import ComparisonProgress, RowDifference, TableDifference
from pgcopydb.model.endpoint import Side
from pgcopydb.model.objects import Table, TableKind
from pgcopydb.model.parts import Part
from pgcopydb.postgres.digest import TableDigest, is_sql_ascii, part_digest
from pgcopydb.rules.partition import (
    FIRST_CTID_RANGE_VERSION,
    block_parts,
    part_count,
    part_size,
    whole_table,
)
from pgcopydb.sql.digest import Stretch

Observe = Callable[[ComparisonProgress], None]

_LARGEST_PIECE: Final = 256 << 20
"""Bytes that one statement reads: some seconds' work, so that none runs for hours."""


@dataclass(slots=True)
class _Sums:
    """What was read of one pair so far; a side is None when a row of it was too long."""

    left: int
    digests: dict[Side, TableDigest | None] = field(
        default_factory=lambda: {side: TableDigest() for side in Side}
    )

    def add(self, side: Side, digest: TableDigest | None) -> bool:
        """Add one piece; tell whether it was the last."""
        known = self.digests[side]
        self.digests[side] = None if known is None or digest is None else known + digest
        self.left -= 1
        return not self.left


class Comparing:
    """The comparison of all pairs of tables.

    ``versions`` are the servers' version numbers. Up to ``most`` rows of a table that differ are
    named.
    """

    def __init__(
        self,
        readers: Readers,
        pairs: Sequence[Pair],
        *,
        versions: Mapping[Side, int],
        jobs: int,
        most: int,
        observe: Observe,
    ) -> None:
        self.rows = 0
        """Rows of the source that were compared."""
        self._readers = readers
        self._pairs = pairs
        self._versions = versions
        self._most = most
        self._observe = observe
        sizes = [pair.holder(side).bytes for pair in pairs for side in Side]
        self._piece = min(part_size(sizes, lanes=jobs) or _LARGEST_PIECE, _LARGEST_PIECE)
        self._bytes = sum(sizes)
        self._bytes_done = 0
        self._done = 0
        self._different = 0

    def differences(self) -> Iterator[TableDifference]:
        """Yield each table whose rows are not the same, as soon as that is known."""
        long: list[Pair] = []
        yield from self._compare(self._pairs, long)
        # None of them is too long again: a single value that is ends the comparison.
        yield from self._compare([pair.with_long_values() for pair in long], [])

    def _compare(self, pairs: Sequence[Pair], long: list[Pair]) -> Iterator[TableDifference]:
        different: list[tuple[Pair, _Sums]] = []
        for pair, sums in self._summed(pairs):
            if None in sums.digests.values():
                long.append(pair)
                continue
            self._done += 1
            here, there = sums.digests[Side.SOURCE], sums.digests[Side.TARGET]
            self.rows += here.rows if here else 0
            if pair.reasons or here != there:
                self._different += 1
                different.append((pair, sums))
        for pair, sums in different:
            yield self._difference(pair, sums)

    def _summed(self, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, _Sums]]:
        """Yield each pair when all of it was read on both sides, the largest begun first."""
        ordered = sorted(pairs, key=lambda pair: -pair.source.bytes)
        under_way: dict[int, _Sums] = {}
        unread: list[Pair] = []

        def tasks() -> Iterator[Task]:
            for number, pair in enumerate(ordered):
                pieces = self._pieces(pair)
                under_way[number] = _Sums(sum(map(len, pieces.values())))
                if not under_way[number].left:
                    unread.append(pair)
                for side, parts in pieces.items():
                    for table, part in parts:
                        yield self._task(number, pair, side, table, part)

        for task, digest in self._readers.each(tasks()):
            number, size = task.subject
            pair = ordered[number]
            self._bytes_done += size
            self._tell(pair)
            if under_way[number].add(task.side, digest):
                yield pair, under_way.pop(number)
        for pair in unread:
            yield pair, _Sums(0)

    def _task(self, number: int, pair: Pair, side: Side, table: Table, part: Part) -> Task:
        endpoint = self._readers.endpoint(side)

        def read(connection: Session) -> TableDigest:
            text = pair.text(as_stored=is_sql_ascii(connection))
            return part_digest(connection, endpoint, Stretch(table.schema, table.name, text, part))

        return Task(side, (number, part.bytes), read)

    def _pieces(self, pair: Pair) -> Pieces:
        """Return what to read on either side: nothing of a view that one of them has not filled."""
        if not all(pair.holder(side).is_filled for side in Side):
            return {side: [] for side in Side}
        return {
            side: [
                (leaf, part) for leaf in pair.holder(side).leaves for part in self._cut(side, leaf)
            ]
            for side in Side
        }

    def _cut(self, side: Side, table: Table) -> tuple[Part, ...]:
        if self._versions[side] < FIRST_CTID_RANGE_VERSION or table.access_method != "heap":
            return whole_table(table.bytes)
        count = part_count(table.bytes, part_bytes=self._piece)
        return block_parts(table.pages, count, size=table.bytes)

    def _difference(self, pair: Pair, sums: _Sums) -> TableDifference:
        here, there = (sums.digests[side] or TableDigest() for side in (Side.SOURCE, Side.TARGET))
        rows: tuple[RowDifference, ...] = ()
        more = False
        if here != there and self._most:
            self._tell(pair)
            largest = max(here.rows, there.rows)
            rows, more = find_rows(self._readers, pair, self._pieces(pair), largest, self._most)
        schema, name = pair.name
        return TableDifference(
            schema=schema,
            name=name,
            source_rows=here.rows,
            target_rows=there.rows,
            reasons=pair.reasons + self._why(pair, sums),
            rows=rows,
            more=more,
        )

    @staticmethod
    def _why(pair: Pair, sums: _Sums) -> tuple[str, ...]:
        """Return what to know of a view: a copy fills it anew, from the tables as they were."""
        differ = sums.digests[Side.SOURCE] != sums.digests[Side.TARGET]
        if differ and pair.source.table.kind is TableKind.MATERIALIZED_VIEW:
            return ("a materialized view, to be refreshed on both sides before it is compared",)
        return ()

    def _tell(self, pair: Pair) -> None:
        self._observe(
            ComparisonProgress(
                tables_done=self._done,
                tables=len(self._pairs),
                bytes_done=self._bytes_done,
                bytes=self._bytes,
                different=self._different,
                now=".".join(pair.name),
            )
        )
