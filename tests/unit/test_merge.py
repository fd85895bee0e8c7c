"""Two ordered streams side by side."""

from hypothesis import given
from hypothesis import strategies as st

from pgcopydb.rules.merge import merge_ordered

KEYS = st.sets(st.integers(-5, 30)).map(sorted)


@given(ours=KEYS, theirs=KEYS)
def test_what_has_the_same_key_meets_and_nothing_is_lost(
    ours: list[int], theirs: list[int]
) -> None:
    pairs = list(merge_ordered(ours, theirs, lambda one: one))
    assert [one for one, _ in pairs if one is not None] == ours
    assert [other for _, other in pairs if other is not None] == theirs
    assert all(one == other for one, other in pairs if one is not None and other is not None)
    assert len(pairs) == len(set(ours) | set(theirs))
