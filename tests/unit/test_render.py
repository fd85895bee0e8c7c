"""SQL text of changes: one line each, and every value as it was."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgcopydb.errors import ProtocolError, StateError
from pgcopydb.model.changes import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Insert,
    Message,
    Relation,
    Row,
    Truncate,
    Update,
)
from pgcopydb.sql.render import (
    PREAMBLE,
    SqlRenderer,
    begin_line,
    commit_line,
    header_of,
    identifier,
    literal,
    merge_truncates,
    transaction_header,
)

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
KEYED = Relation("public", "t", ("id", "a", "b"), ("integer", "text", "numeric"), key=(0,))
FULL = Relation(
    "public",
    "f",
    ("i", "t", "n", "c", "x"),
    ("integer", "text", "numeric", "character", ""),
    (),
    True,
)

ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|.)|''|(.)", re.DOTALL)
NAMED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"f": b"\f", b"\\": b"\\"}


def meaning(text: bytes) -> bytes:
    """Read a literal as the server does."""
    if not text.startswith(b"E"):
        return text[1:-1].replace(b"''", b"'")

    def read(found: re.Match[bytes]) -> bytes:
        escape = found[1]
        if escape is None:
            return found[2] or b"'"
        return bytes([int(escape[1:], 16)]) if escape.startswith(b"x") else NAMED[escape]

    return ESCAPE.sub(read, text[2:-1])


def line(change: Insert | Update | Delete | Truncate) -> str:
    rendered = SqlRenderer().line(change)
    assert rendered is not None
    assert rendered.count(b"\n") == 1
    assert rendered.endswith(b";\n")
    return rendered[:-1].decode()


@given(TEXTS)
def test_a_literal_is_one_line_and_means_its_value(text: str) -> None:
    rendered = literal(text.encode())
    assert re.search(rb"[\x00-\x1f\x7f]", rendered) is None
    assert meaning(rendered) == text.encode()
    # without E'' there is no backslash that could mean something
    assert rendered.startswith(b"E'") or b"\\" not in rendered
    # nothing ends it before its end
    body = rendered[rendered.index(b"'") + 1 : -1]
    assert b"'" not in body.replace(b"''", b"")


@given(TEXTS.filter(bool))
def test_an_identifier_is_one_line_and_ends_where_it_should(name: str) -> None:
    rendered = identifier(name)
    assert re.search(rb"[\x00-\x1f\x7f]", rendered) is None
    body = rendered[rendered.index(b'"') + 1 : -1].replace(b'""', b"")
    assert b'"' not in body


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "NULL"),
        (b"", "''"),
        (b"it's", "'it''s'"),
        (b"a\nb", r"E'a\nb'"),
        (b"\\xff", r"E'\\xff'"),
        (b"\x01'", r"E'\x01'''"),
        ("ü 🐘".encode(), "'ü 🐘'"),
    ],
)
def test_literals(value: bytes | None, expected: str) -> None:
    assert literal(value).decode() == expected


def test_a_nul_is_refused() -> None:
    with pytest.raises(ProtocolError):
        literal(b"a\0b")
    with pytest.raises(ProtocolError):
        identifier("a\0b")
    with pytest.raises(ProtocolError):
        identifier("")


def test_names_that_need_escapes() -> None:
    assert identifier('q"q') == b'"q""q"'
    assert identifier("back\\slash") == b'"back\\slash"'
    assert identifier('new\n"line\\') == rb'U&"new\000a""line\\"'


def test_an_insert_gives_every_column() -> None:
    assert line(Insert(KEYED, (b"1", None, b"5.99"))) == (
        'INSERT INTO "public"."t" ("id", "a", "b")'
        " OVERRIDING SYSTEM VALUE VALUES ('1', NULL, '5.99');"
    )
    nothing = Relation("public", "t", (), ())
    assert line(Insert(nothing, ())) == 'INSERT INTO "public"."t" DEFAULT VALUES;'


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, (b"1", b"x", None), """SET "a" = 'x', "b" = NULL WHERE "id" = '1'"""),
        (None, (b"1", UNCHANGED, b"2"), """SET "b" = '2' WHERE "id" = '1'"""),
        (
            (b"1", None, None),
            (b"2", b"x", UNCHANGED),
            """SET "id" = '2', "a" = 'x' WHERE "id" = '1'""",
        ),
        (
            (b"1", None, None),
            (UNCHANGED, b"x", b"2"),
            """SET "a" = 'x', "b" = '2' WHERE "id" = '1'""",
        ),
    ],
)
def test_an_update_finds_its_row_by_the_identity(old: Row | None, new: Row, expected: str) -> None:
    assert line(Update(KEYED, old, new)) == f'UPDATE ONLY "public"."t" {expected};'


def test_an_update_that_sets_nothing_has_no_statement() -> None:
    assert SqlRenderer().line(Update(KEYED, None, (b"1", UNCHANGED, UNCHANGED))) is None
    row = (b"1", b"x", b"2", None, b"")
    assert SqlRenderer().line(Update(FULL, row, row)) is None


def test_a_whole_row_is_found_exactly_and_once() -> None:
    old = (b"1", b"x", b"1.10", b"ab ", None)
    where = (
        """WHERE ctid = (SELECT ctid FROM ONLY "public"."f" WHERE "i" = '1'"""
        """ AND "t" COLLATE pg_catalog."C" = 'x'"""
        """ AND pg_catalog.format('%s', "n") COLLATE pg_catalog."C" = '1.10'"""
        """ AND "c" COLLATE pg_catalog."C" = 'ab ' AND "x" IS NULL LIMIT 1);"""
    )
    assert line(Delete(FULL, old)) == f'DELETE FROM ONLY "public"."f" {where}'
    new = (b"1", b"y", UNCHANGED, b"ab ", b"new")
    expected = f"""UPDATE ONLY "public"."f" SET "t" = 'y', "x" = 'new' {where}"""
    assert line(Update(FULL, old, new)) == expected


def test_a_row_without_identity_cannot_be_found() -> None:
    nameless = Relation("public", "t", ("a",), ("text",))
    for change in (Delete(nameless, (b"x",)), Update(nameless, None, (b"x",))):
        with pytest.raises(StateError, match="no replica identity"):
            SqlRenderer().line(change)


def test_a_key_that_was_not_sent_is_refused() -> None:
    with pytest.raises(ProtocolError, match="not sent"):
        SqlRenderer().line(Update(KEYED, None, (UNCHANGED, b"x", b"2")))
    with pytest.raises(ProtocolError, match="not sent"):
        SqlRenderer().line(Insert(KEYED, (b"1", UNCHANGED, None)))


def test_truncates_merge_where_their_flags_agree() -> None:
    other = Relation("s", "u", (), ())
    first, second = Truncate((KEYED,)), Truncate((other, KEYED))
    merged = merge_truncates(first, second)
    assert merged is not None
    assert line(merged) == 'TRUNCATE ONLY "public"."t", ONLY "s"."u";'
    assert merge_truncates(first, Truncate((other,), cascade=True)) is None
    flags = Truncate((KEYED,), cascade=True, restart_identity=True)
    assert line(flags) == 'TRUNCATE ONLY "public"."t" RESTART IDENTITY CASCADE;'


def test_what_is_no_change_of_rows_has_no_statement() -> None:
    renderer = SqlRenderer()
    for change in (Begin(1), Commit(1, 2), Message(True, "p", b"c")):
        assert renderer.line(change) is None


def test_headers_are_read_back() -> None:
    header = transaction_header(7, 0x1_0000_0010, "2026-11-23 18:15:41+00")
    assert header == b'{"xid":7,"lsn":"1/10","timestamp":"2026-11-23 18:15:41+00"}'
    assert header_of(begin_line(header).rstrip(b"\n")) == (True, header)
    assert header_of(commit_line(header).rstrip(b"\n")) == (False, header)
    assert transaction_header(7, 1, None).endswith(b'"timestamp":null}')
    for text in (b"BEGIN;", b"COMMIT", b"INSERT INTO", b"", *PREAMBLE):
        assert header_of(text) is None


def test_a_relation_that_changes_is_rendered_anew() -> None:
    renderer = SqlRenderer()
    for names in (("a",), ("a", "b")):
        relation = Relation("public", "t", names, ("text",) * len(names))
        rendered = renderer.line(Insert(relation, (b"x",) * len(names)))
        assert rendered is not None
        assert rendered.count(b"'x'") == len(names)
