"""Reads what every object of a database is, kind by kind, in the order of names."""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pgcopydb.model.definition import Definition, Privileges
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.ahead import ReadAhead
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.digest import is_sql_ascii
from pgcopydb.postgres.queries import query

Session = psycopg.Connection[Any]

KINDS: Final = (
    "database",
    "schemas",
    "extensions",
    "collations",
    "types",
    "routines",
    "operators",
    "programming",
    "text_search",
    "foreign_data",
    "relations",
    "columns",
    "sequences",
    "indexes",
    "constraints",
    "rules",
    "triggers",
    "policies",
    "statistics",
    "event_triggers",
    "publications",
    "default_privileges",
    "large_objects",
    "security_labels",
)
"""The queries, each for some kinds of objects; what others belong to comes first."""

_AT_ONCE: Final = 2000

_KEY: Final = sql.SQL(
    "pg_catalog.regexp_replace(identity,"
    """ '(?<![^.( ,])"([a-z_][a-z0-9_$]*)"(?![^.), ])', '\\1', 'g')"""
)
"""The identity without quotes that only some versions put: each has other keywords."""

_ABOUT = frozenset(
    {
        "kind", "identity", "key", "schema_name", "table_name", "index_name", "extension_name",
        "event_trigger_name", "publication_name", "catalog", "object", "referenced",
        "acl",
        "default_acl", "acl_owner",
    }
)  # fmt: skip
"""Columns that are no property of the object."""


def order(definition: Definition) -> bytes:
    """Return what definitions of one kind are ordered by on every server."""
    return definition.key.encode("utf-8", "surrogateescape")


def schema_names(connection: Session, endpoint: Endpoint) -> frozenset[str]:
    """Return the schemas, as SQL prints their names, that no relation is called like too."""
    with reporting(endpoint, "reading the list of schemas"):
        rows = connection.execute(
            "select pg_catalog.quote_ident(n.nspname) from pg_catalog.pg_namespace as n"
            " where not exists (select from pg_catalog.pg_class as c where c.relname = n.nspname)"
        ).fetchall()
    return frozenset(name for (name,) in rows)


@contextmanager
def read_definitions(
    readers: Executor, connection: Session, endpoint: Endpoint, kind: str
) -> Iterator[ReadAhead[Definition]]:
    """Give the objects of one of ``KINDS`` in their ``order``, read in batches by ``readers``.

    The session must be in a transaction, and is not free for anything else meanwhile.
    """
    doing = f"reading the definitions of {kind.replace('_', ' ')}"
    with connection.cursor(f"pgcopydb {kind}", row_factory=dict_row) as cursor:

        def read() -> list[Definition]:
            with reporting(endpoint, doing):
                return [_definition(row) for row in cursor.fetchmany(_AT_ONCE)]

        with reporting(endpoint, doing):
            cursor.execute(_ordered(connection, kind))
        yield ReadAhead(readers, read)


def _ordered(connection: Session, kind: str) -> sql.Composed:
    name = f"definitions/{kind}"
    if kind == "publications" and connection.info.server_version < 150000:
        name += ".pre15"
    # By bytes: two servers may order the same text differently.
    order_by = "textsend(key)" if is_sql_ascii(connection) else "convert_to(key, 'UTF8')"
    return sql.SQL(
        "select named.* from (select *, {} as key from ({}) as definitions) as named"
        " order by pg_catalog.{}"
    ).format(_KEY, query(name), sql.SQL(order_by))


def _definition(row: dict[str, Any]) -> Definition:
    key = str(row["key"])
    return Definition(
        kind=row["kind"],
        name=key.removeprefix(f"{row['kind']} "),
        key=key,
        properties={
            name.replace("_", " "): str(value)
            for name, value in row.items()
            if name not in _ABOUT and value is not None
        },
        schema=row["schema_name"],
        table=row["table_name"],
        index=row.get("index_name"),
        extension=row.get("extension_name"),
        event_trigger=row.get("event_trigger_name"),
        publication=row.get("publication_name"),
        address=(row["catalog"], row["object"]) if "object" in row else None,
        referenced=row.get("referenced"),
        privileges=_privileges(row),
    )


def _privileges(row: dict[str, Any]) -> Privileges | None:
    if row.get("acl") is None:
        return None
    return Privileges(
        granted=tuple(row["acl"]),
        default=tuple(row["default_acl"] or ()),
        owner=row.get("acl_owner") or row.get("owner") or "",
    )
