"""Rows in COPY's text format (manual, "COPY", "Text Format").

Most rows need no escaping, and finding that out a value at a time would cost more than all the
rest. So a batch is joined as it is, and its separators are counted: if there are as many as the
rows and columns account for, no value contained one. Joining tells whether there is a NULL, too,
which is then looked for column by column: where it is at all, it is mostly in every row.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

Fields: TypeAlias = Sequence[bytes | None]

_NULL: Final = b"\\N"


def encode_rows(rows: Sequence[Fields]) -> bytes:
    """Return ``rows``, all of the same number of columns, as COPY text; None is NULL."""
    if not rows:
        return b""
    nulls = 0
    try:
        body = b"\n".join(map(b"\t".join, rows))  # type: ignore[arg-type]
    except TypeError:  # it joins nothing but bytes
        columns = list(zip(*rows, strict=True))
        nulls = sum(column.count(None) for column in columns)
        filled = [_without_nulls(column) if None in column else column for column in columns]
        body = b"\n".join(map(b"\t".join, zip(*filled, strict=True)))
    body += b"\n"
    clean = (
        body.count(b"\n") == len(rows)
        and body.count(b"\t") == len(rows) * max(0, len(rows[0]) - 1)
        and body.count(b"\\") == nulls
        and b"\r" not in body
    )
    return body if clean else _escaped(rows)


def _without_nulls(column: Fields) -> list[bytes]:
    return [_NULL if value is None else value for value in column]


def _escaped(rows: Sequence[Fields]) -> bytes:
    return b"".join(
        b"\t".join(_NULL if value is None else escape(value) for value in row) + b"\n"
        for row in rows
    )


def escape(value: bytes) -> bytes:
    """Return one value as COPY text."""
    return (
        value.replace(b"\\", b"\\\\")
        .replace(b"\t", b"\\t")
        .replace(b"\n", b"\\n")
        .replace(b"\r", b"\\r")
    )
