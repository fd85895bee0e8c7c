"""Setting a change capture up, and taking it down: publication, slot, origin, sentinel.

Everything that would make the capture fail, or break the application's own writes, is looked for
before anything is created; a set-up that fails half-way leaves nothing behind on the source, where
a forgotten slot would hold back WAL until the disk is full (correctness M10).
"""

import logging
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import sql

from pgcopydb.errors import ConfigurationError, PgcopydbError, StateError
from pgcopydb.lsn import format_lsn
from pgcopydb.model.capture import Capture, FollowedTable, differences
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import Column, ReplicaIdentity, ServerFacts, Table
from pgcopydb.model.options import FollowOptions, NoIdentity, Plugin
from pgcopydb.postgres import discover, helper_schema, progress, publication
from pgcopydb.postgres.connect import connect, connect_replication, reporting
from pgcopydb.postgres.replication import create_slot
from pgcopydb.postgres.slot import drop_slot, naming_blockers, read_slot
from pgcopydb.rules.publication import PublicationPlan, is_followed, plan_publication
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.sentinel import create_sentinel, read_sentinel, update_sentinel
from pgcopydb.workdir.store import (
    RunHeader,
    read_fact,
    read_header,
    update_header,
    write_fact,
    write_header,
)

log = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]

_SLOT_WAIT = 300.0
"""Seconds to wait for older transactions of the source before giving up."""

CAPTURE_FACT = "capture"


@dataclass(frozen=True, slots=True)
class NewSlot:
    """A slot that was just created: where its stream starts, and the snapshot of that moment."""

    start: int
    snapshot: str


@contextmanager
def create_capture(
    work: WorkDirectory, source: Endpoint, follow: FollowOptions
) -> Iterator[NewSlot]:
    """Create publication and slot, and hold the slot's exported snapshot while the block runs.

    Whoever copies must have imported the snapshot (or have a holder that did) before the block is
    left. Raises ConfigurationError with every reason for which the source cannot be captured,
    StateError when slot or publication exist already, the source's error when it refuses.
    """
    with connect(source, purpose="setup") as connection:
        facts = _facts(connection, source)
        _drop_left_by(work.previous, connection, source, facts)
        tables = _tables(connection, source)
        plan = _plan(tables, follow)
        refuse_unfit_source(connection, source, facts, follow)
        _refuse_existing_slot(connection, source, follow.slot_name)
        with ExitStack() as undo:
            header = _begin(work, facts, follow)
            _publish(work, connection, source, follow, plan, undo)
            yield from _create_slot(work, connection, source, follow, header, undo)


def _create_slot(
    work: WorkDirectory,
    connection: Connection,
    source: Endpoint,
    follow: FollowOptions,
    header: RunHeader,
    undo: ExitStack,
) -> Iterator[NewSlot]:
    """Create the slot, write down what it captures, and give it; see create_capture."""
    with connect_replication(source, purpose="slot") as walsender:
        with naming_blockers(source, walsender, limit=_SLOT_WAIT):
            start, snapshot = _create_slot_or_explain(walsender, source, follow)
        undo.callback(drop_slot, connection, source, follow.slot_name)
        capture = _capture_in(source, snapshot, start)
        with work.store() as store:
            write_fact(store, CAPTURE_FACT, capture)
            create_sentinel(store, start, follow.endpos or 0)
            update_header(
                store,
                snapshot=snapshot,
                slot_created=True,
                consistent_point=start,
            )
        undo.pop_all()  # from here on the slot is this migration's, and stream cleanup drops it
        log.info(
            'created replication slot "%s" (%s), which starts at %s, in run %s',
            follow.slot_name,
            follow.plugin,
            format_lsn(start),
            header.run_id[:8],
        )
        yield NewSlot(start, snapshot)


def _create_slot_or_explain(
    walsender: Connection, source: Endpoint, follow: FollowOptions
) -> tuple[int, str]:
    try:
        return create_slot(
            walsender, source, slot_name=follow.slot_name, plugin=follow.plugin.value
        )
    except PgcopydbError as error:
        if "could not access file" in error.message or "output_plugin" in error.message:
            raise ConfigurationError(
                f"source: the output plugin {follow.plugin} cannot be used: {error.message}",
                hint=f"install {follow.plugin} on the source server (and list it in"
                " output_plugin_libraries where that setting exists), or use --plugin pgoutput",
            ) from error
        raise


def refuse_unfit_source(
    connection: Connection, source: Endpoint, facts: ServerFacts, follow: FollowOptions
) -> None:
    """Raise ConfigurationError naming every setting of the source that prevents the capture."""
    findings = []
    if facts.wal_level != "logical":
        findings.append(f"wal_level is {facts.wal_level}: set it to logical and restart the server")
    if not facts.may_replicate:
        findings.append(f'role "{facts.role}" may not replicate: ALTER ROLE ... REPLICATION')
    with reporting(source, "reading the replication settings"):
        row = connection.execute(
            "select pg_catalog.current_setting('output_plugin_libraries', true),"
            " pg_catalog.current_setting('max_replication_slots')::integer,"
            " (select pg_catalog.count(*) from pg_catalog.pg_replication_slots)"
        ).fetchone()
    assert row is not None
    allowed, most_slots, used_slots = row
    if allowed is not None and follow.plugin.value not in _listed(allowed):
        findings.append(
            f"output_plugin_libraries is '{allowed}' and does not allow {follow.plugin}:"
            f" set it to '{allowed}, {follow.plugin}' and reload the server"
        )
    if used_slots >= most_slots:
        findings.append(
            f"all {most_slots} replication slots are in use: raise max_replication_slots"
        )
    if findings:
        raise ConfigurationError(
            "source: changes cannot be captured: " + "; ".join(findings),
            hint="nothing has been created; mend this and run the same command again",
        )


def _listed(setting: str) -> set[str]:
    return {name.strip().strip('"') for name in setting.split(",")}


def _facts(connection: Connection, endpoint: Endpoint) -> ServerFacts:
    with reporting(endpoint, "reading the server's settings"):
        return discover.server_facts(connection)


def _tables(connection: Connection, source: Endpoint) -> list[Table]:
    with reporting(source, "reading the list of tables"):
        return discover.list_tables(connection)


def identify(facts: ServerFacts) -> str:
    """Return what tells this database from every other: system identifier and database oid."""
    return f"{facts.system_identifier}/{facts.database_oid}"


def _begin(work: WorkDirectory, facts: ServerFacts, follow: FollowOptions) -> RunHeader:
    """Write the migration's header before anything is created, so that it is known as ours."""
    with work.store() as store:
        known = read_header(store)
        if known is not None and known.consistent_point is not None:
            raise StateError(
                f'{work.path} already holds a change capture with slot "{known.slot_name}"',
                hint="go on with it (--resume), or start over (--restart)",
            )
        header = replace(
            known or RunHeader(run_id=uuid.uuid4().hex),
            source=identify(facts),
            source_timeline=facts.timeline,
            plugin=follow.plugin.value,
            slot_name=follow.slot_name,
            publication=follow.publication,
            origin=follow.origin,
        )
        write_header(store, header)
    return header


def _plan(tables: Sequence[Table], follow: FollowOptions) -> PublicationPlan:
    plan = plan_publication(tables)
    if not plan.keyless or follow.no_identity is not NoIdentity.REFUSE:
        return plan
    shown = plan.keyless[:5]
    statements = " ".join(
        sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL;")
        .format(sql.Identifier(table.schema, table.name))
        .as_string()
        for table in shown
    )
    more = len(plan.keyless) - len(shown)
    raise ConfigurationError(
        f"source: {len(plan.keyless)} tables have no usable replica identity, so that their"
        " updates and deletes cannot be followed: "
        + ", ".join(f"{table.schema}.{table.name}" for table in shown)
        + (f" and {more} more" if more else ""),
        hint=f"add primary keys, or run {statements} or pass --no-identity full (the same for"
        " all of them) or insert-only (their updates and deletes are not carried)",
    )


def _publish(
    work: WorkDirectory,
    connection: Connection,
    source: Endpoint,
    follow: FollowOptions,
    plan: PublicationPlan,
    undo: ExitStack,
) -> None:
    """Make the publications that pgoutput needs; other plugins need none."""
    whole = plan.whole
    if plan.keyless and follow.no_identity is NoIdentity.FULL:
        _set_identity_full(connection, source, plan.keyless)
        whole = plan_publication(_tables(connection, source)).whole
    if follow.plugin is not Plugin.PGOUTPUT:
        return
    created = [
        name
        for name, tables, actions in (
            (follow.publication, whole, publication.WHOLE),
            (insert_publication(follow.publication), _insert_only(plan, follow), _INSERT_ONLY),
        )
        if (tables or name == follow.publication)
        and publication.ensure_publication(connection, source, name, tables, actions)
    ]
    for name in created:
        undo.callback(publication.drop_publication, connection, source, name)
    with work.store() as store:
        update_header(store, publication_created=bool(created))


_INSERT_ONLY = publication.INSERT_ONLY


def _insert_only(plan: PublicationPlan, follow: FollowOptions) -> tuple[Table, ...]:
    return plan.keyless if follow.no_identity is NoIdentity.INSERT_ONLY else ()


def insert_publication(name: str) -> str:
    """Return the name of the second publication, which carries key-less tables (ruling 17)."""
    return f"{name}_insert"


def publications(header: RunHeader, capture: Capture) -> tuple[str, ...]:
    """Return the publications that a run streams from."""
    name = header.publication or "pgcopydb"
    keyless = any(table.keyless for table in capture.tables)
    return (name, insert_publication(name)) if keyless else (name,)


def _set_identity_full(connection: Connection, source: Endpoint, tables: Sequence[Table]) -> None:
    for table in tables:
        name = sql.Identifier(table.schema, table.name)
        with reporting(source, f"setting the replica identity of {table.schema}.{table.name}"):
            connection.execute(sql.SQL("alter table {} replica identity full").format(name))
        log.info("source: set replica identity FULL on %s.%s", table.schema, table.name)


def _refuse_existing_slot(connection: Connection, source: Endpoint, name: str) -> None:
    slot = read_slot(connection, source, name)
    if slot is None:
        return
    raise StateError(
        f'source: replication slot "{name}" already exists',
        hint="if it is left from an earlier migration drop it (stream cleanup with the --dir of"
        " that migration), else choose another with --slot-name",
    )


def _drop_left_by(
    previous: RunHeader | None, connection: Connection, source: Endpoint, facts: ServerFacts
) -> None:
    """Drop what the run that --restart removed had created on this source."""
    if previous is None or previous.source != identify(facts):
        return
    if previous.slot_created and previous.slot_name:
        drop_slot(connection, source, previous.slot_name)
    if previous.publication_created and previous.publication:
        publication.drop_publication(connection, source, previous.publication)
        publication.drop_publication(connection, source, insert_publication(previous.publication))


def _capture_in(source: Endpoint, snapshot: str, start: int) -> Capture:
    """Return what is followed, as the slot's own snapshot shows it."""
    with connect(source, purpose="setup", autocommit=False) as connection:
        with reporting(source, "importing the slot's snapshot"):
            connection.execute("set transaction isolation level repeatable read, read only")
            connection.execute(sql.SQL("set transaction snapshot {}").format(snapshot))
        facts = _facts(connection, source)
        tables = _tables(connection, source)
    return Capture(
        start=start,
        encoding=facts.encoding,
        version_num=facts.version_num,
        tables=fingerprint(tables),
    )


def fingerprint(tables: Sequence[Table]) -> tuple[FollowedTable, ...]:
    """Return the followed tables with all of their shape that the stream rests on."""
    keyless = {table.oid for table in plan_publication(tables).keyless}
    return tuple(
        FollowedTable(
            schema=table.schema,
            name=table.name,
            columns=tuple(_column_text(column) for column in table.columns),
            identity=_identity_columns(table),
            full=table.replica_identity is ReplicaIdentity.FULL,
            keyless=table.oid in keyless,
            filenode=table.filenode,
        )
        for table in tables
        if is_followed(table)
    )


def _identity_columns(table: Table) -> tuple[str, ...]:
    if table.replica_identity is ReplicaIdentity.FULL:
        return tuple(column.name for column in table.copied_columns)
    return table.identity_columns


def _column_text(column: Column) -> str:
    null = " not null" if column.not_null else ""
    default = f" default {column.default}" if column.default else ""
    return f"{column.name} {column.type}{null}{default}"


def read_capture(work: WorkDirectory) -> Capture:
    """Return what this migration captures; raise StateError when none was set up."""
    with work.store() as store:
        capture = read_fact(store, CAPTURE_FACT, Capture)
    if not isinstance(capture, Capture):
        raise StateError(
            "no change capture has been set up in this work directory",
            hint="set one up with clone --follow, snapshot --follow or stream setup",
        )
    return capture


def refuse_drift(connection: Connection, source: Endpoint, capture: Capture) -> None:
    """Raise StateError when a followed table changed in a way that the stream does not carry."""
    found = differences(capture.tables, fingerprint(_tables(connection, source)))
    if found:
        raise StateError(
            "source: the tables changed while they were followed, which the stream does not carry: "
            + "; ".join(found[:5]),
            hint="what was applied is right up to that change, but the target may differ after"
            " it: compare it, or clone again",
        )


def refuse_other_source(work: WorkDirectory, source: Endpoint) -> None:
    """Raise StateError when the source is not the server that this migration began on."""
    header = work.header()
    if header is None or header.source is None:
        return
    with connect(source, purpose="check") as connection:
        facts = _facts(connection, source)
    if identify(facts) != header.source:
        raise StateError(
            f"{work.path} belongs to a migration of another source database",
            hint="give the --source of that migration, or another --dir",
        )
    if header.source_timeline is not None and facts.timeline != header.source_timeline:
        raise StateError(
            f"source: the server is on timeline {facts.timeline}, the migration began on"
            f" timeline {header.source_timeline}",
            hint="after a failover the slot's changes cannot be trusted: clone again",
        )


def prepare_target(work: WorkDirectory, target: Endpoint) -> None:
    """Create on the target what records how far it is applied, unless that is done already.

    Decides once a run between origin and progress row (ruling 22), and lets apply begin by writing
    that down only when the origin stands where it must. Raises StateError when an origin of that
    name belongs to somebody else.
    """
    header = work.header()
    if header is None or header.consistent_point is None:
        raise StateError(
            "no change capture has been set up in this work directory",
            hint="set one up with clone --follow, snapshot --follow or stream setup",
        )
    with connect(target, purpose="setup") as connection:
        refuse_other_target(header, _facts(connection, target))
        if header.progress is not None:
            return
        with reporting(target, "creating the schema pgcopydb"):
            helper_schema.create_helper_schema(connection, header.run_id)
        kind = _create_progress(header, connection, target)
        facts = _facts(connection, target)
    with work.store() as store:
        update_header(store, progress=kind, origin_created=kind == "origin", target=identify(facts))


def _create_progress(header: RunHeader, connection: Connection, target: Endpoint) -> str:
    assert header.consistent_point is not None
    assert header.origin is not None
    if not progress.may_use_origins(connection):
        log.warning("target: the role may not use replication origins; progress is kept in a table")
        progress.create_progress_row(connection, target, header.run_id, header.consistent_point)
        return "table"
    if progress.read_origin(connection, target, header.origin) is not None:
        if not _owns_origin(connection, target, header):
            raise StateError(
                f'target: replication origin "{header.origin}" exists and belongs to another run',
                hint="choose another with --origin, or drop it with stream cleanup and the --dir"
                " of that migration",
            )
        progress.drop_origin(connection, target, header.origin)
    with reporting(target, "recording the origin"):
        connection.execute(
            "update pgcopydb.run set origin = %s where run_id = %s",
            (header.origin, header.run_id),
        )
    progress.create_origin(connection, target, header.origin, header.consistent_point)
    return "origin"


def _owns_origin(connection: Connection, target: Endpoint, header: RunHeader) -> bool:
    with reporting(target, "reading the origin's owner"):
        row = connection.execute(
            "select from pgcopydb.run where run_id = %s and origin = %s",
            (header.run_id, header.origin),
        ).fetchone()
    return row is not None


def refuse_other_target(header: RunHeader, facts: ServerFacts) -> None:
    """Raise StateError when the target is not the one that this migration writes to."""
    if header.target is not None and header.target != identify(facts):
        raise StateError(
            "the work directory belongs to a migration to another target database",
            hint="give the --target of that migration, or another --dir",
        )


def setup(work: WorkDirectory, source: Endpoint, target: Endpoint, follow: FollowOptions) -> None:
    """``stream setup``: make sure that slot, sentinel and origin are there."""
    header = work.header()
    if header is None or header.consistent_point is None:
        if not follow.create_slot:
            raise StateError(
                "no change capture has been set up in this work directory",
                hint="run snapshot --follow first, so that the copy and the changes meet, or give"
                " --create-slot",
            )
        with create_capture(work, source, follow):
            pass
    prepare_target(work, target)


def cleanup(work: WorkDirectory, source: Endpoint, target: Endpoint, follow: FollowOptions) -> None:  # noqa: ARG001 - the names are the header's
    """``stream cleanup``: remove from both servers what this migration created there, only that."""
    header = work.header()
    if header is None:
        raise StateError(
            f"{work.path} holds no migration to clean up after",
            hint="give the --dir of the migration",
        )
    with connect(source, purpose="cleanup") as connection:
        if header.source not in {None, identify(_facts(connection, source))}:
            raise StateError(
                f"{work.path} belongs to a migration of another source database",
                hint="give the --source of that migration",
            )
        _drop_left_by(header, connection, source, _facts(connection, source))
    with connect(target, purpose="cleanup") as connection:
        refuse_other_target(header, _facts(connection, target))
        if header.origin_created and header.origin:
            progress.drop_origin(connection, target, header.origin)
        with reporting(target, "dropping the schema pgcopydb"):
            helper_schema.drop_helper_schema(connection, header.run_id)
    with work.store() as store:
        update_header(store, slot_created=False, publication_created=False, origin_created=False)
    log.info("removed slot, publication, origin and the schema pgcopydb")


def enable_apply(work: WorkDirectory) -> None:
    """Say in the sentinel that the base copy is done and changes may be applied."""
    with work.store() as store:
        if read_sentinel(store) is not None:
            update_sentinel(store, apply=1)
