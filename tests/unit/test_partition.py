"""Parts of a table hold every row exactly once, and none is needlessly small or large."""

from hypothesis import given
from hypothesis import strategies as st

from pgcopydb.model.parts import Part, PartKind
from pgcopydb.rules import partition

MB = 1 << 20
GB = 1 << 30


def _holds(part: Part, value: int) -> bool:
    return (part.lower is None or part.lower <= value) and (
        part.upper is None or value < part.upper
    )


@given(
    blocks=st.integers(0, 1 << 32), count=st.integers(1, 300), block=st.integers(0, (1 << 32) - 1)
)
def test_each_block_is_in_exactly_one_part(blocks: int, count: int, block: int) -> None:
    parts = partition.block_parts(blocks, count, size=GB)
    assert sum(_holds(part, block) for part in parts) == 1


@given(
    low=st.integers(-(1 << 63), (1 << 63) - 1),
    span=st.integers(0, 1 << 63),
    count=st.integers(1, 300),
    key=st.integers(-(1 << 63), (1 << 63) - 1),
)
def test_each_key_is_in_exactly_one_part(low: int, span: int, count: int, key: int) -> None:
    parts = partition.key_parts("id", low, low + span, count, size=GB)
    assert sum(_holds(part, key) for part in parts) == 1


def test_outer_parts_are_open() -> None:
    parts = partition.block_parts(1000, 4, size=GB)
    assert [(part.lower, part.upper) for part in parts] == [
        (None, 250),
        (250, 500),
        (500, 750),
        (750, None),
    ]
    assert [(part.number, part.count) for part in parts] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert all(part.kind is PartKind.BLOCKS and part.bytes == GB // 4 for part in parts)


def test_fewer_blocks_than_parts() -> None:
    assert len(partition.block_parts(2, 8, size=GB)) == 2
    assert partition.block_parts(1, 8, size=GB) == partition.whole_table(GB)
    assert partition.block_parts(0, 8, size=0) == partition.whole_table(0)


def test_one_big_table_uses_all_lanes() -> None:
    size = 750 * MB
    part_bytes = partition.part_size([size, MB, MB], lanes=4)
    assert part_bytes is not None
    assert partition.part_count(size, part_bytes=part_bytes) == 16


def test_a_table_that_can_be_loaded_frozen_stays_whole_up_to_a_size() -> None:
    most = partition.WHOLE_UP_TO
    assert partition.part_count(most, part_bytes=100 * MB, whole_up_to=most) == 1
    assert partition.part_count(most + 1, part_bytes=100 * MB, whole_up_to=most) == 11
    assert partition.part_count(most, part_bytes=100 * MB) == 11


def test_small_databases_are_not_split() -> None:
    part_bytes = partition.part_size([MB] * 100, lanes=4)
    assert part_bytes == partition.SMALLEST_PART
    assert partition.part_count(MB, part_bytes=part_bytes) == 1


def test_parts_of_a_huge_table_stay_affordable() -> None:
    assert partition.part_size([4096 * GB], lanes=4) == partition.LARGEST_PART


def test_one_lane_splits_nothing_unless_told() -> None:
    assert partition.part_size([GB], lanes=1) is None
    assert partition.part_count(GB, part_bytes=None) == 1
    assert partition.part_size([GB], lanes=1, split_tables_larger_than=MB) == MB


def test_the_choice_of_the_user_wins() -> None:
    assert partition.part_size([GB], lanes=4, split_tables_larger_than=100 * MB) == 100 * MB
    assert partition.part_size([GB], lanes=4, split_tables_larger_than=0) is None
    assert partition.part_count(GB, part_bytes=MB, max_parts=7) == 7
    assert partition.part_count(100 * MB, part_bytes=100 * MB) == 1
    assert partition.part_count(100 * MB + 1, part_bytes=100 * MB) == 2
