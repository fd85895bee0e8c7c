"""Foreign keys, last: their rows are compared when both tables are whole.

Where the source's own rows violate one (they were written with triggers off), it is created NOT
VALID, as far as the target can, and reported; the run then does not end with status 0.
Where filters leave out rows that one refers to it is made in the same way, as was asked for.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import psycopg
from psycopg import Connection

from pgcopydb.clone.planning.jobs import ForeignKey
from pgcopydb.errors import SqlError, some_of
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import reporting
from pgcopydb.sql.quote import qualified_name
from pgcopydb.workdir.jobs import Job

log = logging.getLogger(__name__)

Session = Connection[tuple[Any, ...]]

Key = tuple[str, str, str]
"""The schema and the name of a table, and the name of its foreign key."""

_PRESENT: Final = (
    "select n.nspname::text, c.relname::text, k.conname::text"
    " from pg_catalog.pg_constraint as k"
    " join pg_catalog.pg_class as c on c.oid = k.conrelid"
    " join pg_catalog.pg_namespace as n on n.oid = c.relnamespace"
    " where k.contype = 'f'"
)

_STATE: Final = (
    "select convalidated from pg_catalog.pg_constraint"
    " where conrelid = pg_catalog.to_regclass(%s) and conname = %s and contype = 'f'"
)


def present(target: Endpoint, session: Session) -> frozenset[Key]:
    """Return the foreign keys that are there, checked or not."""
    with reporting(target, "reading the foreign keys"):
        rows = session.execute(_PRESENT.encode()).fetchall()
    return frozenset((schema, table, name) for schema, table, name in rows)


def create(target: Endpoint, session: Session, jobs: Sequence[Job], _repeated: bool) -> None:
    """Create the foreign keys of ``jobs`` and check the rows under each."""
    for job in jobs:
        key = msgspec.json.decode(job.parameters, type=ForeignKey)
        with reporting(target, f'creating foreign key "{key.name}" of {key.schema}.{key.table}'):
            _create(session, key)


def create_unchecked(
    target: Endpoint, session: Session, jobs: Sequence[Job], _repeated: bool
) -> None:
    """Create the foreign keys of ``jobs`` NOT VALID where the target can; new rows are checked."""
    for job in jobs:
        key = msgspec.json.decode(job.parameters, type=ForeignKey)
        with reporting(target, f'creating foreign key "{key.name}" of {key.schema}.{key.table}'):
            if _validated(session, key) is None:
                _run_or_leave_out(session, key, key.create_not_valid or key.create)


def validate(target: Endpoint, session: Session, keys: Sequence[ForeignKey]) -> None:
    """Check the rows under foreign keys that were created without, which blocks no writes.

    One that the server can only have checked, and that was left out, is tried again.
    """
    for key in keys:
        with reporting(target, f'checking foreign key "{key.name}" of {key.schema}.{key.table}'):
            state = _validated(session, key)
            if state is None:
                _run_or_leave_out(session, key, key.create)
            elif not state:
                _validate(session, key)


def unvalidated(target: Endpoint, session: Session, keys: Sequence[ForeignKey]) -> list[ForeignKey]:
    """Return those of ``keys`` that the source counts as valid and the target does not.

    Those that refer to rows which filters leave out do not count.
    """
    counted = [key for key in keys if key.validate is not None and not key.is_gapped]
    with reporting(target, "reading the state of the foreign keys"):
        return [key for key in counted if not _validated(session, key)]


def refuse_unvalidated(target: Endpoint, session: Session, keys: Sequence[ForeignKey]) -> None:
    """Raise SqlError naming the foreign keys that the source counts as valid and the target not."""
    invalid = [
        f'"{key.name}" of {key.schema}.{key.table}' for key in unvalidated(target, session, keys)
    ]
    if invalid:
        raise SqlError(
            f"everything is copied, but rows of the source violate {some_of(invalid)}",
            hint="these foreign keys are NOT VALID on the target: mend the rows, then"
            " ALTER TABLE ... VALIDATE CONSTRAINT; those of partitioned tables are not there at all"
            " before PostgreSQL 18: add them then",
        )


def _create(session: Session, key: ForeignKey) -> None:
    state = _validated(session, key)
    if state is None:
        try:
            _run(session, key, key.create)
        except psycopg.errors.ForeignKeyViolation as error:
            _warn(key, error)
            if key.create_not_valid is not None:
                _run(session, key, key.create_not_valid)
    elif not state:
        _validate(session, key)


def _validate(session: Session, key: ForeignKey) -> None:
    if key.validate is None:
        return
    try:
        session.execute(key.validate.encode())
    except psycopg.errors.ForeignKeyViolation as error:
        _warn(key, error)


def _run_or_leave_out(session: Session, key: ForeignKey, statement: str) -> None:
    try:
        _run(session, key, statement)
    except psycopg.errors.ForeignKeyViolation as error:
        _warn(key, error)


def _warn(key: ForeignKey, error: psycopg.Error) -> None:
    log.warning(
        '%s foreign key "%s" of %s.%s, which %s: %s',
        "filters leave out rows for" if key.is_gapped else "rows of the source violate",
        key.name,
        key.schema,
        key.table,
        "cannot be made" if key.create_not_valid is None else "stays NOT VALID",
        error.diag.message_primary,
    )


def _run(session: Session, key: ForeignKey, statement: str) -> None:
    with session.transaction():
        session.execute(key.lock.encode())
        session.execute(statement.encode())


def _validated(session: Session, key: ForeignKey) -> bool | None:
    """Return whether the foreign key's rows were checked, None when it is not there."""
    row = session.execute(_STATE, (qualified_name(key.schema, key.table), key.name)).fetchone()
    return None if row is None else bool(row[0])
