"""``pgcopydb list``: what there is to migrate, as a table for people or JSON for programs."""

from typing import Any, Final

import click

from pgcopydb.cli.command import CommandGroup, command
from pgcopydb.cli.groups import SOURCE
from pgcopydb.cli.list_progress import progress
from pgcopydb.cli.listing import (
    OF_SCHEMA,
    OF_TABLE,
    SELECTED,
    SERVER,
    Scope,
    catalogue,
    filters_in_force,
    given_filters,
    show,
)
from pgcopydb.cli.options import (
    ESTIMATE_TABLE_SIZES,
    JSON,
    SKIP_SPLIT_BY_CTID,
    SPLIT_MAX_PARTS,
    SPLIT_TABLES,
    flag,
    value,
)
from pgcopydb.cli.types import AT_ONCE
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CopyOptions

_WITHOUT_PKEY: Final = flag("--without-pkey", help="Only tables that have no primary key.")
_SKIPPED: Final = flag(
    "--list-skipped", help="Only tables that the filters leave out, or whose rows they leave out."
)
_AVAILABLE: Final = flag(
    "--available-versions", help="All versions that could be created on the source's server."
)
_REQUIREMENTS: Final = flag(
    "--requirements",
    help="Only names and versions: with --json, what the option --requirements of clone takes.",
)
_TABLE_JOBS: Final = value(
    "--table-jobs",
    kind=AT_ONCE,
    default=CopyOptions().table_jobs,
    env="PGCOPYDB_TABLE_JOBS",
    help="Tables, or parts of them, that are to be copied at the same time.",
)


@command("databases", SOURCE, SERVER, JSON)
def databases(*, source: Endpoint, scope: Scope, as_json: bool) -> None:
    """Show the databases of the source's server."""
    from pgcopydb.cli.lists import DATABASES
    from pgcopydb.postgres.discover import list_databases

    del scope
    with catalogue(source, "databases") as connection:
        found = list_databases(connection)
    show(DATABASES, found, what="databases", as_json=as_json)


@command("extensions", SOURCE, SELECTED, _AVAILABLE, _REQUIREMENTS, JSON)
def extensions(
    *,
    source: Endpoint,
    scope: Scope,
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
    with catalogue(source, "extensions") as connection:
        if available_versions:
            offered = list_extension_versions(connection)
            show(EXTENSION_VERSIONS, offered, what="extensions", as_json=as_json)
            return
        filters = filters_in_force(source, connection, scope)
        found = [one for one in list_extensions(connection) if filters.selects_extension(one.name)]
    show(REQUIREMENTS if requirements else EXTENSIONS, found, what="extensions", as_json=as_json)


@command("collations", SOURCE, SERVER, JSON)
def collations(*, source: Endpoint, scope: Scope, as_json: bool) -> None:
    """Show the collations that users created, or that a database, column or index names.

    A version that differs from what the server's libraries have now means that indexes built
    with it may be in the wrong order.
    """
    from pgcopydb.cli.lists import COLLATIONS
    from pgcopydb.postgres.discover import list_collations

    del scope
    with catalogue(source, "collations") as connection:
        found = list_collations(connection)
    show(COLLATIONS, found, what="collations", as_json=as_json)


@command("tables", SOURCE, OF_TABLE, _WITHOUT_PKEY, _SKIPPED, JSON)
def tables(
    *, source: Endpoint, scope: Scope, without_pkey: bool, list_skipped: bool, as_json: bool
) -> None:
    """Show the tables that hold rows, with their sizes without indexes."""
    from pgcopydb.cli.lists import TABLES
    from pgcopydb.postgres.discover import list_tables

    with catalogue(source, "tables") as connection:
        filters = filters_in_force(source, connection, scope)
        found = [
            table
            for table in list_tables(connection, with_columns=False)
            if table.has_rows
            and scope.names(table.schema, table.name)
            and filters.copies_data(table.schema, table.name) != list_skipped
            and not (without_pkey and table.key_columns)
        ]
    show(TABLES, found, what="tables", as_json=as_json)


@command(
    "table-parts",
    SOURCE,
    OF_TABLE,
    SPLIT_TABLES,
    SPLIT_MAX_PARTS,
    ESTIMATE_TABLE_SIZES,
    SKIP_SPLIT_BY_CTID,
    _TABLE_JOBS,
    JSON,
)
def table_parts(
    *,
    source: Endpoint,
    scope: Scope,
    as_json: bool,
    **splitting: Any,
) -> None:
    """Show the parts in which a clone with the same options would copy the tables.

    Without --split-tables-larger-than tables of up to 1 GB stay whole, and the parts of larger ones
    depend on the sizes of all tables and on the number of jobs.
    """
    from pgcopydb.cli.lists import TABLE_PARTS, TablePart
    from pgcopydb.clone.preview import planned_parts

    found = planned_parts(
        source,
        CopyOptions(**splitting),
        given_filters(scope),
        shown=lambda table: scope.names(table.schema, table.name),
    )
    parts = [TablePart(table, part) for table, cut in found for part in cut]
    show(TABLE_PARTS, parts, what="tables", as_json=as_json)


@command("sequences", SOURCE, OF_SCHEMA, JSON)
def sequences(*, source: Endpoint, scope: Scope, as_json: bool) -> None:
    """Show the sequences, and where they stand now."""
    from pgcopydb.cli.lists import SEQUENCES
    from pgcopydb.cli.whole_schema import with_standing
    from pgcopydb.postgres.discover import list_sequences

    with catalogue(source, "sequences") as connection:
        filters = filters_in_force(source, connection, scope)
        wanted = [
            one
            for one in list_sequences(connection)
            if scope.names(one.schema, one.name) and filters.selects_table(one.schema, one.name)
        ]
        found = with_standing(connection, wanted)
    show(SEQUENCES, found, what="sequences", as_json=as_json)


@command("indexes", SOURCE, OF_TABLE, JSON)
def indexes(*, source: Endpoint, scope: Scope, as_json: bool) -> None:
    """Show the indexes, with the constraints that they serve."""
    from pgcopydb.cli.lists import INDEXES
    from pgcopydb.cli.whole_schema import takes_index
    from pgcopydb.postgres.discover import list_indexes

    with catalogue(source, "indexes") as connection:
        filters = filters_in_force(source, connection, scope)
        found = [
            index
            for index in list_indexes(connection)
            if scope.names(index.table_schema, index.table_name) and takes_index(filters, index)
        ]
    show(INDEXES, found, what="indexes", as_json=as_json)


@command("depends", SOURCE, SELECTED, JSON)
def depends(*, source: Endpoint, scope: Scope, as_json: bool) -> None:
    """Show what cannot be without what.

    With filters: what is left out although no line of them names it, because it needs something
    that they leave out. Without: all dependencies between objects of users.
    """
    from pgcopydb.cli.lists import DEPENDENCIES
    from pgcopydb.postgres.selection import list_dependencies

    with catalogue(source, "dependencies") as connection:
        found = list_dependencies(source, connection, given_filters(scope))
    show(DEPENDENCIES, found, what="dependencies", as_json=as_json)


@command("schema", SOURCE, SELECTED, JSON)
def schema(*, source: Endpoint, scope: Scope, as_json: bool) -> None:
    """Show what a copy would see of the source's catalogue, as one JSON document.

    That is the server and database, extensions, tables of every kind with their columns, indexes,
    constraints and sequences: those that the filters take.
    """
    from pgcopydb.cli.whole_schema import read_schema

    del as_json  # it is never anything else
    with catalogue(source, "objects") as connection:
        filters = filters_in_force(source, connection, scope)
        click.echo(read_schema(connection, filters))


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
        depends,
        schema,
        progress,
    ],
)
