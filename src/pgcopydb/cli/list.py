"""``pgcopydb list``: what there is to migrate, as a table for people or JSON for programs."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from pgcopydb.cli.command import CommandGroup, OptionGroup, command
from pgcopydb.cli.options import (
    DIRECTORY,
    EXISTING_WORK,
    JSON,
    OPTIONAL_TARGET,
    SKIP_SPLIT_BY_CTID,
    SOURCE,
    SPLIT_MAX_PARTS,
    SPLIT_TABLES,
    flag,
    value,
)
from pgcopydb.cli.types import COUNT
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CopyOptions, WorkOptions
from pgcopydb.runtime import logs

if TYPE_CHECKING:
    from psycopg import Connection

    from pgcopydb.cli.lists import Listing

T = TypeVar("T")

log = logging.getLogger(__name__)

_WITHOUT_PKEY: Final = flag("--without-pkey", help="Only tables that have no primary key.")
_AVAILABLE: Final = flag(
    "--available-versions", help="All versions that could be created on the source's server."
)
_REQUIREMENTS: Final = flag(
    "--requirements",
    help="Only names and versions: with --json, what the option --requirements of clone takes.",
)
_SCHEMA_NAME: Final = value("--schema-name", metavar="NAME", help="Only those of this schema.")
_TABLE_NAME: Final = value("--table-name", metavar="NAME", help="Only those of this table.")
_TABLE_JOBS: Final = value(
    "--table-jobs",
    kind=COUNT,
    default=CopyOptions().table_jobs,
    env="PGCOPYDB_TABLE_JOBS",
    help="Tables, or parts of them, that are to be copied at the same time.",
)

_SUMMARY: Final = flag("--summary", help="What was done, by table and by step.")

_NO_EFFECT: Final = "Accepted for existing scripts: the source is read anew each time."


@dataclass(frozen=True, slots=True)
class _Names:
    """The schema and the table that were asked for, as they are stored; None for all."""

    schema: str | None
    table: str | None

    def take(self, schema: str, table: str) -> bool:
        return self.schema in {None, schema} and self.table in {None, table}


def _names(*, schema_name: str | None, table_name: str | None = None) -> _Names:
    return _Names(schema_name, table_name)


def _reading(
    *, directory: Any, force: bool, restart: bool, resume: bool, not_consistent: bool
) -> WorkOptions:
    del force, restart, resume, not_consistent  # a list changes nothing: see their help
    return WorkOptions(directory=directory)


_WORK: Final = OptionGroup(
    "work",
    (
        DIRECTORY,
        flag("--force", help=_NO_EFFECT),
        flag("--restart", "-r", help=_NO_EFFECT),
        flag("--resume", "-R", help=_NO_EFFECT),
        flag("--not-consistent", "-C", help=_NO_EFFECT),
    ),
    _reading,
)
_OF_SCHEMA: Final = OptionGroup("names", (_SCHEMA_NAME,), _names)
_OF_TABLE: Final = OptionGroup("names", (_SCHEMA_NAME, _TABLE_NAME), _names)


@contextmanager
def _catalogue(server: Endpoint, what: str) -> "Iterator[Connection[tuple[Any, ...]]]":
    """Connect to a server to read the list of ``what``."""
    from pgcopydb.postgres.connect import connect, reporting

    with (
        connect(server, purpose=f"list {what}") as connection,
        reporting(server, f"reading the list of {what}"),
    ):
        yield connection


def _show(listing: "Listing[T]", objects: Sequence[T], *, what: str, as_json: bool) -> None:
    """Print the list; where it is empty a line on stderr says so."""
    text = listing.text(objects, as_json=as_json)
    if text:
        click.echo(text)
    if not objects:
        log.info("no %s found", what)


@command("databases", SOURCE, _WORK, JSON)
def databases(*, source: Endpoint, work: WorkOptions, as_json: bool) -> None:
    """Show the databases of the source's server."""
    from pgcopydb.cli.lists import DATABASES
    from pgcopydb.postgres.discover import list_databases

    del work
    with _catalogue(source, "databases") as connection:
        found = list_databases(connection)
    _show(DATABASES, found, what="databases", as_json=as_json)


@command("extensions", SOURCE, _WORK, _AVAILABLE, _REQUIREMENTS, JSON)
def extensions(
    *,
    source: Endpoint,
    work: WorkOptions,
    available_versions: bool,
    requirements: bool,
    as_json: bool,
) -> None:
    """Show the extensions of the source database.

    With --requirements --json the result is a file for the option --requirements of clone: change
    the versions in it to those that the target's server has.
    """
    from pgcopydb.cli.lists import EXTENSION_VERSIONS, EXTENSIONS, REQUIREMENTS
    from pgcopydb.postgres.discover import list_extension_versions, list_extensions

    if available_versions and requirements:
        raise click.UsageError("--available-versions contradicts --requirements")
    del work
    with _catalogue(source, "extensions") as connection:
        if available_versions:
            offered = list_extension_versions(connection)
            _show(EXTENSION_VERSIONS, offered, what="extensions", as_json=as_json)
            return
        found = list_extensions(connection)
    _show(REQUIREMENTS if requirements else EXTENSIONS, found, what="extensions", as_json=as_json)


@command("collations", SOURCE, _WORK, JSON)
def collations(*, source: Endpoint, work: WorkOptions, as_json: bool) -> None:
    """Show the collations that users created, or that a database, column or index names.

    A version that differs from what the server's libraries have now means that indexes built
    with it may be in the wrong order.
    """
    from pgcopydb.cli.lists import COLLATIONS
    from pgcopydb.postgres.discover import list_collations

    del work
    with _catalogue(source, "collations") as connection:
        found = list_collations(connection)
    _show(COLLATIONS, found, what="collations", as_json=as_json)


@command("tables", SOURCE, _WORK, _OF_TABLE, _WITHOUT_PKEY, JSON)
def tables(
    *, source: Endpoint, work: WorkOptions, names: _Names, without_pkey: bool, as_json: bool
) -> None:
    """Show the tables that hold rows, with their sizes without indexes."""
    from pgcopydb.cli.lists import TABLES
    from pgcopydb.postgres.discover import list_tables

    del work
    with _catalogue(source, "tables") as connection:
        found = [
            table
            for table in list_tables(connection)
            if table.has_rows
            and names.take(table.schema, table.name)
            and not (without_pkey and table.key_columns)
        ]
    _show(TABLES, found, what="tables", as_json=as_json)


@command(
    "table-parts",
    SOURCE,
    _WORK,
    _OF_TABLE,
    SPLIT_TABLES,
    SPLIT_MAX_PARTS,
    SKIP_SPLIT_BY_CTID,
    _TABLE_JOBS,
    JSON,
)
def table_parts(
    *,
    source: Endpoint,
    work: WorkOptions,
    names: _Names,
    as_json: bool,
    **splitting: Any,
) -> None:
    """Show the parts in which a copy with the same options would copy the tables.

    Without --split-tables-larger-than the parts depend on the sizes of all tables and on the
    number of jobs.
    """
    from pgcopydb.cli.lists import TABLE_PARTS, TablePart
    from pgcopydb.clone.preview import planned_parts

    del work
    found = planned_parts(
        source,
        CopyOptions(**splitting),
        copied=lambda _: True,
        shown=lambda table: names.take(table.schema, table.name),
    )
    parts = [TablePart(table, part) for table, cut in found for part in cut]
    _show(TABLE_PARTS, parts, what="tables", as_json=as_json)


@command("sequences", SOURCE, _WORK, _OF_SCHEMA, JSON)
def sequences(*, source: Endpoint, work: WorkOptions, names: _Names, as_json: bool) -> None:
    """Show the sequences, and where they stand now."""
    from pgcopydb.cli.lists import SEQUENCES, StandingSequence
    from pgcopydb.postgres.discover import list_sequences, sequence_values

    del work
    with _catalogue(source, "sequences") as connection:
        found = [one for one in list_sequences(connection) if names.take(one.schema, one.name)]
        values = sequence_values(connection, (one for one in found if one.readable))
    standing = {value.oid: value for value in values}
    _show(
        SEQUENCES,
        [StandingSequence(one, standing.get(one.oid)) for one in found],
        what="sequences",
        as_json=as_json,
    )


@command("indexes", SOURCE, _WORK, _OF_TABLE, JSON)
def indexes(*, source: Endpoint, work: WorkOptions, names: _Names, as_json: bool) -> None:
    """Show the indexes, with the constraints that they serve."""
    from pgcopydb.cli.lists import INDEXES
    from pgcopydb.postgres.discover import list_indexes

    del work
    with _catalogue(source, "indexes") as connection:
        found = [
            index
            for index in list_indexes(connection)
            if names.take(index.table_schema, index.table_name)
        ]
    _show(INDEXES, found, what="indexes", as_json=as_json)


@command("progress", OPTIONAL_TARGET, EXISTING_WORK, _SUMMARY, JSON)
def progress(*, target: Endpoint | None, work: WorkOptions, summary: bool, as_json: bool) -> None:
    """Show how far the base copy in a work directory is, while it runs and afterwards.

    With --target the target says how far the indexes are that it is building. With --summary
    shows what was done so far, table by table and step by step.
    """
    from pgcopydb.cli.progress import copy_progress, summary_json
    from pgcopydb.cli.render import clone_summary
    from pgcopydb.clone.progress import measure, with_index_builds
    from pgcopydb.clone.summary import summarize
    from pgcopydb.postgres.discover import list_index_builds
    from pgcopydb.workdir.directory import attach_directory

    with attach_directory(work) as directory:
        if summary:
            done = summarize(directory)
            every = logs.current().verbose
            click.echo(summary_json(done) if as_json else clone_summary(done, all_tables=every))
            return
        measured = measure(directory)
    if target is not None and measured.under_way:
        with _catalogue(target, "indexes under way") as connection:
            measured = with_index_builds(measured, list_index_builds(connection))
    click.echo(copy_progress(measured, as_json=as_json))


list_ = CommandGroup(
    "list",
    help="Show what there is to migrate, and how far it is.",
    commands=[
        databases,
        extensions,
        collations,
        tables,
        table_parts,
        sequences,
        indexes,
        progress,
    ],
)
