"""Which tables are copied in parts, and where the cuts are.

A pure decision from sizes. A part is one transaction on the target, so its size is also what a
lost connection costs, and small parts keep all lanes busy to the end; a whole table on the other
hand can be loaded frozen, without a second pass of vacuum.
"""

from collections.abc import Iterable

from pgcopydb.model.parts import Part, PartKind

SMALLEST_PART = 32 << 20
"""Bytes below which a part costs more in round trips and index locality than it gains."""

WHOLE_UP_TO = 1 << 30
"""Bytes up to which a table stays whole, though parts would be shared out better, if it can be
loaded frozen then.

Of a copy of 640 MB with its index, both servers and the client did 11.9 s of work in place of 13.9
with two lanes, and 12.7 in place of 16.3 with four: pages are written once, and vacuum finds them
visible to all. What a table of that size takes longer in one lane is a few seconds, and mostly
there are others for the lanes meanwhile.
"""

LARGEST_PART = 4 << 30
"""Bytes above which a part is too much work to lose with a connection."""

PARTS_PER_LANE = 4
"""With the total cut in this many parts a lane, the last lane ends at most a fourth late."""

FIRST_CTID_RANGE_VERSION = 140000
"""The server version that got TID range scans; older ones read the whole table for each range."""


def part_size(
    sizes: Iterable[int], *, lanes: int, split_tables_larger_than: int | None = None
) -> int | None:
    """Return the size in bytes above which a table may be split, and of its parts; None: never.

    ``sizes`` are those of all tables to copy, in bytes with TOAST. A choice of the user
    (``split_tables_larger_than``) wins; zero switches splitting off. With a single lane there is
    nothing to share.
    """
    if split_tables_larger_than is not None:
        return split_tables_larger_than or None
    if lanes <= 1:
        return None
    fair_share = sum(sizes) // (lanes * PARTS_PER_LANE)
    return min(max(fair_share, SMALLEST_PART), LARGEST_PART)


def part_count(
    size: int, *, part_bytes: int | None, max_parts: int | None = None, whole_up_to: int = 0
) -> int:
    """Return how many parts a table of ``size`` bytes is copied in, at least one."""
    if size <= whole_up_to:
        return 1
    if part_bytes is None or size <= part_bytes:
        return 1
    count = -(-size // part_bytes)
    return max(1, min(count, max_parts)) if max_parts is not None else count


def whole_table(size: int) -> tuple[Part, ...]:
    """Return the one part of a table that is not split."""
    return (Part(bytes=size),)


def block_parts(blocks: int, count: int, *, size: int) -> tuple[Part, ...]:
    """Cut a table of ``blocks`` pages into at most ``count`` ranges of pages.

    ``blocks`` may be stale: the last range has no end.
    """
    return _ranges(PartKind.BLOCKS, 0, blocks, count, size=size)


def key_parts(column: str, lowest: int, highest: int, count: int, *, size: int) -> tuple[Part, ...]:
    """Cut a table by its integer key ``column`` into at most ``count`` equal ranges of values.

    ``lowest`` and ``highest`` are values seen in the table. The outer ranges are open, so rows
    beyond them are copied too; the column must not be NULL in any row.
    """
    return _ranges(PartKind.KEYS, lowest, highest + 1, count, size=size, column=column)


def _ranges(
    kind: PartKind, start: int, end: int, count: int, *, size: int, column: str | None = None
) -> tuple[Part, ...]:
    count = min(count, end - start)
    if count <= 1:
        return whole_table(size)
    cuts = [start + (end - start) * number // count for number in range(count + 1)]
    return tuple(
        Part(
            number=number,
            count=count,
            kind=kind,
            column=column,
            lower=None if number == 1 else cuts[number - 1],
            upper=None if number == count else cuts[number],
            bytes=size // count,
        )
        for number in range(1, count + 1)
    )
