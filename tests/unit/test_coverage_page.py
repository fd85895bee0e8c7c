"""The page of what a base copy holds names tests and campaigns that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in (ROOT / "docs/explanation/coverage.md").read_text().splitlines()
    if re.match(r"\| (?!what \|)[^-]", line)
]


def test_everything_that_is_named_is_there() -> None:
    assert len(ROWS) == 42
    for what, shown, versions, _ in ROWS:
        assert versions, what
        named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", shown)
        assert named or "every kind" in shown or "each definition" in shown, what
        for path, name in named:
            text = (ROOT / "tests" / path).read_text()
            assert not name or f"def {name}(" in text, f"{what}: {path}::{name}"
