"""SQL as a server prints it that has read what another one printed."""

import pytest

from pgcopydb.rules.reprinted import as_read_again


@pytest.mark.parametrize(
    ("printed", "again"),
    [
        ("NULL::integer AS int4 FROM t", "NULL::integer FROM t"),
        ('(1)::numeric(10,2) AS "numeric", 2', "(1)::numeric(10,2), 2"),
        ("'x y'::character varying AS \"varchar\"", "'x y'::character varying"),
        ("NULL::timestamp(3) with time zone AS timestamptz", "NULL::timestamp(3) with time zone"),
        ('NULL::s."Odd"[] AS "Odd"', 'NULL::s."Odd"[]'),
        (
            "= ANY ((ARRAY['a, b'::character varying, 'it''s'::character varying])::text[])",
            "= ANY (ARRAY[('a, b'::character varying)::text, ('it''s'::character varying)::text])",
        ),
        ('(ARRAY[f(a, b[1]), "x]"])::text[] || c', 'ARRAY[(f(a, b[1]))::text, ("x]")::text] || c'),
        (
            "(ARRAY[(ARRAY[1, 2])::numeric[]])::text[]",
            "ARRAY[(ARRAY[(1)::numeric, (2)::numeric])::text]",
        ),
    ],
)
def test_what_is_read_otherwise(printed: str, again: str) -> None:
    assert as_read_again(printed) == again
    assert as_read_again(again) == again


@pytest.mark.parametrize(
    "printed",
    [
        "NULL::integer AS int8",
        "'a::text AS text' AS b",
        "1 AS int4",
        "(ARRAY[1, 2])",
        "(ARRAY[1, 2])[1]",
        "'(ARRAY['",
        "ARRAY[(a)::text]",
    ],
)
def test_what_stays(printed: str) -> None:
    assert as_read_again(printed) == printed
