"""``pgcopydb stream``: the steps of a follow, one by one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from pgcopydb.cli.command import CommandGroup, command
from pgcopydb.cli.following import following
from pgcopydb.cli.groups import (
    EXISTING_WORK,
    FOLLOW,
    NEEDS_NO_SERVER,
    NEEDS_NO_SNAPSHOT,
    NEEDS_NO_SOURCE,
    OPTIONAL_SOURCE,
    OPTIONAL_TARGET,
    SELECTION,
    SOURCE,
    TARGET,
    TARGET_ALONE,
    WORK,
    missing,
)
from pgcopydb.cli.options import JSON, SOURCE_URI, TARGET_URI, flag
from pgcopydb.cli.sentinel import sentinel
from pgcopydb.cli.types import PLACE
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.options import CopyOptions, FollowOptions, WorkOptions

if TYPE_CHECKING:
    from pgcopydb.workdir.directory import WorkDirectory

_STANDARD: Final = "-"

_TO_STDOUT = flag("--to-stdout", help="Print the changes as JSON lines instead of storing them.")
_RESOLVED = flag("--resolved", help="Remove the list, when its tables are the same on both sides.")
_DRY_RUN = flag("--dry-run", help="Remove nothing, and print what would be.")
_INPUT = click.Argument(["changes"], required=False, type=PLACE, metavar="[IN]")
_OUTPUT = click.Argument(["output"], required=False, type=PLACE, metavar="[OUT]")
_SQL = click.Argument(["statements"], required=False, type=PLACE, metavar="[FILE]")


@command("setup", SOURCE, TARGET, WORK, SELECTION, FOLLOW, NEEDS_NO_SNAPSHOT)
def setup(
    *,
    source: Endpoint,
    target: Endpoint,
    work: WorkOptions,
    copy: CopyOptions,
    follow: FollowOptions,
) -> None:
    """Prepare both servers for a follow.

    Creates what is missing of the publication and the replication slot on the source, the
    replication origin on the target, and the sentinel in the work directory.
    """
    from pgcopydb.cdc.setup import setup as set_up
    from pgcopydb.workdir.directory import open_directory

    with open_directory(work, command="stream setup") as directory:
        set_up(directory, source, target, follow, copy.filters)


@command("cleanup", SOURCE, TARGET, WORK, FOLLOW, NEEDS_NO_SNAPSHOT)
def cleanup(
    *, source: Endpoint, target: Endpoint, work: WorkOptions, follow: FollowOptions
) -> None:
    """Remove from both servers what a follow needed.

    Drops the replication slot and the publication on the source, and the replication origin on
    the target, as far as this migration created them.
    """
    from pgcopydb.cdc.setup import cleanup as clean_up
    from pgcopydb.workdir.directory import open_directory

    with open_directory(work, command="stream cleanup") as directory:
        clean_up(directory, source, target, follow)


@command("prune", NEEDS_NO_SOURCE, OPTIONAL_TARGET, EXISTING_WORK, _DRY_RUN)
def prune(*, target: Endpoint | None, work: WorkOptions, dry_run: bool) -> None:
    """Remove stored changes that are applied.

    Removes the files of stored changes whose every transaction is on the target's disk, as the
    work directory knows it, or as the target says where --target is given. The newest file always
    stays. A running follow does this by itself.
    """
    from pgcopydb.cdc.pruning import prune_stored
    from pgcopydb.cli.render import prune_summary
    from pgcopydb.workdir.directory import attach_directory

    with attach_directory(work) as directory:
        summary = prune_stored(directory, target, dry_run=dry_run)
    click.echo(prune_summary(summary))


@command("conflicts", OPTIONAL_SOURCE, OPTIONAL_TARGET, EXISTING_WORK, JSON, _RESOLVED)
def conflicts(
    *,
    source: Endpoint | None,
    target: Endpoint | None,
    work: WorkOptions,
    as_json: bool,
    resolved: bool,
) -> None:
    """List the changes that met a row which is not what the source says it was.

    These were left out, or overwrote the row, as --on-conflict asked for. The list holds the keys
    of the rows, and keeps a follow from ending with status 0. When the rows are right, --resolved
    removes it: it reads the tables on the list whole on both sides, and refuses when they differ.
    """
    if resolved:
        _settle_conflicts(source, target, work)
        return
    from pgcopydb.cli.render import conflict_list
    from pgcopydb.workdir.conflicts import read_conflicts
    from pgcopydb.workdir.directory import attach_directory

    with attach_directory(work) as directory, directory.store() as store:
        found = list(read_conflicts(store))
    click.echo(conflict_list(found, as_json=as_json))


def _settle_conflicts(source: Endpoint | None, target: Endpoint | None, work: WorkOptions) -> None:
    if source is None:
        raise missing(Side.SOURCE, SOURCE_URI)
    if target is None:
        raise missing(Side.TARGET, TARGET_URI)
    from pgcopydb.cdc.conflicts import settle_conflicts
    from pgcopydb.workdir.directory import attach_directory, open_directory

    with attach_directory(work), open_directory(work, command="stream conflicts") as directory:
        count = settle_conflicts(directory, source, target)
    click.echo(f"{count} conflicts are settled: their tables are the same on both sides")


@command(
    "receive",
    SOURCE,
    OPTIONAL_TARGET,
    WORK,
    SELECTION,
    FOLLOW,
    _TO_STDOUT,
    NEEDS_NO_SNAPSHOT,
)
def receive(
    *,
    source: Endpoint,
    target: Endpoint | None,
    work: WorkOptions,
    copy: CopyOptions,
    follow: FollowOptions,
    to_stdout: bool,
) -> None:
    """Store the changes that the replication slot sends.

    With --to-stdout prints them as JSON lines (wal2json's format 2, with any plugin). Nothing is
    then confirmed to the source, unless --target says where the changes end up.
    """
    from pgcopydb.cdc.text.receive import receive_command
    from pgcopydb.workdir.directory import open_directory

    if to_stdout:
        with _existing_directory(work) as existing:
            receive_command(existing, source, target, follow, to_stdout=True, filters=copy.filters)
        return
    with open_directory(work, command="stream receive") as directory:
        receive_command(directory, source, target, follow, to_stdout=False, filters=copy.filters)


@contextmanager
def _existing_directory(options: WorkOptions) -> "Iterator[WorkDirectory | None]":
    """Open the directory of a migration that may say which slot is meant; None without one."""
    from pgcopydb.workdir.directory import attach_directory, default_directory, is_missing

    place = options.directory or default_directory()
    if is_missing(place / "catalogue.db"):
        yield None
        return
    with attach_directory(options) as directory:
        yield directory


@command("transform", NEEDS_NO_SERVER, WORK, FOLLOW, _INPUT, _OUTPUT, NEEDS_NO_SNAPSHOT)
def transform(
    *,
    changes: Path | Literal["-"] | None,
    output: Path | Literal["-"] | None,
    work: WorkOptions,
    follow: FollowOptions,
) -> None:
    """Turn changes into SQL.

    IN is a file of JSON lines, or - for stdin; without it, the changes stored in the work
    directory are taken. OUT is the file to write, or - for stdout, which is the default.
    """
    from pgcopydb.cdc.text.transform import transform_command
    from pgcopydb.workdir.directory import attach_directory

    place = None if output == _STANDARD else output
    if changes is not None:
        transform_command(None, changes, place, follow)
        return
    with attach_directory(work) as directory:
        transform_command(directory, None, place, follow)


@command("apply", TARGET_ALONE, WORK, FOLLOW, _SQL, NEEDS_NO_SNAPSHOT)
def apply(
    *,
    target: Endpoint,
    work: WorkOptions,
    follow: FollowOptions,
    statements: Path | Literal["-"] | None,
) -> None:
    """Apply changes to the target.

    FILE holds the SQL that 'pgcopydb stream transform' wrote, or is - for stdin; without it, the
    changes stored in the work directory are applied. With --target - the SQL is printed instead.
    """
    printed = target.conninfo == _STANDARD
    if printed and statements is not None:
        raise click.UsageError("--target - prints stored changes, and takes no FILE")

    from pgcopydb.cdc.text.apply import apply_command
    from pgcopydb.workdir.directory import attach_directory, open_directory

    if printed:
        with attach_directory(work) as directory:
            apply_command(directory, _STANDARD, None, follow)
    elif statements is not None:
        apply_command(None, target, statements, follow)
    else:
        with open_directory(work, command="stream apply") as directory:
            apply_command(directory, target, None, follow)


@command("prefetch", SOURCE, OPTIONAL_TARGET, WORK, SELECTION, FOLLOW, NEEDS_NO_SNAPSHOT)
def prefetch(
    *,
    source: Endpoint,
    target: Endpoint | None,
    work: WorkOptions,
    copy: CopyOptions,
    follow: FollowOptions,
) -> None:
    """Store changes in the work directory, up to the end position."""
    from pgcopydb.cdc.follow import prefetch as store_changes

    with following("stream prefetch", work, copy) as (directory, observe):
        store_changes(directory, source, target, follow, observe)


@command("catchup", SOURCE, TARGET, WORK, SELECTION, FOLLOW, NEEDS_NO_SNAPSHOT)
def catchup(
    *,
    source: Endpoint,
    target: Endpoint,
    work: WorkOptions,
    copy: CopyOptions,
    follow: FollowOptions,
) -> None:
    """Apply the changes stored in the work directory, up to the end position."""
    from pgcopydb.cdc.follow import catchup as apply_changes

    with following("stream catchup", work, copy) as (directory, observe):
        apply_changes(directory, source, target, follow, observe)


@command("replay", SOURCE, TARGET, WORK, SELECTION, FOLLOW, NEEDS_NO_SNAPSHOT)
def replay(
    *,
    source: Endpoint,
    target: Endpoint,
    work: WorkOptions,
    copy: CopyOptions,
    follow: FollowOptions,
) -> None:
    """Store and apply changes at the same time, up to the end position."""
    from pgcopydb.cdc.follow import replay as replay_changes

    with following("stream replay", work, copy) as (directory, observe):
        replay_changes(directory, source, target, follow, observe)


stream = CommandGroup(
    "stream",
    help="Capture and apply changes step by step.",
    commands=[
        setup,
        cleanup,
        prune,
        receive,
        transform,
        apply,
        prefetch,
        catchup,
        replay,
        conflicts,
        sentinel,
    ],
)
