"""``pgcopydb stream sentinel``: read and steer a running follow from another shell."""

import click

from pgcopydb.cli.command import CommandGroup, OptionGroup, command
from pgcopydb.cli.groups import EXISTING_WORK, NEEDS_NO_SOURCE, OPTIONAL_SOURCE, missing
from pgcopydb.cli.options import JSON, SOURCE_URI, flag
from pgcopydb.cli.types import LSN
from pgcopydb.lsn import format_lsn
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.options import WorkOptions

_START = click.Argument(["start"], type=LSN, metavar="START")
_END = click.Argument(["end"], type=LSN, metavar="END")
_POSITION = click.Argument(["position"], type=LSN, metavar="LSN")
_OPTIONAL_POSITION = click.Argument(["position"], type=LSN, required=False, metavar="[LSN]")
_CURRENT = flag("--current", help="Everything that has committed on the source until now.")

_FIELDS = {
    "startpos": "Where the capture began.",
    "endpos": "Where it is to end; 0/0 when that is not set.",
    "apply": "Whether changes are applied, or only stored yet.",
    "write_lsn": "Up to where changes were received.",
    "flush_lsn": "Up to where changes are stored on disk.",
    "transform_lsn": "Up to where changes are applied.",
    "replay_lsn": "Up to where changes are applied, durably, on the target.",
}
"""The sentinel's fields, which are also options of ``get``, and what they tell."""


def _wanted(**flags: bool) -> tuple[str, ...]:
    """Return the fields asked for by their options."""
    return tuple(name for name, wanted in flags.items() if wanted)


_SELECTED = OptionGroup(
    "names",
    tuple(flag(f"--{name.replace('_', '-')}", help=text) for name, text in _FIELDS.items()),
    _wanted,
)


@command("setup", NEEDS_NO_SOURCE, EXISTING_WORK, _START, _END)
def setup(*, work: WorkOptions, start: int, end: int) -> None:
    """Create the sentinel by hand.

    START is the position where the capture began, END the one where it is to end, or 0/0.
    """
    from pgcopydb.cdc.steering import setup_sentinel
    from pgcopydb.workdir.directory import attach_directory

    with attach_directory(work) as directory:
        setup_sentinel(directory, start, end)


@command("get", NEEDS_NO_SOURCE, EXISTING_WORK, _SELECTED, JSON)
def get(*, work: WorkOptions, names: tuple[str, ...], as_json: bool) -> None:
    """Show where a follow is, and how far the target is behind.

    With one of the positions' options it prints just that position. The lag in bytes is that of
    the source's log, as far as the source was heard to have it; the lag in seconds is how long the
    oldest commit that is stored and not yet applied has been waiting.
    """
    from pgcopydb.cdc.lag import measure
    from pgcopydb.cli.render import follow_progress, sentinel_fields
    from pgcopydb.workdir.directory import attach_directory

    with attach_directory(work) as directory:
        progress = measure(directory)
    if names:
        values = {name: getattr(progress, name) for name in names}
        click.echo(sentinel_fields(values, as_json=as_json))
    else:
        click.echo(follow_progress(progress, as_json=as_json))


@command("startpos", NEEDS_NO_SOURCE, EXISTING_WORK, _POSITION)
def set_startpos(*, work: WorkOptions, position: int) -> None:
    """Set the position where the capture began."""
    from pgcopydb.cdc.steering import set_startpos as set_start
    from pgcopydb.workdir.directory import attach_directory

    with attach_directory(work) as directory:
        set_start(directory, position)


@command("endpos", EXISTING_WORK, OPTIONAL_SOURCE, _OPTIONAL_POSITION, _CURRENT)
def set_endpos(
    *, work: WorkOptions, source: Endpoint | None, position: int | None, current: bool
) -> None:
    """Set the position where a follow is to end, and print it.

    Either LSN, or --current, which needs the source: it commits a marker there and takes the
    position after it, so that everything acknowledged before is applied.
    """
    if current == (position is not None):
        raise click.UsageError("give either an LSN or --current")
    if current and source is None:
        raise missing(Side.SOURCE, SOURCE_URI)
    from pgcopydb.cdc.steering import set_endpos as set_end
    from pgcopydb.workdir.directory import attach_directory

    with attach_directory(work) as directory:
        click.echo(format_lsn(set_end(directory, source, position)))


@command("apply", NEEDS_NO_SOURCE, EXISTING_WORK)
def set_apply(*, work: WorkOptions) -> None:
    """Let a follow apply the changes that it stores."""
    from pgcopydb.cdc.steering import set_apply as allow_apply
    from pgcopydb.workdir.directory import attach_directory

    with attach_directory(work) as directory:
        allow_apply(directory)


@command("prefetch", NEEDS_NO_SOURCE, EXISTING_WORK)
def set_prefetch(*, work: WorkOptions) -> None:
    """Let a follow store changes only: applying pauses until set apply."""
    from pgcopydb.cdc.steering import set_prefetch as only_store
    from pgcopydb.workdir.directory import attach_directory

    with attach_directory(work) as directory:
        only_store(directory)


sentinel = CommandGroup(
    "sentinel",
    help="Read and steer a running follow from another shell.",
    commands=[
        setup,
        get,
        CommandGroup(
            "set",
            help="Steer a running follow.",
            commands=[set_startpos, set_endpos, set_apply, set_prefetch],
        ),
    ],
)
