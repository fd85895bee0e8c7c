"""What a migration keeps on the target about what it has applied."""

import logging
from collections.abc import Sequence
from typing import Any, Final

import psycopg

from pgcopydb.cdc.capture import identify, read_capture, read_facts
from pgcopydb.cdc.silence import silence_triggers
from pgcopydb.errors import StateError, TargetError, some_of
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.findings import Name
from pgcopydb.model.objects import ServerFacts, UnwritableTable
from pgcopydb.postgres import discover, helper_schema, origin, progress
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.preflight.text import statement_text
from pgcopydb.rules.readiness.wording import grant
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.store import RunHeader, update_header

log = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]

_NAMED_ONE_BY_ONE: Final = 5
"""Tables that a hint names in its GRANT; where there are more, it names their schemas."""


def prepare_target(work: WorkDirectory, target: Endpoint) -> None:
    """Create on the target what records how far it is applied, unless that is done already.

    Decides once a run between origin and progress row (ruling 22), and lets apply begin by writing
    that down only when the origin stands where it must. Raises StateError when an origin of that
    name belongs to somebody else, TargetError when the role may not write a followed table.
    """
    header = work.header()
    if header is None or header.consistent_point is None:
        raise StateError(
            "no change capture has been set up in this work directory",
            hint="set one up with clone --follow, snapshot --follow or stream setup",
        )
    with connect(target, purpose="setup") as connection:
        refuse_other_target(header, read_facts(connection, target))
        _refuse_unwritable(work, connection, target)
        if header.progress is not None:
            # a follow that ended before has given the triggers back
            silence_triggers(work, target)
            return
        with reporting(target, "creating the schema pgcopydb"):
            helper_schema.create_helper_schema(connection, header.run_id)
        kind = _create_progress(header, connection, target)
        facts = read_facts(connection, target)
    silence_triggers(work, target)
    with work.store() as store:
        update_header(store, progress=kind, target=identify(facts))


def _refuse_unwritable(work: WorkDirectory, connection: Connection, target: Endpoint) -> None:
    """Raise TargetError now rather than at the first change of a table that cannot be written."""
    capture = read_capture(work)
    with reporting(target, "looking whether the tables can be written"):
        found = discover.unwritable_tables(connection, sorted(capture.names()))
    inserted = {(table.schema, table.name) for table in capture.tables if table.keyless}
    found = [
        table
        for table in found
        if not table.may_use_schema
        or (table.schema, table.name) not in inserted
        or "INSERT" in table.lacking
    ]
    if found:
        names = [f"{table.schema}.{table.name}" for table in found]
        raise TargetError(
            f"target: the role {connection.info.user} may not write {some_of(names)}",
            hint=f"let it, and run this again: {_grants(connection.info.user, found)}",
        )


def _grants(role: str, found: Sequence[UnwritableTable]) -> str:
    """Return what lets ``role`` write tables that it may not write."""
    schemas = sorted({table.schema for table in found if not table.may_use_schema})
    lacking = [table for table in found if table.lacking]
    what, objects = "TABLE", [Name(table.schema, table.name) for table in lacking]
    if len(objects) > _NAMED_ONE_BY_ONE:
        within = sorted({table.schema for table in lacking})
        what, objects = "ALL TABLES IN SCHEMA", [Name(schema) for schema in within]
    wanted = (
        ("USAGE ON SCHEMA", [Name(schema) for schema in schemas]),
        (f"SELECT, INSERT, UPDATE, DELETE ON {what}", objects),
    )
    statements = [grant(right, those, role) for right, those in wanted if those]
    return " ".join(map(statement_text, statements))


def _create_progress(header: RunHeader, connection: Connection, target: Endpoint) -> str:
    assert header.consistent_point is not None
    assert header.origin is not None
    if not origin.may_use_origins(connection):
        log.warning("target: the role may not use replication origins; progress is kept in a table")
        progress.create_progress_row(connection, target, header.run_id, header.consistent_point)
        return "table"
    if origin.read_origin(connection, target, header.origin) is not None:
        if not _owns_origin(connection, target, header):
            raise _foreign_origin(header.origin)
        origin.drop_origin(connection, target, header.origin)
    with reporting(target, "recording the origin"):
        connection.execute(
            "update pgcopydb.run set origin = %s where run_id = %s",
            (header.origin, header.run_id),
        )
    origin.create_origin(connection, target, header.origin, header.consistent_point)
    return "origin"


def refuse_foreign_origin(target: Endpoint, name: str, header: RunHeader | None = None) -> None:
    """Raise StateError when an origin of that name is there and is not that of ``header``."""
    with connect(target, purpose="check") as connection:
        if not origin.may_use_origins(connection):
            return
        if origin.read_origin(connection, target, name) is None:
            return
        with reporting(target, "looking for the schema pgcopydb"):
            known = helper_schema.helper_schema_exists(connection)
        if header is None or not known or not _owns_origin(connection, target, header):
            raise _foreign_origin(name)


def _foreign_origin(name: str) -> StateError:
    return StateError(
        f'target: replication origin "{name}" exists and belongs to another run',
        hint="if that migration is over, drop it with stream cleanup and its --dir, or by hand:"
        f" SELECT pg_replication_origin_drop('{name}'); else choose another with --origin",
    )


def _owns_origin(connection: Connection, target: Endpoint, header: RunHeader) -> bool:
    with reporting(target, "reading the origin's owner"):
        row = connection.execute(
            "select from pgcopydb.run where run_id = %s and origin = %s",
            (header.run_id, header.origin),
        ).fetchone()
    return row is not None


def drop_left_by(previous: Sequence[RunHeader], target: Endpoint) -> None:
    """Drop from the target what the runs that ``--restart`` removed keep there.

    Nothing is done for one that was about another target.
    """
    if not previous:
        return
    with connect(target, purpose="cleanup") as connection:
        here = identify(read_facts(connection, target))
        for one in previous:
            if one.target in {None, here}:
                drop_run(one, connection, target)


def drop_run(header: RunHeader, connection: Connection, target: Endpoint) -> None:
    """Drop the origin that a run owns on this target, and its part of the helper schema."""
    with reporting(target, "looking for the schema pgcopydb"):
        if not helper_schema.helper_schema_exists(connection):
            return
    if header.origin and _owns_origin(connection, target, header):
        origin.drop_origin(connection, target, header.origin)
    with reporting(target, "dropping the schema pgcopydb"):
        helper_schema.drop_helper_schema(connection, header.run_id)


def refuse_other_target(header: RunHeader, facts: ServerFacts) -> None:
    """Raise StateError when the target is not the one that this migration writes to."""
    if header.target is not None and header.target != identify(facts):
        raise StateError(
            "the work directory belongs to a migration to another target database",
            hint="give the --target of that migration, or another --dir",
        )
