"""Which tables may travel in binary, and which gain by it."""

import pytest
from msgspec.structs import replace

from pgcopydb.model.objects import Column
from pgcopydb.rules.copy_format import is_faster_in_binary, is_fit_for_binary


def column(*type_names: str) -> Column:
    return Column(
        number=1, name="c", type=type_names[0], type_oid=0, type_modifier=-1,
        type_names=type_names, not_null=False, generated="", identity="", default=None,
        collation=None, version="1",
    )  # fmt: skip


INTEGER = column("integer", "pg_catalog.int4")
TEXT = column("text", "pg_catalog.text")
REGCLASS = column("regclass", "pg_catalog.regclass")
DOMAIN = column("shop.percent", "shop.percent", "numeric", "pg_catalog.numeric")
TEXTS = column("text[]", "pg_catalog._text")
OWN = column("text", "shop.text")
MOOD = replace(column("shop.mood", "shop.mood"), enumerated=True)


@pytest.mark.parametrize(
    ("columns", "fit", "faster"),
    [
        ([], True, False),
        ([INTEGER], True, False),
        ([INTEGER, TEXT], True, True),
        ([DOMAIN], True, False),
        ([TEXTS], True, True),
        ([TEXT, REGCLASS], False, False),
        ([TEXT, OWN], False, False),
        ([MOOD, INTEGER], True, False),
        ([MOOD, TEXT], True, True),
    ],
)
def test_a_table_of_these_columns(columns: list[Column], fit: bool, faster: bool) -> None:
    assert is_fit_for_binary(columns) is fit
    assert is_faster_in_binary(columns) is faster
