"""Pages of the documentation whose tables name tests and campaigns."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def rows_of(page: str, begin: str) -> list[list[str]]:
    """Return the cells of those lines of a page in docs/explanation that ``begin`` matches."""
    return [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in (ROOT / "docs/explanation" / page).read_text().splitlines()
        if re.match(begin, line)
    ]


def named_and_there(shown: str, row: str) -> Iterator[str]:
    """Give the files below tests/ that a cell names; assert that the tests it names are in them."""
    for path, name in re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", shown):
        text = (ROOT / "tests" / path).read_text()
        assert not name or f"def {name}(" in text, f"{row}: {path}::{name}"
        yield path
