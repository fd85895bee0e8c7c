"""What was done to a table of the target while changes were applied to it."""

import pytest
from msgspec.structs import replace

from pgcopydb.model.targets import TableShape
from pgcopydb.rules.alterations import alteration

BEFORE = TableShape(
    schema="public",
    name="item",
    filenode=100,
    columns=("id", "price"),
    types=("integer", "numeric"),
    numbers=(1, 2),
    versions=("700", "700"),
)


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (None, "it is not there any more"),
        (
            replace(BEFORE, types=("integer", "numeric(5,1)"), filenode=101),
            "column price is numeric(5,1), it was numeric",
        ),
        (
            replace(BEFORE, versions=("700", "710"), filenode=102),
            "columns were altered, and its rows written anew",
        ),
        (
            replace(BEFORE, columns=("id", "cost")),
            "it lost column price",
        ),
        (
            replace(BEFORE, numbers=(1, 3), versions=("700", "710")),
            "column price was dropped and made anew",
        ),
    ],
)
def test_what_may_have_changed_values(now: TableShape | None, told: str) -> None:
    assert alteration(BEFORE, now) == told


def test_a_partitioned_table_has_no_file() -> None:
    before = replace(BEFORE, filenode=0)
    assert alteration(before, before) == ""
    assert alteration(before, replace(before, versions=("700", "710")))


@pytest.mark.parametrize(
    "now",
    [
        BEFORE,
        replace(BEFORE, filenode=101),
        replace(BEFORE, versions=("710", "710")),
        replace(
            BEFORE,
            columns=("id", "price", "mine"),
            types=("integer", "numeric", "text"),
            numbers=(1, 2, 3),
            versions=("700", "700", "710"),
        ),
    ],
    ids=["nothing", "truncated", "a default", "a column more"],
)
def test_what_has_changed_no_value(now: TableShape) -> None:
    assert alteration(BEFORE, now) == ""
