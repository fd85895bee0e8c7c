"""Rows as COPY text, read again as the server reads them."""

from hypothesis import given
from hypothesis import strategies as st

from pgcopydb.sql.copytext import encode_rows

VALUES = st.one_of(
    st.none(),
    st.binary(max_size=6),
    st.text("a\\N\t\n\rnrt", max_size=4).map(str.encode),
)
ESCAPED = {b"\\\\": b"\\", b"\\t": b"\t", b"\\n": b"\n", b"\\r": b"\r"}


def read_back(text: bytes) -> list[tuple[bytes | None, ...]]:
    return [
        tuple(None if field == b"\\N" else unescaped(field) for field in line.split(b"\t"))
        for line in text.split(b"\n")[:-1]
    ]


def unescaped(field: bytes) -> bytes:
    assert b"\r" not in field
    parts, at = [], 0
    while at < len(field):
        size = 2 if field[at : at + 1] == b"\\" else 1
        part = field[at : at + size]
        parts.append(ESCAPED[part] if size == 2 else part)
        at += size
    return b"".join(parts)


@given(rows=st.integers(1, 4).flatmap(lambda n: st.lists(st.tuples(*[VALUES] * n), max_size=6)))
def test_what_is_encoded_is_read_back(rows: list[tuple[bytes | None, ...]]) -> None:
    assert read_back(encode_rows(rows)) == rows


def test_rows_without_columns_are_empty_lines() -> None:
    assert encode_rows([(), ()]) == b"\n\n"
