"""``pgcopydb follow``."""

import click

from pgcopydb.cli.command import command
from pgcopydb.cli.following import following
from pgcopydb.cli.groups import FOLLOW, NEEDS_NO_SNAPSHOT, SELECTION, SOURCE, TARGET, WORK
from pgcopydb.cli.options import flag
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CopyOptions, FollowOptions, WorkOptions

_SKIP_LARGE_OBJECTS = flag(
    "--skip-large-objects",
    "--skip-blobs",
    "skip_large_objects",
    help="Do not compare large objects at the end: changes of them are not followed.",
)


@command("follow", SOURCE, TARGET, WORK, SELECTION, FOLLOW, _SKIP_LARGE_OBJECTS, NEEDS_NO_SNAPSHOT)
def follow(
    *,
    source: Endpoint,
    target: Endpoint,
    work: WorkOptions,
    copy: CopyOptions,
    follow: FollowOptions,
    skip_large_objects: bool,
) -> None:
    """Apply the source's changes to the target.

    Receives, stores and applies changes until the end position, which --endpos or
    'pgcopydb stream sentinel set endpos' names, and ends with status 0 only when everything up to
    there is applied.
    """
    from pgcopydb.cdc.large_objects import skip_large_objects as leave_large_objects
    from pgcopydb.cli.render import follow_summary
    from pgcopydb.online import follow as follow_source

    with following("follow", work, copy) as (directory, observe):
        if skip_large_objects:
            leave_large_objects(directory)
        summary = follow_source(directory, source, target, follow, observe)
    click.echo(follow_summary(summary))
