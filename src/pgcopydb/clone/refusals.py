"""What must be true before a phase writes to the target; a whole clone is checked as a whole."""

from typing import Any

from psycopg import Connection

from pgcopydb.errors import ConfigurationError, TargetError, some_of
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import ServerFacts
from pgcopydb.model.options import CopyOptions
from pgcopydb.postgres import discover, helper_schema
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.large_objects import any_there
from pgcopydb.rules.readiness.servers import is_same_database

Session = Connection[tuple[Any, ...]]


def refuse_same_database(source: ServerFacts, target: ServerFacts) -> None:
    """Raise ConfigurationError when both sides are one and the same database."""
    if is_same_database(source, target):
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
        tables = discover.list_tables(connection, with_columns=False, with_sizes=False)
        objects = not options.skip_large_objects and any_there(connection)
    if not tables and not objects:
        return
    if not tables:
        raise _not_empty("large objects")
    raise _not_empty(some_of([f"{table.schema}.{table.name}" for table in tables]))


def _not_empty(what: str) -> TargetError:
    return TargetError(
        f"target: the database is not empty: it has {what}",
        hint="give an empty database as --target, or --drop-if-exists to replace what both sides"
        " have, or --resume to go on with a copy that was interrupted",
    )
