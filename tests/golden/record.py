"""Record what each output plugin sends for the same work, as the golden files of the decoders.

    python -m tests.golden.record CONNINFO     record, then render
    python -m tests.golden.record              render only, after a change of a decoder

CONNINFO names a scratch PostgreSQL 15 and a superuser on it, with ``wal_level = logical``,
``max_prepared_transactions > 0`` and pgoutput, test_decoding and wal2json allowed
(``output_plugin_libraries``, where the setting exists). A database ``golden`` is made and dropped.

Writes, here: ``PLUGIN.frames``, a line a frame with its position and its payload in Python's
escapes; ``identities.json``; and what they decode to, ``PLUGIN.changes`` and ``PLUGIN.jsonl``.
"""

import argparse
import select
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
from psycopg import sql

from pgcopydb.decoding.plugin_options import plugin_options
from pgcopydb.lsn import parse_lsn
from pgcopydb.model.changes import Identities, Identity
from pgcopydb.model.options import Plugin, Streaming
from tests.golden import forms

DATABASE = "golden"
PUBLICATION = 'gold"en'
SETTINGS = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "TimeZone": "UTC",
    "lc_monetary": "C",
    "search_path": "",
    "wal_sender_timeout": "0",
}
STREAMING_SETTINGS = {"debug_logical_replication_streaming": "immediate"}
QUIET_FOR = 20.0
IDENTITIES = """
    SELECT nspname, relname,
           array_agg(attname::text ORDER BY attnum)
               FILTER (WHERE relreplident = 'f' OR attnum = ANY (indkey)),
           relreplident = 'f'
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = relnamespace
    JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
    LEFT JOIN pg_index i ON indrelid = c.oid
         AND CASE relreplident WHEN 'd' THEN indisprimary WHEN 'i' THEN indisreplident END
    WHERE c.oid >= 16384 AND relkind IN ('r', 'p') AND nspname <> 'pg_toast'
      AND (relreplident = 'f' OR indrelid IS NOT NULL)
    GROUP BY nspname, relname, relreplident
"""

Session = psycopg.Connection[tuple[Any, ...]]


def record(conninfo: str) -> None:
    """Run the work on a new database and write the frames of the three plugins."""
    with (
        psycopg.connect(conninfo, autocommit=True) as admin,
        new_database(admin),
        psycopg.connect(conninfo, dbname=DATABASE, autocommit=True) as session,
    ):
        before, after = statements()
        run(session, before)
        publish(session)
        for plugin in Plugin:
            make_slot(session, plugin)
        run(session, after)
        end = parse_lsn(scalar(session, "SELECT pg_current_wal_insert_lsn()"))
        for plugin in Plugin:
            frames = list(stream(conninfo, session, plugin, end))
            forms.write_frames(plugin, frames)
        forms.write_identities(identities(session))


def statements() -> tuple[list[str], list[str]]:
    """Return the statements that run before the slots exist, and those that are recorded."""
    parts = [part.strip() for part in (forms.HERE / "workload.sql").read_text().split("\n--\n")]
    border = next(i for i, part in enumerate(parts) if part == "-- SLOTS")
    return parts[:border], parts[border + 1 :]


def run(session: Session, work: list[str]) -> None:
    for statement in work:
        session.execute(statement.encode())


def publish(session: Session) -> None:
    tables = session.execute(
        "SELECT relnamespace::regnamespace::text, relname FROM pg_class"
        " WHERE relkind IN ('r', 'p') AND relreplident <> 'n' AND oid >= 16384"
        " AND relnamespace <> 'pg_toast'::regnamespace ORDER BY oid"
    ).fetchall()
    names = sql.SQL(", ").join(
        sql.SQL("{}.{}").format(sql.Identifier(schema.strip('"')), sql.Identifier(name))
        for schema, name in tables
    )
    # One publication for tables with an identity, one for inserts into those without.
    session.execute(
        sql.SQL("CREATE PUBLICATION {} FOR TABLE {}").format(sql.Identifier(PUBLICATION), names)
    )
    session.execute(
        sql.SQL(
            "CREATE PUBLICATION {} FOR TABLE public.by_nothing WITH (publish = 'insert')"
        ).format(sql.Identifier(PUBLICATION + "_insert"))
    )


def make_slot(session: Session, plugin: Plugin) -> None:
    session.execute(
        "SELECT pg_create_logical_replication_slot(%s, %s)", [f"golden_{plugin}", str(plugin)]
    )


@contextmanager
def new_database(admin: Session) -> Iterator[None]:
    name = sql.Identifier(DATABASE)
    admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(name))
    try:
        yield
    finally:
        admin.execute("SELECT pg_sleep(0.5)")  # until the walsenders have let go of their slots
        admin.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE database = %s",
            [DATABASE],
        )
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def stream(
    conninfo: str,
    session: Session,
    plugin: Plugin,
    end: int,
    *,
    streaming: Streaming = Streaming.OFF,
) -> Iterator[tuple[int, bytes]]:
    """Give (wal_start, payload) of every frame up to ``end``; nothing is confirmed by that.

    With ``streaming`` every change comes at once, which servers since 16 can be told.
    """
    options = plugin_options(
        plugin,
        server_version_num=session.info.server_version,
        publications=(PUBLICATION, PUBLICATION + "_insert"),
        streaming=streaming,
    )
    settings = SETTINGS | (STREAMING_SETTINGS if streaming is Streaming.ON else {})
    pairs = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in options
    )
    command = sql.SQL("START_REPLICATION SLOT {} LOGICAL 0/0 ({})").format(
        sql.Identifier(f"golden_{plugin}"), pairs
    )
    with closing(  # its own context manager would send COMMIT into the stream
        psycopg.connect(conninfo, dbname=DATABASE, replication="database", autocommit=True)
    ) as walsender:
        walsender.add_notice_handler(lambda notice: report(plugin, notice.message_primary))
        for name, value in settings.items():
            walsender.execute(
                sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value))
            )
        walsender.pgconn.send_query(command.as_bytes(walsender))
        yield from frames(walsender, end)


def frames(walsender: Session, end: int) -> Iterator[tuple[int, bytes]]:
    pgconn = walsender.pgconn
    while pgconn.is_busy():
        select.select([pgconn.socket], [], [], 1.0)
        pgconn.consume_input()
    result = pgconn.get_result()
    if result is None or result.status != psycopg.pq.ExecStatus.COPY_BOTH:
        raise SystemExit(result.error_message if result else "no answer")
    deadline = time.monotonic() + QUIET_FOR
    while time.monotonic() < deadline:
        size, data = pgconn.get_copy_data(1)
        if size == 0:
            pgconn.put_copy_data(struct.pack(">cQQQqB", b"r", 0, 0, 0, 0, 1))
            pgconn.flush()
            select.select([pgconn.socket], [], [], 0.2)
            pgconn.consume_input()
        elif size < 0:
            raise SystemExit("the stream ended early")
        elif data[0] == b"w"[0]:
            yield struct.unpack_from(">Q", data, 1)[0], bytes(data[25:])
        elif struct.unpack_from(">Q", data, 1)[0] >= end:
            return
    raise SystemExit(f"nothing came for {QUIET_FOR:.0f} s")


def scalar(session: Session, query: str) -> str:
    row = session.execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])


def report(plugin: Plugin, text: str | None) -> None:
    sys.stderr.write(f"{plugin}: {text}\n")


def identities(session: Session) -> Identities:
    rows = session.execute(IDENTITIES.encode()).fetchall()
    return {(schema, table): Identity(tuple(names), full) for schema, table, names, full in rows}


def render() -> None:
    """Write what the frames decode to, for a person to check before committing it."""
    for plugin in Plugin:
        (forms.HERE / f"{plugin}.changes").write_text(forms.changes_text(plugin))
        (forms.HERE / f"{plugin}.jsonl").write_bytes(forms.jsonl_bytes(plugin))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="record and render the golden files")
    parser.add_argument("conninfo", nargs="?", help="a scratch PostgreSQL 15, as a superuser")
    arguments = parser.parse_args()
    if arguments.conninfo:
        record(arguments.conninfo)
    render()
