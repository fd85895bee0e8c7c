"""Which rows of a table are not the same on both sides, by key.

Rows are put into buckets by a hash of their key, and buckets are compared first; only the rows of
buckets that differ are fetched, as hashes. So a table is read twice more, whatever its size, and
what is kept here is bounded: sums of buckets, then the hashes of a bounded number of rows.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from pgcopydb.compare.pairs import Pair
from pgcopydb.compare.readers import Readers, Session, Task
from pgcopydb.model.comparison import Found, RowDifference, ValueDifference
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.objects import Table
from pgcopydb.model.parts import Part
from pgcopydb.postgres.digest import (
    HashedRow,
    RowValues,
    TableDigest,
    bucket_digests,
    hashed_rows,
    is_sql_ascii,
    row_values,
)
from pgcopydb.sql.digest import MOST_BUCKETS, SHOWN_CHARACTERS, Stretch

_ROWS_A_BUCKET: Final = 500
_FETCHED_ROWS: Final = 50_000
"""Hashes of rows that are fetched from each side at most, of several buckets together: 20 MB."""

_FEW_ROWS: Final = 20_000
"""A table of so many rows is fetched whole: buckets would only be another read of it."""

Key = tuple[str, ...]
Pieces = Mapping[Side, list[tuple[Table, Part]]]
"""What is read of either side: ranges of the tables that hold the rows."""


@dataclass(slots=True)
class _Seen:
    """The rows of one key on one side: their hashes, and a sample where there is no key."""

    hashes: Counter[int] = field(default_factory=Counter)
    sample: str = ""


def find_rows(
    readers: Readers, pair: Pair, pieces: Pieces, rows: int, most: int
) -> tuple[tuple[RowDifference, ...], bool]:
    """Return up to ``most`` rows that differ, and whether there are others.

    ``rows`` is the number of rows of the larger side.
    """
    buckets = _bucket_count(rows)
    chosen: tuple[int, ...] = ()
    more = False
    if rows > _FEW_ROWS:
        different = _different_buckets(readers, pair, pieces, buckets)
        chosen, more = _fitting(different, most)
    if pair.key:
        found = list(_by_key(readers, pair, pieces, buckets, chosen))
    else:
        found = list(_by_value(readers, pair, pieces, buckets, chosen))
    found.sort(key=lambda row: (_sortable(row.key), row.sample))
    return _with_values(readers, pair, found[:most]), more or len(found) > most


def _bucket_count(rows: int) -> int:
    """Return a power of two that leaves few enough rows a bucket, or the most there can be."""
    return min(MOST_BUCKETS, 1 << max(4, (rows // _ROWS_A_BUCKET).bit_length()))


def _different_buckets(
    readers: Readers, pair: Pair, pieces: Pieces, buckets: int
) -> dict[int, int]:
    """Return the buckets that are not the same, with the rows of their larger side."""
    sums: dict[Side, dict[int, TableDigest]] = {side: defaultdict(TableDigest) for side in Side}

    def read(connection: Session, endpoint: Endpoint, part: Stretch) -> dict[int, TableDigest]:
        return bucket_digests(connection, endpoint, part, buckets)

    for task, found in readers.each(_tasks(readers, pair, pieces, read)):
        for number, digest in found.items():
            sums[task.side][number] += digest
    ours, theirs = sums[Side.SOURCE], sums[Side.TARGET]
    return {
        number: max(ours[number].rows, theirs[number].rows)
        for number in sorted(ours.keys() | theirs.keys())
        if ours[number] != theirs[number]
    }


def _fitting(different: Mapping[int, int], most: int) -> tuple[tuple[int, ...], bool]:
    """Return the buckets whose rows can be fetched together, and whether some are left out.

    In each of them a row differs, so that no more than ``most`` are needed.
    """
    chosen: list[int] = []
    room = _FETCHED_ROWS
    for number, rows in different.items():
        room -= rows
        if len(chosen) == most or (chosen and room < 0):
            return tuple(chosen), True
        chosen.append(number)
    return tuple(chosen), False


def _fetch(
    readers: Readers, pair: Pair, pieces: Pieces, buckets: int, chosen: tuple[int, ...]
) -> Iterator[tuple[Side, list[HashedRow]]]:
    def read(connection: Session, endpoint: Endpoint, part: Stretch) -> list[HashedRow]:
        return hashed_rows(connection, endpoint, part, buckets, chosen)

    for task, found in readers.each(_tasks(readers, pair, pieces, read)):
        yield task.side, found


def _tasks(
    readers: Readers,
    pair: Pair,
    pieces: Pieces,
    read: Callable[[Session, Endpoint, Stretch], Any],
) -> Iterator[Task]:
    """Yield a task for each piece, which gives what ``read`` does."""

    def reading(endpoint: Endpoint, table: Table, part: Part, connection: Session) -> Any:
        text = pair.text(as_stored=is_sql_ascii(connection))
        return read(connection, endpoint, Stretch(table.schema, table.name, text, part))

    for side, parts in pieces.items():
        for table, part in parts:
            yield Task(side, None, partial(reading, readers.endpoint(side), table, part))


def _by_key(
    readers: Readers, pair: Pair, pieces: Pieces, buckets: int, chosen: tuple[int, ...]
) -> Iterator[RowDifference]:
    seen: dict[Side, dict[Key, Counter[int]]] = {side: defaultdict(Counter) for side in Side}
    for side, rows in _fetch(readers, pair, pieces, buckets, chosen):
        for row in rows:
            seen[side][row.key][row.digest] += 1
    ours, theirs = seen[Side.SOURCE], seen[Side.TARGET]
    nothing: Counter[int] = Counter()
    for key in ours.keys() | theirs.keys():
        here, there = ours.get(key, nothing), theirs.get(key, nothing)
        if here != there:
            yield RowDifference(
                found=_found(here.total(), there.total()),
                key=tuple(zip(pair.key, key, strict=True)),
                source_count=here.total(),
                target_count=there.total(),
            )


def _by_value(
    readers: Readers, pair: Pair, pieces: Pieces, buckets: int, chosen: tuple[int, ...]
) -> Iterator[RowDifference]:
    seen: dict[Side, Counter[int]] = {side: Counter() for side in Side}
    samples: dict[int, str] = {}
    for side, rows in _fetch(readers, pair, pieces, buckets, chosen):
        for row in rows:
            seen[side][row.digest] += row.count
            samples.setdefault(row.digest, row.sample)
    for digest, sample in samples.items():
        here, there = (seen[side][digest] for side in (Side.SOURCE, Side.TARGET))
        if here != there:
            yield RowDifference(
                found=_found(here, there),
                key=(),
                source_count=here,
                target_count=there,
                sample=sample,
            )


def _found(here: int, there: int) -> Found:
    if not there:
        return Found.ONLY_SOURCE
    return Found.DIFFERS if here else Found.ONLY_TARGET


def _sortable(key: Iterable[tuple[str, str]]) -> tuple[tuple[bool, int, str], ...]:
    """Return what puts whole numbers in their own order, and everything else in its text's."""
    return tuple(
        (False, int(text), "")
        if text.lstrip("-").isdecimal() and text.isascii()
        else (True, 0, text)
        for _, text in key
    )


def _with_values(
    readers: Readers, pair: Pair, found: list[RowDifference]
) -> tuple[RowDifference, ...]:
    """Say of the rows that both sides have once in which columns they differ."""
    wanted = [
        tuple(text for _, text in row.key)
        for row in found
        if row.key and row.source_count == row.target_count == 1
    ]
    if not wanted:
        return tuple(found)
    values: dict[Side, Any] = {}
    tasks = (Task(side, None, partial(_read_values, readers, pair, side, wanted)) for side in Side)
    for task, read in readers.each(tasks):
        values[task.side] = read
    ours, theirs = values[Side.SOURCE], values[Side.TARGET]
    result = []
    for row in found:
        key = tuple(text for _, text in row.key)
        if row.key and key in ours and key in theirs:
            row = replace(row, values=tuple(_differing(pair, ours[key], theirs[key])))  # noqa: PLW2901
        result.append(row)
    return tuple(result)


def _read_values(
    readers: Readers, pair: Pair, side: Side, keys: list[Key], connection: Session
) -> RowValues:
    holder = pair.holder(side)
    types = {column.name: column.type for column in holder.table.columns}
    text = pair.text(as_stored=is_sql_ascii(connection))
    return row_values(
        connection,
        readers.endpoint(side),
        Stretch(holder.table.schema, holder.table.name, text),
        keys=keys,
        key_types=[types[name] for name in pair.key],
        with_children=holder.leaves != (holder.table,),
    )


def _differing(pair: Pair, ours: Any, theirs: Any) -> Iterator[ValueDifference]:
    for column, (text, digest), (other, other_digest) in zip(
        pair.columns, ours, theirs, strict=True
    ):
        if digest != other_digest:
            yield ValueDifference(name=column.name, source=_shown(text), target=_shown(other))


def _shown(text: str | None) -> str | None:
    if text is None or len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[:SHOWN_CHARACTERS]}…"
