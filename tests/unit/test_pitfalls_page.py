"""The page of pitfalls names tests that are there, one at least for every row."""

import re
from pathlib import Path

from tests.integration.test_apply_changes import CASES

ROOT = Path(__file__).parents[2]
ROWS = [
    line
    for line in (ROOT / "docs/explanation/pitfalls.md").read_text().splitlines()
    if re.match(r"\| \d", line)
]
WITHOUT_A_TEST = {46, 66}


def test_every_pitfall_is_shown_by_something() -> None:
    assert [int(row.split("|")[1]) for row in ROWS] == list(range(1, 71))
    for number, row in enumerate(ROWS, 1):
        shown = row.split("|")[3]
        assert number in WITHOUT_A_TEST or re.search(r"\bP\d+\b|::", shown), row


def test_every_test_that_is_named_is_there() -> None:
    cases = " ".join(case.name for case in CASES).split()
    for row in ROWS:
        shown = row.split("|")[3]
        for path, name in re.findall(r"`([\w/]+\.py)::(\w+)`", shown):
            assert f"def {name}(" in (ROOT / "tests" / path).read_text(), f"{path}::{name}"
        for name in re.findall(r"\bP\d+\b", shown):
            assert name in cases, name
