"""The page of faults names tests and campaigns that are there, and says what is not shown."""

import re

from tests.integration.test_apply_changes import CASES
from tests.support.pages import ROOT, named_and_there, rows_of

ROWS = rows_of("faults.md", r"\| \d")


def test_each_fault_is_shown_or_said_not_to_be() -> None:
    numbers = [int(number) for number, *_ in ROWS]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 64
    assert all(shown or missing for _, _, shown, missing in ROWS)


def test_everything_that_is_named_is_there() -> None:
    pitfalls = (ROOT / "docs/explanation/pitfalls.md").read_text()
    cases = " ".join(case.name for case in CASES).split()
    for number, _, shown, _ in ROWS:
        list(named_and_there(shown, number))
        for name in re.findall(r"\bP(\d+)\b", shown):
            assert f"P{name}" in cases or f"\n| {name} |" in pitfalls, f"{number}: P{name}"
