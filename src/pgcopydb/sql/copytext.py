"""Rows in COPY's text format (manual, "COPY", "Text Format").

Most rows need no escaping, and finding that out a value at a time would cost more than all the
rest. So a batch is joined as it is, and its separators are counted: if there are as many as the
rows and columns account for, no value contained one.
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
    plain: list[Sequence[bytes]] = []
    for row in rows:
        if None in row:
            fields = [_NULL if value is None else value for value in row]
            nulls += row.count(None)
            plain.append(fields)
        else:
            plain.append(row)  # type: ignore[arg-type]
    body = b"\n".join(map(b"\t".join, plain)) + b"\n"
    clean = (
        body.count(b"\n") == len(rows)
        and body.count(b"\t") == len(rows) * max(0, len(rows[0]) - 1)
        and body.count(b"\\") == nulls
        and b"\r" not in body
    )
    return body if clean else _escaped(rows)


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
