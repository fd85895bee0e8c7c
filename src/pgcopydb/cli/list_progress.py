"""``pgcopydb list progress``."""

from typing import Final

import click

from pgcopydb.cli.command import command
from pgcopydb.cli.groups import EXISTING_WORK, NEEDS_NO_SOURCE, OPTIONAL_TARGET
from pgcopydb.cli.listing import catalogue
from pgcopydb.cli.options import JSON, flag
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import WorkOptions
from pgcopydb.runtime import logs

_SUMMARY: Final = flag("--summary", help="What was done, by table and by step.")


@command("progress", NEEDS_NO_SOURCE, OPTIONAL_TARGET, EXISTING_WORK, _SUMMARY, JSON)
def progress(*, target: Endpoint | None, work: WorkOptions, summary: bool, as_json: bool) -> None:
    """Show how far a migration is: its base copy, and the follow after that.

    With --target the target says how far the indexes are that it is building. With --summary
    shows what was done so far, table by table and step by step.
    """
    from pgcopydb.cdc.lag import standing
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
        followed = standing(directory)
    if target is not None and measured.under_way:
        with catalogue(target, "indexes under way") as connection:
            measured = with_index_builds(measured, list_index_builds(connection))
    click.echo(copy_progress(measured, followed, as_json=as_json))
