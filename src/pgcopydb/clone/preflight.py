"""What must be true before anything is written to the target."""

from typing import Any

from psycopg import Connection

from pgcopydb.errors import ConfigurationError, TargetError, some_of
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import ServerFacts
from pgcopydb.model.options import CopyOptions
from pgcopydb.postgres import discover, helper_schema
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.large_objects import any_there
from pgcopydb.postgres.snapshot import patiently

Session = Connection[tuple[Any, ...]]

_PATIENCE = 5.0
"""Seconds to wait for tables that a statement of the application wants for itself."""


def refuse_same_database(source: ServerFacts, target: ServerFacts) -> None:
    """Raise ConfigurationError when both sides are one and the same database."""
    same_cluster = (
        source.system_identifier == target.system_identifier
        if source.system_identifier is not None and target.system_identifier is not None
        # A role that may not read the control file still sees when the server was started.
        else (source.started_at, source.version) == (target.started_at, target.version)
    )
    # A standby has its primary's identity too, and the copy would go into what it reads.
    if same_cluster and source.database_oid == target.database_oid:
        raise ConfigurationError(
            f'source and target are the same database "{target.database}"',
            hint="check --source and --target",
        )


def refuse_unwritable(target: ServerFacts) -> None:
    """Raise TargetError when the target is a standby."""
    if target.in_recovery:
        raise TargetError(
            "target: the server is a standby and takes no writes",
            hint="give the primary as --target, or promote the server first",
        )


def refuse_hidden_rows(endpoint: Endpoint, connection: Session) -> None:
    """Raise ConfigurationError when the role cannot read every row of the source's tables."""
    with reporting(endpoint, "reading the list of tables"), connection.transaction():
        # sizes are read under a lock, and the snapshot to copy from may hold back its owner
        tables = patiently(connection, lambda: discover.list_tables(connection), patience=_PATIENCE)
    discover.check_visible(table for table in tables if table.has_rows)


def refuse_unfit_role(endpoint: Endpoint, connection: Session, target: ServerFacts) -> None:
    """Raise TargetError when this program's own schema cannot be made on the target."""
    with reporting(endpoint, "reading the role's privileges"):
        row = connection.execute(
            "select pg_catalog.has_database_privilege(pg_catalog.current_database(), 'create')"
        ).fetchone()
        helper_schema.helper_schema_exists(connection)
    if row is None or not row[0]:
        raise TargetError(
            f'target: role "{target.role}" has no permission to create schemas in database'
            f' "{target.database}"',
            hint=f'GRANT CREATE ON DATABASE "{target.database}" TO "{target.role}", or use its'
            " owner",
        )


def refuse_not_empty(endpoint: Endpoint, connection: Session, options: CopyOptions) -> None:
    """Raise TargetError (exit status 7) when the target holds tables or large objects already.

    Rows of somebody else must neither be mixed with the copy nor be dropped unasked. What belongs
    to extensions, and this program's own schema, does not count.
    """
    if options.drop_if_exists:
        return
    with reporting(endpoint, "reading the list of tables"):
        tables = discover.list_tables(connection)
        objects = not options.skip_large_objects and any_there(connection)
    if not tables and not objects:
        return
    if not tables:
        raise _not_empty("large objects")
    raise _not_empty(some_of([f"{table.schema}.{table.name}" for table in tables]))


def refuse_taken_names(
    source: Endpoint, reading: Session, target: Endpoint, writing: Session, options: CopyOptions
) -> None:
    """Raise TargetError when the target has a function, type, view or the like of the source.

    pg_restore would fail there, with half of the schema made. A schema dump that was interrupted in
    another work directory leaves such objects without any table.
    """
    if options.drop_if_exists:
        return
    with reporting(target, "reading the list of functions, types and views"):
        present = discover.list_named_objects(writing)
    if not present:
        return
    with reporting(source, "reading the list of functions, types and views"):
        wanted = set(discover.list_named_objects(reading))
    taken = [name for name in present if name in wanted]
    if taken:
        raise _not_empty(some_of(taken))


def _not_empty(what: str) -> TargetError:
    return TargetError(
        f"target: the database is not empty: it has {what}",
        hint="give an empty database as --target, or --drop-if-exists to replace what both sides"
        " have, or --resume to go on with a copy that was interrupted",
    )
