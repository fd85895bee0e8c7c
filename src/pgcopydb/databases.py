"""All databases of a server, one after another, each a migration with a work directory of its own.

::

    DIR/                      locked by ``clone --all-databases``
      databases/<oid>/        the work directory of the database with that oid on the source

One that fails does not keep the others from being copied, unless --fail-fast says so.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, LiteralString

from msgspec import Struct
from msgspec.structs import replace
from psycopg import Connection

from pgcopydb.clone.roles import copy_roles
from pgcopydb.errors import ConfigurationError, IncompleteError, Interrupted, PgcopydbError
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import Database
from pgcopydb.model.options import CopyOptions, WorkOptions
from pgcopydb.model.results import DatabaseOutcome
from pgcopydb.online import clone
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.discover import list_databases
from pgcopydb.postgres.parameters import with_database
from pgcopydb.runtime.signals import stop_on_signals
from pgcopydb.sql.database import create_database
from pgcopydb.workdir.directory import WorkDirectory, default_directory, open_directory

log = logging.getLogger(__name__)

Session = Connection[tuple[Any, ...]]

Watching = Callable[[WorkDirectory, Endpoint], AbstractContextManager[object]]

_COMMAND: Final = "clone"


def clone_all(
    work: WorkDirectory,
    options: WorkOptions,
    source: Endpoint,
    target: Endpoint,
    copy: CopyOptions,
    *,
    watching: Watching = lambda *_: nullcontext(),
) -> list[DatabaseOutcome]:
    """Copy every database of the source but its templates; make those that the target lacks.

    ``options`` are those that ``work`` was opened with: they hold for each database. Roles come
    first, once. ``watching`` gives what is to go on beside the copy of each database. Raises the
    error of what concerns all of them.
    """
    outcomes: list[DatabaseOutcome] = []
    with stop_on_signals():
        databases = _databases(source)
        if copy.roles:
            copy_roles(source, target, copy)
            copy = replace(copy, roles=False)
        for number, database in enumerate(databases, start=1):
            log.info("database %s (%d of %d)", database.name, number, len(databases))
            outcome = _clone(work, options, database, (source, target), copy, watching=watching)
            outcomes.append(outcome)
            if outcome.error is not None and copy.fail_fast:
                break
    return outcomes


def refuse_failures(outcomes: list[DatabaseOutcome]) -> None:
    """Raise the first error, with the number of databases that failed, when there is one."""
    failed = [one for one in outcomes if one.error is not None]
    if not failed:
        return
    first = failed[0].error
    assert first is not None
    raise IncompleteError(
        f"{len(failed)} of {len(outcomes)} databases were not copied:"
        f' "{failed[0].name}": {first.message}',
        hint=first.hint,
        status=first.status,
    ) from first


class DatabasePair(Struct, frozen=True, kw_only=True):
    """A database of each side by its name; a side that lacks it is None.

    ``work`` is where a clone of all databases keeps this one, if it is there.
    """

    name: str
    source: Endpoint | None
    target: Endpoint | None
    work: WorkOptions


def pair_databases(work: WorkOptions, source: Endpoint, target: Endpoint) -> list[DatabasePair]:
    """Return all databases of both servers but templates, by name; ``work`` is of all of them."""
    ours = {one.name: one for one in _databases(source)}
    theirs = {one.name for one in _databases(target)}
    path = work.directory or default_directory()
    pairs = []
    for name in sorted(ours.keys() | theirs):
        directory = path / "databases" / f"{ours[name].oid:d}" if name in ours else path
        pairs.append(
            DatabasePair(
                name=name,
                source=with_database(source, name) if name in ours else None,
                target=with_database(target, name) if name in theirs else None,
                work=WorkOptions(directory=directory if directory.exists() else None),
            )
        )
    return pairs


def _databases(server: Endpoint) -> list[Database]:
    with (
        connect(server, purpose="list databases") as connection,
        reporting(server, "reading the list of databases"),
    ):
        found = list_databases(connection)
    wanted = [one for one in found if one.allows_connections and not one.is_template]
    return sorted(wanted, key=lambda one: one.name)


def _clone(
    work: WorkDirectory,
    options: WorkOptions,
    database: Database,
    sides: tuple[Endpoint, Endpoint],
    copy: CopyOptions,
    *,
    watching: Watching,
) -> DatabaseOutcome:
    source, target = sides
    own = replace(options, directory=work.path / "databases" / f"{database.oid:d}")
    try:
        _make_missing(target, database, copy)
        with open_directory(own, command=_COMMAND) as directory:
            header = directory.header()
            if header is not None and header.copy_finished:
                return DatabaseOutcome(name=database.name)
            source, target = (with_database(side, database.name) for side in sides)
            with watching(directory, target):
                summary = clone(directory, source, target, copy)
    except Interrupted:
        raise
    except PgcopydbError as error:
        log.error('database "%s": %s', database.name, error.message)
        return DatabaseOutcome(name=database.name, error=error)
    return DatabaseOutcome(name=database.name, summary=summary)


def _make_missing(target: Endpoint, database: Database, copy: CopyOptions) -> None:
    with connect(target, purpose="create database") as connection:
        with reporting(target, "reading the list of databases"):
            if any(one.name == database.name for one in list_databases(connection)):
                return
            roles = _names(connection, "select rolname from pg_catalog.pg_roles")
            tablespaces = _names(connection, "select spcname from pg_catalog.pg_tablespace")
        if not copy.no_owner and database.owner not in roles:
            raise ConfigurationError(
                f'target: role "{database.owner}", who owns database "{database.name}", is not'
                " there",
                hint="create it, copy the roles too with --roles, or leave owners out with"
                " --no-owner",
            )
        if not copy.no_tablespaces and database.tablespace not in tablespaces:
            raise ConfigurationError(
                f'target: tablespace "{database.tablespace}" of database "{database.name}" is not'
                " there",
                hint="create it (CREATE TABLESPACE ... LOCATION ...), or leave tablespaces out with"
                " --no-tablespaces",
            )
        statement = create_database(
            database,
            owner=not copy.no_owner,
            tablespace=not copy.no_tablespaces,
            version_num=connection.info.server_version,
        )
        with reporting(target, f'creating database "{database.name}"'):
            connection.execute(statement.encode())


def _names(connection: Session, select: LiteralString) -> set[str]:
    return {row[0] for row in connection.execute(select)}
