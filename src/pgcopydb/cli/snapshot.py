"""``pgcopydb snapshot``."""

import click

from pgcopydb.cli.command import command
from pgcopydb.cli.groups import FOLLOW_IF_ASKED, NEEDS_NO_TARGET, SELECTION, SOURCE, WORK
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CopyOptions, FollowOptions, WorkOptions


@command("snapshot", SOURCE, NEEDS_NO_TARGET, WORK, SELECTION, FOLLOW_IF_ASKED)
def snapshot(
    *, source: Endpoint, work: WorkOptions, copy: CopyOptions, follow: FollowOptions | None
) -> None:
    """Export a snapshot and keep it.

    Prints the snapshot's id on stdout and keeps it until SIGTERM or SIGINT, then ends with status
    0. With --follow it creates the replication slot and exports the slot's own snapshot, so that
    a copy of it and the captured changes fit together without a gap.
    """
    from pgcopydb.cdc.snapshot import export_snapshot
    from pgcopydb.preflight.poolers import refuse_poolers
    from pgcopydb.workdir.directory import open_directory

    with open_directory(work, command="snapshot") as directory:
        refuse_poolers(source)
        export_snapshot(directory, source, copy, follow, announce=_announce)


def _announce(snapshot_id: str) -> None:
    """Print the snapshot's id at once: the reader of a pipe waits for it while we wait for him."""
    click.echo(snapshot_id)
