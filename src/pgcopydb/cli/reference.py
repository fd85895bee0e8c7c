"""Writes ``docs/reference/cli.md`` from the commands' own help texts.

::

    python -m pgcopydb.cli.reference docs/reference/cli.md           # write it
    python -m pgcopydb.cli.reference --check docs/reference/cli.md   # status 1 if it is not current

It renders the declarations rather than click's formatted help, so that the page does not depend
on the version of click or the width of a terminal.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import click

from pgcopydb.cli.main import COMMANDS, PROGRAM
from pgcopydb.cli.verbosity import VERBOSITY
from pgcopydb.runtime import logs

_INTRODUCTION: Final = """\
# The command line

<!-- Generated from the help texts: python -m pgcopydb.cli.reference docs/reference/cli.md -->

Results go to stdout, logs and errors to stderr. An option given on the command line wins over its
environment variable. Sizes take PostgreSQL's units, which are powers of 1024: `200MB`, `1GB`. Log
positions (LSN) are written as PostgreSQL prints them: `16/B374D848`.
"""

_LOG_VARIABLES: Final = {
    logs.TIME_FORMAT_VARIABLE: "Format of the time in log lines, as for strftime; "
    "milliseconds are added to it.",
    logs.FILE_VARIABLE: "File that the log lines are written to as well.",
    logs.JSON_VARIABLE: "Write the logs on stderr as JSON, an object a line.",
    logs.JSON_FILE_VARIABLE: "File that the logs are written to as JSON, an object a line.",
    "NO_COLOR": "No colours in the log lines on a terminal.",
    "TMPDIR": "Folder of the default work directory.",
}

STATUSES: Final[dict[int | str, str]] = {
    0: "Everything asked for is done, and proved to be.",
    1: "The command line is wrong.",
    2: "Filters, environment, tools or server settings do not fit the work.",
    3: "The work directory, the slot or the origin is not in a state that allows the work.",
    4: "A statement failed for a reason that belongs to neither connection.",
    5: "pg_dump or pg_restore failed.",
    6: "The source server refused, or went away.",
    7: "The target server refused, or went away, or holds a row that is not what it should be.",
    8: "A comparison found differences.",
    9: "The two sides cannot be compared now: a migration between them is under way.",
    12: "A defect of this program, bytes that break their protocol, or a lost worker process.",
    "128 + N": "Signal N asked it to stop: 130 for SIGINT, 143 for SIGTERM. It can be resumed.",
}


def reference() -> str:
    """Return the whole page."""
    commands = [(name, COMMANDS[name].load()) for name in COMMANDS]
    sections = [_INTRODUCTION, _common(), _statuses()]
    known: dict[str | None, str] = {}
    for name, command in commands:
        path = f"{PROGRAM} {name}"
        first = known.setdefault(command.help, path)
        if first == path:
            sections += _command(path, command, depth=2)
        else:
            sections.append(f"## {path}\n\nThe same as `{first}`.\n")
    sections.append(_variables(command for _, command in commands))
    return "\n".join(sections)


def _common() -> str:
    options = _options([*VERBOSITY, *_help_options()])
    note = (
        f"`{PROGRAM}` alone lists the commands; `{PROGRAM} help COMMAND` and "
        f"`{PROGRAM} COMMAND --help` explain one; `{PROGRAM} --version` is `{PROGRAM} version`."
    )
    return "\n".join(["## Options of every command", "", *options, note, ""])


def _help_options() -> list[click.Option]:
    return [click.Option(["--help", "-h"], is_flag=True, help="Show this help.")]


def _statuses() -> str:
    rows = [f"| {status} | {text} |" for status, text in STATUSES.items()]
    return "\n".join(["## Exit status", "", "| status | meaning |", "|---|---|", *rows, ""])


def _command(path: str, command: click.Command, *, depth: int) -> Iterator[str]:
    lines = [f"{'#' * depth} {path}", "", *_paragraphs(command.help or "")]
    if isinstance(command, click.Group):
        lines += [f"- `{path} {name}`" for name in command.commands]
        lines.append("")
    else:
        lines += ["```", " ".join([path, "[OPTIONS]", *_arguments(command)]), "```", ""]
        lines += _options(_own_options(command))
    yield "\n".join(lines)
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _command(f"{path} {name}", inner, depth=min(depth + 1, 4))


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield paragraph
        yield ""


def _arguments(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            yield parameter.metavar or (parameter.name or "").upper()


def _own_options(command: click.Command) -> list[click.Option]:
    return [
        parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter not in VERBOSITY
    ]


def _options(options: Iterable[click.Option]) -> list[str]:
    rows = [f"| {_flags(option)} | {_meaning(option)} |" for option in options]
    return ["| option | meaning |", "|---|---|", *rows, ""] if rows else []


def _flags(option: click.Option) -> str:
    flags = ", ".join(f"`{flag}`" for flag in option.opts)
    return flags if option.is_flag else f"{flags} {_cell(option.metavar or '')}".rstrip()


def _meaning(option: click.Option) -> str:
    parts = [_cell(option.help or "")]
    if option.envvar:
        parts.append(f"Variable: `{option.envvar}`.")
    return " ".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _variables(commands: Iterable[click.Command]) -> str:
    found = {
        str(option.envvar): f"The same as `{option.opts[0]}`."
        for command in commands
        for option in _all_options(command)
        if option.envvar
    }
    rows = [f"| `{name}` | {text} |" for name, text in sorted((found | _LOG_VARIABLES).items())]
    table = ["## Environment variables", "", "| variable | meaning |", "|---|---|", *rows]
    note = (
        "A variable that turns something on takes PostgreSQL's booleans: on, off, true, false, "
        "yes, no, 1, 0. libpq's own variables (`PGPASSFILE`, `PGSSLROOTCERT`, ...) hold for both "
        "servers."
    )
    return "\n".join([*table, "", note, ""])


def _all_options(command: click.Command) -> Iterator[click.Option]:
    yield from _own_options(command)
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from _all_options(inner)


def main(arguments: list[str]) -> int:
    """Write the page, or compare it; return the exit status."""
    check = arguments[:1] == ["--check"]
    path = Path(arguments[-1])
    if not check:
        path.write_text(reference(), encoding="utf-8")
        return 0
    if path.read_text(encoding="utf-8") == reference():
        return 0
    sys.stderr.write(f"{path} is not current: run python -m pgcopydb.cli.reference {path}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
