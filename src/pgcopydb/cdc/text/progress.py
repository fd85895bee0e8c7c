"""How far SQL text is applied to a target: by an origin, or a row where the role may not use one.

There is no work directory here, so the target alone says whose the origin is: the helper schema
notes each origin that this program made, and of which source the changes are.
"""

import logging
from typing import Any, Final

import psycopg

from pgcopydb.errors import StateError
from pgcopydb.lsn import parse_lsn
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres import helper_schema, origin, progress
from pgcopydb.postgres.connect import reporting

log = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]

_RUN: Final = "sql "


def open_progress(connection: Connection, target: Endpoint, name: str) -> progress.Progress:
    """Make sure that the target records what is applied under the origin ``name``; return how.

    A new origin stands at 0/0 until the first transaction sets it. Raises StateError when an origin
    of that name is not known to be this program's.
    """
    run_id = _RUN + name
    if not origin.may_use_origins(connection):
        _note_run(connection, target, name)
        progress.create_progress_row(connection, target, run_id, 0)
        with reporting(target, "setting up the apply session"):
            # the row counts as durable when it is committed, whatever the database's own setting
            connection.execute("set synchronous_commit to on")
        return progress.TableProgress(connection, target, run_id)
    position = origin.read_origin(connection, target, name)
    known = position is not None and _is_known(connection, target, name)
    if position and not known:
        raise StateError(
            f'target: replication origin "{name}" is in use by something else',
            hint="choose another with --origin",
        )
    if not known:
        _note_run(connection, target, name)
        _forget_source(connection, target, name)
        origin.drop_origin(connection, target, name)  # one that stands at 0/0 was never used
        origin.create_origin(connection, target, name, 0)
    with reporting(target, "setting up the apply session"):
        # a commit that is lost with the server is lost with its position (correctness M2)
        connection.execute("set synchronous_commit to off")
    return origin.OriginProgress(connection, target, name)


def applied_position(connection: Connection, target: Endpoint, name: str) -> int:
    """Return the position up to which the target has applied, durably; 0 before it began."""
    if origin.may_use_origins(connection):
        return origin.applied_position(connection, target, name) or 0
    with reporting(target, "reading the progress row"):
        if not helper_schema.helper_schema_exists(connection):
            return 0
        row = connection.execute(
            "select lsn::text from pgcopydb.progress where run_id = %s", (_RUN + name,)
        ).fetchone()
    return parse_lsn(row[0]) if row else 0


def claim_source(connection: Connection, target: Endpoint, name: str, source: str) -> None:
    """Note that the origin ``name`` holds positions of the database ``source``.

    Raises StateError when it holds those of another: positions of two servers cannot be compared,
    and changes would be taken for applied that are not.
    """
    with reporting(target, "reading the origin's source"):
        if not helper_schema.helper_schema_exists(connection):
            return
        row = connection.execute(
            "select run_id, source_system_identifier from pgcopydb.run where origin = %s",
            (name,),
        ).fetchone()
        if row is None:
            return
        run_id, known = row
        if known is None and run_id.startswith(_RUN):
            connection.execute(
                "update pgcopydb.run set source_system_identifier = %s where run_id = %s",
                (source, run_id),
            )
    if known is not None and known != source:
        raise StateError(
            f'target: replication origin "{name}" holds positions of another source database',
            hint="choose another with --origin; the changes of one source need one of their own",
        )


def _note_run(connection: Connection, target: Endpoint, name: str) -> None:
    with reporting(target, "creating the schema pgcopydb"):
        helper_schema.create_helper_schema(connection, _RUN + name)
        connection.execute(
            "update pgcopydb.run set origin = %s where run_id = %s", (name, _RUN + name)
        )


def _forget_source(connection: Connection, target: Endpoint, name: str) -> None:
    """An origin of this name is gone, and with it what its positions were about."""
    with reporting(target, "recording the origin"):
        connection.execute(
            "update pgcopydb.run set source_system_identifier = null where run_id = %s",
            (_RUN + name,),
        )


def _is_known(connection: Connection, target: Endpoint, name: str) -> bool:
    with reporting(target, "reading the origin's owner"):
        if not helper_schema.helper_schema_exists(connection):
            return False
        row = connection.execute("select from pgcopydb.run where origin = %s", (name,)).fetchone()
    return row is not None
