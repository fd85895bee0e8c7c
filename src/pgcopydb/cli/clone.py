"""``pgcopydb clone``, and the same command under its other name ``fork``."""

import click
from msgspec.structs import replace

from pgcopydb.cli.command import command
from pgcopydb.cli.groups import COPY, FOLLOW_IF_ASKED, SOURCE, TARGET, WORK
from pgcopydb.cli.options import ALL_DATABASES
from pgcopydb.cli.phase import prepare_lanes
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CopyOptions, FollowOptions, WorkOptions
from pgcopydb.runtime import logs

_PARTS = (SOURCE, TARGET, WORK, COPY, ALL_DATABASES, FOLLOW_IF_ASKED)


def _clone(
    *,
    source: Endpoint,
    target: Endpoint,
    work: WorkOptions,
    copy: CopyOptions,
    follow: FollowOptions | None,
    all_databases: bool,
) -> None:
    """Copy a database to another server.

    Copies schema, table data, indexes, constraints and sequences in one snapshot of the source,
    and prints a summary. With --follow it also captures the changes made meanwhile and applies
    them, until the position that --endpos or 'pgcopydb stream sentinel set endpos' names; the
    source may be written to all the time.

    With --all-databases every database of the source's server is copied; those that the target
    lacks are created like them. The status is not 0 when one of them failed.
    """
    if all_databases:
        _clone_all(source, target, work, copy, follow)
        return
    if follow and work.not_consistent:
        raise click.UsageError(
            "--not-consistent contradicts --follow: with a new snapshot, "
            "changes would be applied twice"
        )
    from pgcopydb.cli.live import live_copy
    from pgcopydb.cli.render import clone_summary, online_summary
    from pgcopydb.online import clone as copy_database
    from pgcopydb.online import clone_and_follow
    from pgcopydb.workdir.directory import open_directory

    prepare_lanes()
    with (
        open_directory(work, command="clone --follow" if follow else "clone") as directory,
        live_copy(directory, target) as observe,
    ):
        all_tables = logs.current().verbose
        if follow:
            both = clone_and_follow(directory, source, target, copy, follow, observe=observe)
            summary = online_summary(both, all_tables=all_tables)
        else:
            copied = copy_database(directory, source, target, copy)
            summary = clone_summary(copied, all_tables=all_tables)
    click.echo(summary)


def _clone_all(
    source: Endpoint,
    target: Endpoint,
    work: WorkOptions,
    copy: CopyOptions,
    follow: FollowOptions | None,
) -> None:
    if follow:
        raise click.UsageError("--all-databases contradicts --follow: a slot is of one database")
    if copy.snapshot:
        raise click.UsageError("--all-databases contradicts --snapshot: it is of one database")
    from pgcopydb.cli.live import live_copy
    from pgcopydb.cli.render import database_outcomes
    from pgcopydb.databases import clone_all, refuse_failures
    from pgcopydb.workdir.directory import open_directory

    prepare_lanes()
    # What is started over, or gone on with, is each database in its own directory.
    all_of_them = replace(work, restart=False, resume=work.resume or work.restart)
    with open_directory(all_of_them, command="clone --all-databases") as directory:
        outcomes = clone_all(directory, work, source, target, copy, watching=live_copy)
        click.echo(database_outcomes(outcomes))
        refuse_failures(outcomes)


clone = command("clone", *_PARTS)(_clone)
fork = command("fork", *_PARTS)(_clone)
