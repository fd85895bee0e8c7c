"""What no stream carries: DDL of the source, and updates of tables that have no identity.

The stream says nothing of ``ALTER … TYPE … USING``, and of ``ADD COLUMN … DEFAULT`` only at the
next change of the table, while the old rows silently differ (ruling 24). So the shape of the
followed tables is looked at while they are followed, which warns at once, and at the end, when
writers have stopped: each table that changed, or whose changes were not all in the stream, is then
read whole on both sides. Only equal tables end in status 0.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg

from pgcopydb.cdc.capture import fingerprint, read_capture, read_contents, read_tables
from pgcopydb.cdc.late_writers import first_late_commit
from pgcopydb.cdc.source_setup import publications
from pgcopydb.cdc.targets import TargetTables, read_target_tables
from pgcopydb.errors import StateError
from pgcopydb.model.capture import (
    Capture,
    FollowedTable,
    changed_tables,
    published_otherwise,
    rewritten_tables,
)
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import Table, TableKind
from pgcopydb.model.options import Plugin
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.digest import TableDigest, table_digest
from pgcopydb.postgres.publication import read_published
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.store import RunHeader

log = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]
Name = tuple[str, str]

_SHOWN = 5

_WITH_ROWS = frozenset({TableKind.TABLE, TableKind.PARTITIONED})


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
        different = _compare(connection, source, target, tables, reasons, capture=capture)
    unclear = rewritten.intersection(different) - keyless - drift.keys()
    # Asked afterwards: whatever made a difference was committed by then.
    if unclear and first_late_commit(work, source) != 0:
        _tell_unclear(unclear)
        different = {name: why for name, why in different.items() if name not in unclear}
        reasons = {name: why for name, why in reasons.items() if name not in unclear}
    if different:
        raise StateError(
            "the stream does not carry all of these tables, and they differ on the target: "
            + _explained({name: f"{reasons[name]}; {why}" for name, why in different.items()}),
            hint="everything else is applied: with the source's writers stopped, bring them to the"
            " target as they are on the source, then run again with --resume; or clone again",
        )
    for name, reason in reasons.items():
        level = logging.WARNING if name in drift else logging.INFO
        log.log(level, "source: %s.%s %s; it is equal on the target", *name, reason)


def differing_tables(
    work: WorkDirectory, source: Endpoint, target: Endpoint, names: Iterable[Name]
) -> str:
    """Read tables whole on both sides; say which of them differ and in what, "" for none.

    To be called when everything is applied and the source's writers have stopped.
    """
    capture = read_capture(work)
    with connect(source, purpose="final check") as connection:
        tables = read_tables(connection, source, capture.filters)
        found = _compare(connection, source, target, tables, names, capture=capture)
        return _explained(found)


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


def _compare(
    connection: Connection,
    source: Endpoint,
    target: Endpoint,
    tables: Iterable[Table],
    names: Iterable[Name],
    *,
    capture: Capture,
) -> dict[Name, str]:
    """Say of each table of these that is not the same on both sides in what it differs."""
    here = {(table.schema, table.name): table for table in tables if table.kind in _WITH_ROWS}
    before = {(table.schema, table.name): table for table in capture.tables}
    different = {}
    with (
        connect(target, purpose="final check") as other,
        ThreadPoolExecutor(1) as reader,
        _cancelled_on_error(other),
    ):
        there = read_target_tables(other, target)
        for name in names:
            difference = _shape_difference(name, before.get(name), here.get(name), there)
            if not difference and name in here:
                columns = [column.name for column in here[name].columns]
                theirs = reader.submit(
                    table_digest,
                    other,
                    target,
                    name,
                    columns,
                    partitioned=there[name].partitioned,
                )
                partitioned = here[name].kind is TableKind.PARTITIONED
                ours = table_digest(connection, source, name, columns, partitioned=partitioned)
                difference = _difference(ours, theirs.result())
            if difference:
                different[name] = difference
    return different


@contextmanager
def _cancelled_on_error(connection: Connection) -> Iterator[None]:
    """Cancel what another thread waits for on ``connection`` when the block fails or is stopped."""
    try:
        yield
    except BaseException:
        connection.cancel_safe(timeout=2)
        raise


def _shape_difference(
    name: Name, before: FollowedTable | None, here: Table | None, there: TargetTables
) -> str:
    if here is None:
        return "the target still has it" if name in there else ""
    if name not in there:
        return "the target lacks it"
    columns = [column.name for column in here.columns]
    missing = [column for column in columns if column not in there[name].columns]
    if missing:
        return f"the target lacks column {', '.join(missing)}"
    # Columns that only the target ever had are its own business.
    gone = [one for one in there[name].columns if one not in columns and before and before.had(one)]
    return f"the target still has column {', '.join(gone)}" if gone else ""


def _difference(ours: TableDigest, theirs: TableDigest) -> str:
    if ours == theirs:
        return ""
    if ours.rows == theirs.rows:
        return f"its {ours.rows:,} rows are not the same"
    return f"{ours.rows:,} rows on the source, {theirs.rows:,} on the target"


def _named(names: Iterable[Name]) -> str:
    labels = [".".join(name) for name in names]
    more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
    return ", ".join(labels[:_SHOWN]) + more


def _explained(found: Mapping[Name, str]) -> str:
    texts = [f"{'.'.join(name)} {why}" for name, why in found.items()]
    more = f"; and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more
