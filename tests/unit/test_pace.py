"""How often something is looked at that may take long."""

from contextlib import suppress

from pgcopydb.cdc.pace import Pace


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_short_look_is_due_again_by_the_clock_and_a_long_one_later() -> None:
    clock = _Clock()
    pace = Pace(10.0, clock=clock)
    assert pace.is_due()
    with pace.looking():
        clock.now += 0.1
    clock.now = 109.9
    assert not pace.is_due()
    clock.now = 110.0
    assert pace.is_due()
    with pace.looking():
        clock.now += 5.0
    clock.now = 209.9
    assert not pace.is_due()
    clock.now = 210.0
    assert pace.is_due()


def test_a_look_that_failed_counts_as_well() -> None:
    clock = _Clock()
    pace = Pace(10.0, clock=clock)
    with suppress(ConnectionError), pace.looking():
        clock.now += 1.0
        raise ConnectionError
    clock.now = 119.9
    assert not pace.is_due()
    clock.now = 120.0
    assert pace.is_due()
