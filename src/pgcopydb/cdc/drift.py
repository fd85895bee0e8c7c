"""What no stream carries: DDL of the source, and updates of tables that have no identity.

The stream says nothing of ``ALTER … TYPE … USING``, and of ``ADD COLUMN … DEFAULT`` only at the
next change of the table, while the old rows silently differ (ruling 24). So the shape of the
followed tables is looked at while they are followed, which warns at once, and at the end, when
writers have stopped: each table that changed, or whose changes were not all in the stream, is then
read whole on both sides. Only equal tables end in status 0.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from pgcopydb.cdc.capture import fingerprint, read_capture, read_contents, read_tables
from pgcopydb.cdc.late_writers import first_late_commit
from pgcopydb.cdc.source_setup import publications
from pgcopydb.cdc.whole_tables import find_differences
from pgcopydb.errors import StateError, some_clauses, some_of
from pgcopydb.model.capture import (
    Capture,
    FollowedTable,
    changed_tables,
    published_otherwise,
    rewritten_tables,
)
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import Table
from pgcopydb.model.options import Plugin
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.publication import read_published
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.store import RunHeader

log = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]
Name = tuple[str, str]


def find_drift(
    connection: Connection, source: Endpoint, header: RunHeader, capture: Capture
) -> dict[Name, str]:
    """Say of each table of the source why the stream may not have carried all of it."""
    tables = read_tables(connection, source, capture.filters)
    return _drift(connection, source, header, capture, tables)


def _drift(
    connection: Connection,
    source: Endpoint,
    header: RunHeader,
    capture: Capture,
    tables: Sequence[Table],
) -> dict[Name, str]:
    now = fingerprint(tables, read_contents(connection, source))
    unpublished = _unpublished(connection, source, header, capture, now)
    return unpublished | changed_tables(capture.tables, now)


def _unpublished(
    connection: Connection,
    source: Endpoint,
    header: RunHeader,
    capture: Capture,
    now: Iterable[FollowedTable],
) -> dict[Name, str]:
    """Say what somebody did to the publications made here, by followed tables."""
    if header.plugin != Plugin.PGOUTPUT or not header.publication_created:
        return {}
    published = read_published(connection, source, header.publications)
    otherwise = published_otherwise(capture, published)
    with reporting(source, "reading what is published"):
        rows = connection.execute(
            "select schemaname::text, tablename::text from pg_catalog.pg_publication_tables"
            " where pubname = any(%s)",
            (list(publications(header, capture)),),
        ).fetchall()
    there = {(table.schema, table.name) for table in now}
    missing = (capture.names() & there) - {(schema, name) for schema, name in rows}
    return otherwise | dict.fromkeys(missing, "is not in the publication any more")


def refuse_uncarried(work: WorkDirectory, source: Endpoint, target: Endpoint) -> None:
    """Raise StateError naming the tables that the stream did not carry whole and that differ.

    To be called when everything is applied and the source's writers have stopped: tables that are
    still written then differ as well. What was not carried and is equal all the same (because
    somebody made the same change on the target) is only warned of.
    """
    capture = read_capture(work)
    header = work.header()
    assert header is not None
    with connect(source, purpose="final check") as connection:
        tables = read_tables(connection, source, capture.filters)
        keyless = {(table.schema, table.name) for table in capture.tables if table.keyless}
        rewritten = _rewritten(header, capture, tables)
        reasons = dict.fromkeys(rewritten, "was rewritten, as one that was unlogged meanwhile is")
        reasons |= dict.fromkeys(keyless, "has no identity, so that only its inserts were followed")
        drift = _drift(connection, source, header, capture, tables)
        reasons |= drift
        if not reasons:
            return
    log.info("comparing %s with the target", _named(reasons))
    different = find_differences(source, target, tables, reasons, followed=capture.tables)
    unclear = rewritten.intersection(different) - keyless - drift.keys()
    # Asked afterwards: whatever made a difference was committed by then.
    if unclear and first_late_commit(work, source) != 0:
        _tell_unclear(unclear)
        different = {name: why for name, why in different.items() if name not in unclear}
        reasons = {name: why for name, why in reasons.items() if name not in unclear}
    if different:
        raise StateError(
            "the stream does not carry all of these tables, and they differ on the target: "
            + some_clauses(
                [f"{'.'.join(name)} {reasons[name]}; {why}" for name, why in different.items()]
            ),
            hint="everything else is applied: with the source's writers stopped, bring them to the"
            " target as they are on the source, then run again with --resume; or clone again",
        )
    for name, reason in reasons.items():
        level = logging.WARNING if name in drift else logging.INFO
        log.log(level, "source: %s.%s %s; it is equal on the target", *name, reason)


def _rewritten(header: RunHeader, capture: Capture, tables: Iterable[Table]) -> frozenset[Name]:
    """Return the followed tables that may have been unlogged for a while.

    None can be while it is named by a publication, as those are that are made here.
    """
    if header.plugin == Plugin.PGOUTPUT and header.publication_created:
        return frozenset()
    filenodes = {(table.schema, table.name): table.filenode for table in tables}
    return rewritten_tables(capture.tables, filenodes)


def _tell_unclear(names: Iterable[Name]) -> None:
    """Tell of tables that differ, perhaps only because the source's rows are newer."""
    log.warning(
        "source: tables were rewritten, and changed after the end position: %s; if they were"
        " unlogged meanwhile, the stream does not say what changed: 'pgcopydb compare data' tells,"
        " once the source's writers have stopped and all is applied",
        _named(names),
    )


def _named(names: Iterable[Name]) -> str:
    return some_of([".".join(name) for name in names])
