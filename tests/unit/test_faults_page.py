"""The page of faults names tests and campaigns that are there, and says what is not shown."""

import re
from pathlib import Path

from tests.integration.test_apply_changes import CASES

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in (ROOT / "docs/explanation/faults.md").read_text().splitlines()
    if re.match(r"\| \d", line)
]


def test_each_fault_is_shown_or_said_not_to_be() -> None:
    numbers = [int(number) for number, *_ in ROWS]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 64
    assert all(shown or missing for _, _, shown, missing in ROWS)


def test_everything_that_is_named_is_there() -> None:
    pitfalls = (ROOT / "docs/explanation/pitfalls.md").read_text()
    cases = " ".join(case.name for case in CASES).split()
    for number, _, shown, _ in ROWS:
        for path, name in re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", shown):
            text = (ROOT / "tests" / path).read_text()
            assert not name or f"def {name}(" in text, f"{number}: {path}::{name}"
        for name in re.findall(r"\bP(\d+)\b", shown):
            assert f"P{name}" in cases or f"\n| {name} |" in pitfalls, f"{number}: P{name}"
