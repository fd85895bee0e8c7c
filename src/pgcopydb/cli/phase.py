"""How the commands that make one phase of a base copy run it and tell what it did."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import WorkOptions
from pgcopydb.model.results import CloneSummary, PhaseSummary
from pgcopydb.runtime import logs

if TYPE_CHECKING:
    from pgcopydb.workdir.directory import WorkDirectory


def run_phase(
    command: str,
    work: WorkOptions,
    make: "Callable[[WorkDirectory], CloneSummary | PhaseSummary]",
    *servers: Endpoint,
    lanes: bool = False,
) -> None:
    """Run ``make`` in the work directory, under the command's name, and print its summary.

    ``servers`` are those that it works on and looks at no further; ``lanes`` says that it copies
    rows of tables.
    """
    from pgcopydb.cli.live import live_copy
    from pgcopydb.cli.render import clone_summary, phase_summary
    from pgcopydb.preflight.poolers import refuse_poolers
    from pgcopydb.workdir.directory import open_directory

    if lanes:
        prepare_lanes()
    with open_directory(work, command=command) as directory, live_copy(directory):
        refuse_poolers(*servers)
        summary = make(directory)
    if isinstance(summary, CloneSummary):
        click.echo(clone_summary(summary, all_tables=logs.current().verbose))
    else:
        click.echo(phase_summary(summary))


def prepare_lanes() -> None:
    """Make ready for the processes that copy rows; to be called before anything is opened."""
    from pgcopydb.runtime.fork_server import prepare

    prepare("pgcopydb.clone.lane")
