from datetime import UTC, datetime, timedelta

import pytest

from pgcopydb.rules.optimizer_statistics import (
    Analyzed,
    TableStatistics,
    TextOrder,
    may_be_taken_over,
    sort_alike,
)

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def table(
    itself: Analyzed, partitions: Analyzed | None = None, *, portable: bool = True
) -> TableStatistics:
    return TableStatistics(
        oid=1,
        schema="public",
        name="t",
        relations=("t",),
        attributes=1,
        is_portable=portable,
        itself=itself,
        partitions=partitions,
    )


@pytest.mark.parametrize(
    ("analyzed", "taken"),
    [
        (Analyzed(1000, 0, NOON), True),
        (Analyzed(1000, 150, NOON), True),
        (Analyzed(1000, 151, NOON), False),
        (Analyzed(1000, 0, None), False),
        (Analyzed(-1, 0, NOON), False),
        (Analyzed(0, 0, NOON), False),
    ],
    ids=["current", "as autovacuum leaves it", "outdated", "forgotten", "never", "empty"],
)
def test_a_table_is_current_as_long_as_autovacuum_would_leave_it(
    analyzed: Analyzed, taken: bool
) -> None:
    assert may_be_taken_over(table(analyzed)) is taken
    assert not may_be_taken_over(table(analyzed, portable=False))


ROOT = Analyzed(1000, 0, NOON)


@pytest.mark.parametrize(
    ("root", "partitions", "taken"),
    [
        (ROOT, Analyzed(1000, 0, NOON + timedelta(seconds=5)), True),
        (ROOT, Analyzed(1100, 100, NOON - timedelta(days=9)), True),
        (ROOT, Analyzed(1000, 0, NOON + timedelta(hours=1)), False),
        (ROOT, Analyzed(1151, 0, NOON), False),
        (ROOT, Analyzed(849, 0, NOON), False),
        (ROOT, Analyzed(1000, 200, NOON), False),
        (ROOT, Analyzed(1000, 0, None), False),
        (Analyzed(-1, 0, None), Analyzed(1000, 0, NOON), False),
        (Analyzed(0, 0, NOON), Analyzed(0, 0, None), False),
    ],
    ids=[
        "together", "before it", "long after it", "more rows", "fewer rows", "changed",
        "one of them never", "the root never", "no partitions",
    ],
)  # fmt: skip
def test_a_root_is_as_current_as_its_partitions_tell(
    root: Analyzed, partitions: Analyzed, taken: bool
) -> None:
    assert may_be_taken_over(table(root, partitions)) is taken


@pytest.mark.parametrize(
    ("ours", "theirs", "alike"),
    [
        (("c", "C", "", None), ("c", "POSIX", "", None), True),
        (("c", "C", "", None), ("b", "C.UTF-8", "", "1"), True),
        (("c", "en_US.UTF-8", "", "2.36"), ("c", "en_US.utf8", "", "2.36"), True),
        (("c", "en_US.UTF-8", "", "2.31"), ("c", "en_US.UTF-8", "", "2.36"), False),
        (("c", "en_US.UTF-8", "", "2.36"), ("c", "de_DE.UTF-8", "", "2.36"), False),
        (("c", "en_US.UTF-8", "", None), ("c", "en_US.UTF-8", "", None), False),
        (("c", "en_US.UTF-8", "", "153.1"), ("i", "en-US", "", "153.1"), False),
        (("i", "de", "", "153.1"), ("i", "de", "", "153.1"), True),
        (("i", "de", "&a<b", "153.1"), ("i", "de", "", "153.1"), False),
    ],
)  # fmt: skip
def test_text_is_known_to_sort_alike_only_by_one_version_or_by_its_bytes(
    ours: tuple[str, str, str, str | None],
    theirs: tuple[str, str, str, str | None],
    alike: bool,
) -> None:
    assert sort_alike(TextOrder(*ours), TextOrder(*theirs)) is alike
    assert sort_alike(TextOrder(*theirs), TextOrder(*ours)) is alike
