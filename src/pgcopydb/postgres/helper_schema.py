"""The one schema that this program keeps on the target: what is done, in the data's own hands.

``pgcopydb.copy_marker`` holds a row for every part of a table, written in the transaction that
wrote the part's rows; a part whose marker is there is copied, whatever happened to the client
afterwards. Markers of another run or of another snapshot do not count (ruling 13). Those of
unlogged tables are in an unlogged one themselves: a crash of the server empties both. ``run`` says
which migrations own something here and ``progress`` is how far a stream is applied, where the role
may not use replication origins (rulings 14 and 22).

The functions raise psycopg's errors: callers wrap them in ``connect.reporting``.
"""

from typing import Any, Final

from msgspec import Struct
from psycopg import Connection

from pgcopydb.errors import TargetError
from pgcopydb.postgres.triggers import silence_event_triggers

Session = Connection[tuple[Any, ...]]

COMMENT: Final = "State of a pgcopydb migration; pgcopydb removes it (pgcopydb stream cleanup)."
"""By this comment the schema is known to be this program's own, and not a user's of that name."""

_TABLES: Final = """
create table if not exists pgcopydb.copy_marker (
  run_id text not null,
  snapshot text not null,
  table_oid oid not null,
  part integer not null,
  schema_name text not null,
  table_name text not null,
  rows bigint,
  bytes bigint,
  copied_at timestamptz not null default pg_catalog.now(),
  unlogged boolean not null,
  primary key (run_id, snapshot, table_oid, part, unlogged)
) partition by list (unlogged);
create table if not exists pgcopydb.copy_marker_logged
  partition of pgcopydb.copy_marker for values in (false);
create unlogged table if not exists pgcopydb.copy_marker_unlogged
  partition of pgcopydb.copy_marker for values in (true);
create table if not exists pgcopydb.run (
  run_id text primary key,
  origin text,
  source_system_identifier text,
  created_at timestamptz not null default pg_catalog.now()
);
create table if not exists pgcopydb.progress (
  run_id text primary key,
  lsn pg_lsn not null,
  commit_time timestamptz
);
"""


class CopiedPart(Struct, frozen=True):
    """A part of a table that is on the target; ``table_oid`` is the source's."""

    table_oid: int
    part: int
    rows: int
    bytes: int


def create_helper_schema(connection: Session, run_id: str) -> None:
    """Create the schema and its tables where they are not there yet, and note ``run_id`` as owner.

    Raises TargetError when a schema of that name is there that this program did not make.
    """
    with connection.transaction():
        silence_event_triggers(connection)
        if _schema_comment(connection) is None:
            connection.execute("create schema pgcopydb")
            connection.execute(f"comment on schema pgcopydb is '{COMMENT}'".encode())
        connection.execute(_TABLES)
        connection.execute(
            "insert into pgcopydb.run (run_id) values (%s) on conflict do nothing", (run_id,)
        )


def helper_schema_exists(connection: Session) -> bool:
    """Tell whether this program's schema is on the target."""
    return _schema_comment(connection) is not None


def owns_helper_schema(connection: Session, run_id: str) -> bool:
    """Tell whether the schema is there and holds the state of ``run_id``."""
    if not helper_schema_exists(connection):
        return False
    found = connection.execute("select from pgcopydb.run where run_id = %s", (run_id,))
    return found.fetchone() is not None


def drop_helper_schema(connection: Session, run_id: str) -> None:
    """Remove what belongs to ``run_id``, and the schema itself when no other run is noted in it."""
    if not helper_schema_exists(connection):
        return
    with connection.transaction():
        silence_event_triggers(connection)
        connection.execute("lock table pgcopydb.run in access exclusive mode")
        connection.execute("delete from pgcopydb.run where run_id = %s", (run_id,))
        if connection.execute("select from pgcopydb.run limit 1").fetchone() is None:
            connection.execute("drop schema pgcopydb cascade")
            return
        connection.execute("delete from pgcopydb.copy_marker where run_id = %s", (run_id,))
        connection.execute("delete from pgcopydb.progress where run_id = %s", (run_id,))


def copied_parts(connection: Session, run_id: str, snapshot: str) -> list[CopiedPart]:
    """Return the parts that this run copied from this snapshot."""
    rows = connection.execute(
        "select table_oid, part, coalesce(rows, 0), coalesce(bytes, 0) from pgcopydb.copy_marker"
        " where run_id = %s and snapshot = %s",
        (run_id, snapshot),
    )
    return [CopiedPart(*row) for row in rows]


def forget_parts(connection: Session, run_id: str) -> None:
    """Forget what this run copied: the tables are dropped, and are copied anew."""
    if helper_schema_exists(connection):
        connection.execute("delete from pgcopydb.copy_marker where run_id = %s", (run_id,))


def _schema_comment(connection: Session) -> str | None:
    """Return the schema's comment, None when there is no such schema."""
    row = connection.execute(
        "select pg_catalog.obj_description(oid, 'pg_namespace')"
        " from pg_catalog.pg_namespace where nspname = 'pgcopydb'"
    ).fetchone()
    if row is None:
        return None
    if row[0] != COMMENT:
        raise TargetError(
            "target: the schema pgcopydb is there already and not of this program's making",
            hint="rename or drop it: pgcopydb keeps its own state under that name",
        )
    return COMMENT
