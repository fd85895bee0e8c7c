"""What tables hold, as numbers that are the same on every server.

Sessions must have their settings pinned (``connect`` does), and those of a SQL_ASCII database
must take its bytes as they are.
"""

from collections.abc import Sequence
from typing import Any, Final

import psycopg
from msgspec import Struct

from pgcopydb.model.encodings import RAW
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import reporting
from pgcopydb.sql import digest
from pgcopydb.sql.digest import ComparedColumn, RowText, Stretch

Session = psycopg.Connection[Any]

_PROGRAM_LIMIT: Final = "54000"
_TOO_LONG: Final = "invalid memory alloc request size"
"""What a server says of a text beyond 1 GB, depending on where it notices."""


RowValues = dict[tuple[str, ...], list[tuple[str | None, int | None]]]
"""By key, the beginning of each compared value as text, and its hash."""


class RowTooLongError(Exception):
    """A row of a table is too long for one text: its values have to be hashed one by one.

    For the caller to do so. It is not raised where they are: a single value that is too long is
    the server's own error.
    """


class TableDigest(Struct, frozen=True):
    """How many rows there are, and the sum of their hashes; those of parts can be added."""

    rows: int = 0
    digest: int = 0

    def __add__(self, other: "TableDigest") -> "TableDigest":
        return TableDigest(self.rows + other.rows, self.digest + other.digest)


class HashedRow(Struct, frozen=True):
    """A row, known by the text of its key; one of a table without key stands for ``count``."""

    key: tuple[str, ...]
    digest: int
    count: int
    sample: str


def is_sql_ascii(connection: Session) -> bool:
    """Tell whether the database's bytes may be in no encoding at all."""
    return connection.info.parameter_status("server_encoding") == RAW


def table_digest(
    connection: Session,
    endpoint: Endpoint,
    table: tuple[str, str],
    columns: Sequence[ComparedColumn],
    *,
    partitioned: bool = False,
) -> TableDigest:
    """Return the digest of these columns of a table's own rows, or of all its partitions'.

    Raises as :func:`part_digest` does.
    """
    text = RowText(tuple(columns), as_stored=is_sql_ascii(connection))
    whole = Stretch(*table, text)
    if not partitioned:
        return part_digest(connection, endpoint, whole)
    return _digest(connection, endpoint, whole, digest.digest_with_children(*table, text))


def part_digest(connection: Session, endpoint: Endpoint, part: Stretch) -> TableDigest:
    """Return the digest of a part of a table's own rows; raise RowTooLongError, or the side's."""
    return _digest(connection, endpoint, part, digest.digest_of_part(part))


def _digest(connection: Session, endpoint: Endpoint, part: Stretch, statement: str) -> TableDigest:
    with reporting(endpoint, f"reading {part}"):
        try:
            ((rows, total),) = connection.execute(_bytes(statement)).fetchall()
        except psycopg.Error as error:
            too_long = error.sqlstate == _PROGRAM_LIMIT or _TOO_LONG in str(error)
            if too_long and part.text.may_be_too_long:
                raise RowTooLongError from error
            raise
    return TableDigest(rows, int(total))


def bucket_digests(
    connection: Session, endpoint: Endpoint, part: Stretch, buckets: int
) -> dict[int, TableDigest]:
    """Return the digests of a part's rows by the bucket of their key."""
    with reporting(endpoint, f"reading {part}"):
        rows = connection.execute(_bytes(digest.digests_of_buckets(part, buckets))).fetchall()
    return {number: TableDigest(count, int(total)) for number, count, total in rows}


def hashed_rows(
    connection: Session, endpoint: Endpoint, part: Stretch, buckets: int, chosen: Sequence[int]
) -> list[HashedRow]:
    """Return the rows of a part that are in the ``chosen`` buckets, or all for none."""
    statement = digest.rows_of_buckets(part, buckets, chosen)
    with reporting(endpoint, f"reading rows of {part}"):
        rows = connection.execute(_bytes(statement)).fetchall()
    return [HashedRow(tuple(key), *rest) for key, *rest in rows]


def row_values(
    connection: Session,
    endpoint: Endpoint,
    table: Stretch,
    *,
    keys: Sequence[tuple[str, ...]],
    key_types: Sequence[str],
    with_children: bool,
) -> RowValues:
    """Return the values of the rows of ``keys``, of which each part has one of ``key_types``."""
    statement = digest.values_of_rows(table, keys, key_types, with_children=with_children)
    with reporting(endpoint, f"reading rows of {table}"):
        rows = connection.execute(_bytes(statement)).fetchall()
    return {tuple(key): list(zip(texts, hashes, strict=True)) for key, texts, hashes in rows}


def _bytes(statement: str) -> bytes:
    # Names of a SQL_ASCII database may be no UTF-8: they were read with their bytes escaped.
    return statement.encode("utf-8", "surrogateescape")
