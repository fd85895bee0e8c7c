"""What a slot holds back: when somebody is told of it, and of what."""

import pytest

from pgcopydb.rules.holdback import Holdback, worries

MB = 1 << 20
AGE = 200_000_000


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (Holdback("reserved", 50 * MB, 0, 0, AGE), []),
        (Holdback("reserved", 50 * MB, 100 * MB, AGE // 2, AGE), []),
        (Holdback("extended", 51 * MB, 100 * MB, 0, AGE), ["half"]),
        (Holdback("unreserved", 10 * MB, 0, 0, AGE), ["half"]),
        (Holdback("lost", 101 * MB, 100 * MB, 0, AGE), ["lost"]),
        (Holdback("reserved", 1 * MB, 0, AGE // 2 + 1, AGE), ["xmin"]),
        (Holdback("extended", 51 * MB, 100 * MB, AGE, AGE), ["half", "xmin"]),
    ],
)
def test_it_is_told_at_half_of_what_may_be(found: Holdback, told: list[str]) -> None:
    assert [subject for subject, _ in worries("s", found)] == told


def test_the_texts_name_the_slot_and_the_figures() -> None:
    found = Holdback("extended", 51 * MB, 100 * MB, 150_000_000, AGE)
    half, xmin = (text for _, text in worries("s", found))
    assert 'slot "s" holds back 51 MB of WAL' in half
    assert "catalog_xmin is 150,000,000 transactions old" in xmin
    assert "autovacuum_freeze_max_age (200,000,000)" in xmin
