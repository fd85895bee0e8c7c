"""How a command is put together: its options in groups, each handed over as one value.

::

    @command("receive", SOURCE, WORK, FOLLOW, TO_STDOUT)
    def receive(*, source: Endpoint, work: WorkOptions, follow: FollowOptions, to_stdout: bool): ...

The docstring of the function is the command's help text. Every command also has ``--help`` and
the options that say how much is logged.
"""

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeAlias

import click

from pgcopydb.cli.verbosity import VERBOSITY, log_level
from pgcopydb.runtime import logs

CONTEXT_SETTINGS: Mapping[str, Any] = {
    "help_option_names": ["--help", "-h"],
    "max_content_width": 100,
}


@dataclass(frozen=True, slots=True)
class OptionGroup:
    """Options that belong together: ``build`` makes one value of theirs, passed as ``name``.

    ``build`` is called with the options' values by their names. It raises click.UsageError where
    they contradict each other, or where one that is needed is missing. A group without a name is
    read and not passed on.
    """

    name: str | None
    options: tuple[click.Option, ...]
    build: Callable[..., object]

    def fold(self, values: dict[str, Any]) -> object:
        """Take this group's values out of ``values`` and return what is built of them."""
        own = {option.name: values.pop(option.name) for option in self.options if option.name}
        return self.build(**own)


Part: TypeAlias = OptionGroup | click.Parameter
"""What a command is declared with: a group of options, or a single option or argument."""


def command(name: str, *parts: Part) -> Callable[[Callable[..., None]], click.Command]:
    """Make a click command of a function that takes what ``parts`` build as keyword arguments."""
    groups = [part for part in parts if isinstance(part, OptionGroup)]

    def declare(function: Callable[..., None]) -> click.Command:
        def callback(**values: Any) -> None:
            level = log_level(**{option.name: values.pop(option.name) for option in VERBOSITY})
            logs.configure(logs.from_environment(os.environ, level))
            built = {group.name: group.fold(values) for group in groups}
            passed = {name: value for name, value in built.items() if name is not None}
            function(**passed, **values)

        return click.Command(
            name,
            context_settings=dict(CONTEXT_SETTINGS),
            params=[*_parameters(parts), *VERBOSITY],
            callback=callback,
            help=inspect.getdoc(function),
        )

    return declare


def _parameters(parts: Iterable[Part]) -> Iterable[click.Parameter]:
    for part in parts:
        if isinstance(part, OptionGroup):
            yield from part.options
        else:
            yield part


class CommandGroup(click.Group):
    """A command that only leads to others."""

    def __init__(self, name: str, *, help: str, commands: Iterable[click.Command]) -> None:  # noqa: A002 - click's name
        super().__init__(
            name,
            help=help,
            commands=list(commands),
            context_settings=dict(CONTEXT_SETTINGS),
            no_args_is_help=False,
            subcommand_metavar="COMMAND ...",
        )

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order in which they are used, not by the alphabet."""
        return list(self.commands)


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is found, and what is said of it before it is loaded."""

    module: str
    attribute: str
    summary: str

    def load(self) -> click.Command:
        """Import the command."""
        loaded = getattr(import_module(self.module), self.attribute)
        assert isinstance(loaded, click.Command)
        return loaded


class LazyGroup(click.Group):
    """The top of the command line: imports a command only when it is called or explained."""

    def __init__(self, name: str, entries: Mapping[str, Entry], **attributes: Any) -> None:
        super().__init__(name, context_settings=dict(CONTEXT_SETTINGS), **attributes)
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands, in the order in which they are declared."""
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import and return a command, or None when there is none of that name."""
        entry = self.entries.get(cmd_name)
        return entry.load() if entry else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self.entries.items()])
