"""Publications for pgoutput: made to measure, reused only when they fit exactly (ruling 16)."""

import logging
from collections.abc import Iterable
from typing import Any

import psycopg
from msgspec import Struct
from psycopg import sql

from pgcopydb.errors import StateError
from pgcopydb.model.capture import OwnPublication, PublishedTable
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.queries import query
from pgcopydb.rules.publication import WantedPublication

log = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]


class Publication(Struct, frozen=True, kw_only=True):
    """A publication as the source's catalogue has it; tables are (schema, name) pairs."""

    all_tables: bool
    actions: str
    via_root: bool
    restricted: bool
    """Whether a row filter, a column list or a whole schema is part of it."""
    tables: frozenset[tuple[str, str]]


def ensure_publication(
    connection: Connection, endpoint: Endpoint, wanted: WantedPublication
) -> OwnPublication | None:
    """Make a publication carry exactly what is wanted.

    Returns the publication if it was created. To be called in a transaction, so that the caller can
    write that down before it is there. Raises StateError when one of that name exists and differs.
    """
    found = read_publication(connection, endpoint, wanted.name)
    if found is None:
        return _create(connection, endpoint, wanted)
    unlike = differences(found, wanted)
    if unlike:
        raise StateError(
            f'source: publication "{wanted.name}" exists and is not what is needed: {unlike}',
            hint="drop it, or choose another name with --publication",
        )
    return None


def read_publication(connection: Connection, endpoint: Endpoint, name: str) -> Publication | None:
    """Return the publication ``name``, or None when there is none."""
    with reporting(endpoint, f'reading publication "{name}"'):
        version = "publication" if connection.info.server_version >= 150000 else "publication.pre15"
        row = connection.execute(query(version), {"name": name}).fetchone()
    if row is None:
        return None
    all_tables, actions, via_root, restricted, tables = row
    return Publication(
        all_tables=all_tables,
        actions=actions,
        via_root=via_root,
        restricted=restricted,
        tables=frozenset((schema, table) for schema, table in tables),
    )


def read_published(
    connection: Connection, endpoint: Endpoint, publications: Iterable[OwnPublication]
) -> tuple[PublishedTable, ...]:
    """Return what these publications name, as the transaction's snapshot shows it."""
    with reporting(endpoint, "reading what is published"):
        rows = connection.execute(
            "select n.nspname::text, c.relname::text, r.oid::bigint, p.xmin::text"
            " from pg_catalog.pg_publication_rel as r"
            " join pg_catalog.pg_publication as p on p.oid = r.prpubid"
            " join pg_catalog.pg_class as c on c.oid = r.prrelid"
            " join pg_catalog.pg_namespace as n on n.oid = c.relnamespace"
            " where p.oid = any(%s::oid[])"
            " order by 1, 2",
            ([one.oid for one in publications],),
        ).fetchall()
    return tuple(PublishedTable(*row) for row in rows)


def drop_publication(connection: Connection, endpoint: Endpoint, own: OwnPublication) -> None:
    """Drop the publication if it exists; one of its name that was made later stays."""
    with reporting(endpoint, f'dropping publication "{own.name}"'):
        found = connection.execute(
            "select pubname::text from pg_catalog.pg_publication where oid = %s", (own.oid,)
        ).fetchone()
        if found is not None:
            name = sql.Identifier(found[0])
            connection.execute(sql.SQL("drop publication if exists {}").format(name))


def _create(
    connection: Connection, endpoint: Endpoint, wanted: WantedPublication
) -> OwnPublication:
    listed = sql.SQL(", ").join(
        sql.SQL("only {}").format(sql.Identifier(*name)) for name in sorted(wanted.tables)
    )
    for_tables = sql.SQL(" for table {}").format(listed) if wanted.tables else sql.SQL("")
    statement = sql.SQL("create publication {}{} with (publish = {}{})").format(
        sql.Identifier(wanted.name),
        for_tables,
        sql.Literal(wanted.actions),
        _not_via_root(connection),
    )
    with reporting(endpoint, f'creating publication "{wanted.name}"'):
        connection.execute(statement)
        row = connection.execute(
            "select oid from pg_catalog.pg_publication where pubname = %s", (wanted.name,)
        ).fetchone()
    assert row is not None
    log.info(
        'created publication "%s" for %d tables on the source', wanted.name, len(wanted.tables)
    )
    return OwnPublication(wanted.name, row[0])


def _not_via_root(connection: Connection) -> sql.SQL:
    """Return the option that keeps changes under their leaf's name, where the server has it."""
    since_13 = connection.info.server_version >= 130000
    return sql.SQL(", publish_via_partition_root = false") if since_13 else sql.SQL("")


def differences(found: Publication, wanted: WantedPublication) -> str:
    """Return in words how a publication is not what is needed, or "" when it is."""
    parts = []
    if found.all_tables:
        parts.append("it is for all tables")
    if found.actions != wanted.actions:
        parts.append(f"it publishes {found.actions}")
    if found.via_root:
        parts.append("it publishes via the partition root")
    if found.restricted:
        parts.append("it has a row filter, a column list or a schema")
    if not found.all_tables:
        parts += [f"it lacks {s}.{t}" for s, t in sorted(wanted.tables - found.tables)[:3]]
        parts += [f"it also has {s}.{t}" for s, t in sorted(found.tables - wanted.tables)[:3]]
    return "; ".join(parts)
