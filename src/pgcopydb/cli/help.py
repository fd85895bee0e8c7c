"""``pgcopydb help`` and ``pgcopydb version``."""

import click

from pgcopydb import __version__
from pgcopydb.cli.command import command

_NAMES = click.Argument(["names"], nargs=-1, metavar="[COMMAND]...")


@command("help", _NAMES)
def help_(*, names: tuple[str, ...]) -> None:
    """Explain a command.

    Without a command it lists them all.
    """
    context = click.get_current_context().find_root()
    for name in names:
        context = _descend(context, name)
    click.echo(context.get_help())


def _descend(context: click.Context, name: str) -> click.Context:
    group = context.command
    found = group.get_command(context, name) if isinstance(group, click.Group) else None
    if found is None:
        raise click.UsageError(f'{context.command_path} has no command "{name}"', context)
    return click.Context(found, info_name=name, parent=context, **found.context_settings)


@command("version")
def version() -> None:
    """Print the version."""
    click.echo(f"pgcopydb version {__version__}")
