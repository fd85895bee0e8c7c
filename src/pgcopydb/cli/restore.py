"""``pgcopydb restore``: what was dumped into the work directory, to the target."""

import click

from pgcopydb.cli.command import CommandGroup, command
from pgcopydb.cli.groups import DUMPED_WORK, RESTORE, RESTORE_ROLES, TARGET_ALONE
from pgcopydb.cli.phase import run_phase
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CopyOptions, WorkOptions

_PARTS = (TARGET_ALONE, DUMPED_WORK, RESTORE)


@command("schema", *_PARTS)
def schema(*, target: Endpoint, work: WorkOptions, copy: CopyOptions) -> None:
    """Create the whole schema of a dump: 'restore pre-data', then 'restore post-data'."""
    from pgcopydb.clone.schema_phases import restore_schema

    run_phase("restore schema", work, lambda here: restore_schema(here, target, copy), target)


@command("pre-data", *_PARTS)
def pre_data(*, target: Endpoint, work: WorkOptions, copy: CopyOptions) -> None:
    """Create what comes before the data: everything up to the empty tables."""
    from pgcopydb.clone.schema_phases import restore_before_data

    run_phase(
        "restore pre-data",
        work,
        lambda here: restore_before_data(here, target, copy),
        target,
    )


@command("post-data", *_PARTS)
def post_data(*, target: Endpoint, work: WorkOptions, copy: CopyOptions) -> None:
    """Create what comes after the data and is not there yet: rules, triggers, comments, ...

    Indexes and constraints too, unless 'copy data', or 'copy indexes' and 'copy constraints', have
    built them. Materialized views are filled.
    """
    from pgcopydb.clone.schema_phases import restore_after_data

    run_phase(
        "restore post-data",
        work,
        lambda here: restore_after_data(here, target, copy),
        target,
    )


@command("roles", TARGET_ALONE, DUMPED_WORK, RESTORE_ROLES)
def roles(*, target: Endpoint, work: WorkOptions, copy: CopyOptions) -> None:
    """Create the roles of a dump that the target lacks; others are kept as they are."""
    from pgcopydb.clone.roles import restore_roles

    run_phase("restore roles", work, lambda here: restore_roles(here, target, copy), target)


@command("parse-list", *_PARTS)
def parse_list(*, target: Endpoint, work: WorkOptions, copy: CopyOptions) -> None:
    """Print the table of contents of the dump, as 'pg_restore --use-list' takes it.

    What the options and filters leave out, and what is built already, is behind a semicolon.
    """
    from pgcopydb.clone.schema_phases import list_dumped
    from pgcopydb.workdir.directory import open_directory

    with open_directory(work, command="restore parse-list") as directory:
        lines = list_dumped(directory, target, copy)
    for line in lines:
        click.echo(line)


restore = CommandGroup(
    "restore",
    help="Restore what dump has written.",
    commands=[schema, pre_data, post_data, roles, parse_list],
)
