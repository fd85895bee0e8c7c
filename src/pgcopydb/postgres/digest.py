"""What a table holds, as two numbers that are the same on every version of the server."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import reporting

# SHA-256 because its value depends on nothing but the text. The sum of 64 of its bits depends on
# no order of the rows, and unlike an exclusive or it notices one that is there thrice.
_DIGEST = sql.SQL(
    "select pg_catalog.count(*), coalesce(pg_catalog.sum(('x' operator(pg_catalog.||)"
    " pg_catalog.left(pg_catalog.encode(pg_catalog.sha256({text}), 'hex'), 16)"
    ")::pg_catalog.bit(64)::pg_catalog.int8), 0)::pg_catalog.text from {only}{table}"
)
_IN_UTF8 = sql.SQL("pg_catalog.convert_to(row({columns})::pg_catalog.text, 'UTF8')")
_AS_STORED = sql.SQL("pg_catalog.textsend(row({columns})::pg_catalog.text)")


@dataclass(frozen=True, slots=True)
class TableDigest:
    """How many rows a table has, and the sum of their hashes."""

    rows: int
    digest: str


def table_digest(
    connection: psycopg.Connection[Any],
    endpoint: Endpoint,
    table: tuple[str, str],
    columns: Sequence[str],
    *,
    partitioned: bool = False,
) -> TableDigest:
    """Return the digest of these columns of a table's own rows, or of all its partitions'.

    Comparable with another database's when both sessions have their settings pinned. The bytes of
    a SQL_ASCII database are taken as they are, because they may be in no encoding at all.
    """
    ascii_only = connection.info.parameter_status("server_encoding") == "SQL_ASCII"
    text = (_AS_STORED if ascii_only else _IN_UTF8).format(
        columns=sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    statement = _DIGEST.format(
        text=text,
        only=sql.SQL("") if partitioned else sql.SQL("only "),
        table=sql.Identifier(*table),
    )
    with reporting(endpoint, f"reading all of {'.'.join(table)}"):
        row = connection.execute(statement).fetchone()
    assert row is not None
    return TableDigest(*row)
