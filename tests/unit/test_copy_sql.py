"""The SQL that reads parts of tables, and the quoting that all composed SQL rests on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgcopydb.errors import UsageError
from pgcopydb.model.parts import Part, PartKind
from pgcopydb.sql.copy import select_part
from pgcopydb.sql.quote import column_list, qualified_name, quote_identifier, quote_literal


def test_whole_table() -> None:
    assert select_part("s", "t", ("a", "b"), Part()) == 'SELECT "a", "b" FROM ONLY "s"."t"'


def test_no_columns() -> None:
    assert select_part("s", "t", (), Part()) == 'SELECT  FROM ONLY "s"."t"'


def test_block_ranges() -> None:
    def query(lower: int | None, upper: int | None) -> str:
        return select_part("s", "t", ("a",), Part(kind=PartKind.BLOCKS, lower=lower, upper=upper))

    lower = "ctid OPERATOR(pg_catalog.>=) '(7,0)'::pg_catalog.tid"
    upper = "ctid OPERATOR(pg_catalog.<) '(9,0)'::pg_catalog.tid"
    assert query(None, 9).endswith("WHERE " + upper)
    assert query(7, 9).endswith(f"WHERE {lower} AND {upper}")
    assert query(7, None).endswith("WHERE " + lower)


def test_key_ranges() -> None:
    part = Part(kind=PartKind.KEYS, column='o"id', lower=-5, upper=10)
    assert select_part("s", "t", ("a",), part).endswith(
        'WHERE "o""id" OPERATOR(pg_catalog.>=) (-5) AND "o""id" OPERATOR(pg_catalog.<) (10)'
    )


def test_identifiers() -> None:
    assert quote_identifier("plain") == '"plain"'
    assert quote_identifier('say "hi"') == '"say ""hi"""'
    assert qualified_name("a.b", "c d") == '"a.b"."c d"'
    assert column_list(("a", 'b"')) == '"a", "b"""'


def test_literals() -> None:
    assert quote_literal("it's") == "'it''s'"
    assert quote_literal("a\\b'") == " E'a\\\\b'''"
    assert quote_literal("") == "''"


@pytest.mark.parametrize("bad", ["", "nul\x00inside"])
def test_impossible_identifiers_are_refused(bad: str) -> None:
    with pytest.raises(UsageError):
        quote_identifier(bad)


def test_literal_with_nul_is_refused() -> None:
    with pytest.raises(UsageError):
        quote_literal("\x00")


_text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1)


@given(_text)
def test_a_quoted_identifier_has_one_way_to_be_read(name: str) -> None:
    quoted = quote_identifier(name)
    assert quoted[0] == quoted[-1] == '"'
    assert quoted[1:-1].replace('""', "") == name.replace('"', "")
    assert quoted[1:-1].replace('""', '"') == name


@given(_text)
def test_a_quoted_literal_has_one_way_to_be_read(text: str) -> None:
    quoted = quote_literal(text)
    body = quoted[3:-1] if quoted.startswith(" E") else quoted[1:-1]
    if quoted.startswith(" E"):
        body = body.replace("\\\\", "\\")
    assert body.replace("''", "'") == text
