"""The command ``pgcopydb``: the list of its commands, and the one place where errors end.

Nothing but click is imported until a command is called, so that ``--help`` answers at once.
"""

import contextlib
import errno
import gc
import logging
import os
import select
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import click

from pgcopydb import __version__
from pgcopydb.cli.command import Entry, LazyGroup
from pgcopydb.errors import ConfigurationError, InternalError, PgcopydbError, first_line
from pgcopydb.runtime import logs

log = logging.getLogger(__name__)

PROGRAM: Final = "pgcopydb"

_USAGE_STATUS: Final = 1
_INTERRUPTED_STATUS: Final = 130
_BROKEN_PIPE_STATUS: Final = 141
"""128 plus SIGPIPE: what a shell reports of a program that the signal ended."""

COMMANDS: Final = {
    "ping": Entry("pgcopydb.cli.ping", "ping", "See whether both servers can be reached."),
    "check": Entry("pgcopydb.cli.check", "check", "See whether a migration can be done."),
    "snapshot": Entry("pgcopydb.cli.snapshot", "snapshot", "Export a snapshot and keep it."),
    "clone": Entry("pgcopydb.cli.clone", "clone", "Copy a database, and follow it with --follow."),
    "fork": Entry("pgcopydb.cli.clone", "fork", "The same as clone."),
    "follow": Entry("pgcopydb.cli.follow", "follow", "Apply the source's changes to the target."),
    "copy": Entry("pgcopydb.cli.copy", "copy_", "Copy a database, or one phase of it."),
    "dump": Entry("pgcopydb.cli.dump", "dump", "Dump schema or roles to the work directory."),
    "restore": Entry("pgcopydb.cli.restore", "restore", "Restore what dump has written."),
    "list": Entry(
        "pgcopydb.cli.list", "list_", "Show what there is to migrate, and how far it is."
    ),
    "compare": Entry("pgcopydb.cli.compare", "compare", "See whether both sides are the same."),
    "stream": Entry("pgcopydb.cli.stream", "stream", "Capture and apply changes step by step."),
    "demo": Entry("pgcopydb.cli.demo", "demo", "Watch a live migration on servers of its own."),
    "help": Entry("pgcopydb.cli.help", "help_", "Explain a command."),
    "version": Entry("pgcopydb.cli.help", "version", "Print the version."),
}


def _show_help(context: click.Context) -> None:
    """Explain the program when it is called without a command."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


root: Final = LazyGroup(
    PROGRAM,
    COMMANDS,
    help="Move a PostgreSQL database to another server while the application keeps writing to it.",
    epilog=f"'{PROGRAM} help COMMAND' explains a command.",
    invoke_without_command=True,
    no_args_is_help=False,
    subcommand_metavar="COMMAND ...",
    callback=click.pass_context(_show_help),
)
click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s version %(version)s")(root)


def main() -> NoReturn:
    """Run the command line of this process, and end the process with its status."""
    _open_standard_files()
    status = run(sys.argv[1:])
    # Python looks for garbage once more as it ends, in all that was imported: for 0.1 s of CPU.
    gc.freeze()
    sys.exit(status)


def _open_standard_files() -> None:
    """Let /dev/null be what this process was started without of stdin, stdout and stderr.

    Else what it opens first, or a program that it starts, would get that number, and whatever is
    printed would go there.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            os.set_inheritable(descriptor, True)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8")


def run(arguments: Sequence[str]) -> int:
    """Run one command; return its exit status after telling stderr of any error."""
    try:
        return _invoke(arguments)
    except click.ClickException as error:
        return _usage(error)
    except PgcopydbError as error:
        _report(error.message, hint=error.hint, cause=error)
        return error.status
    except (KeyboardInterrupt, click.Abort):
        _report("interrupted")
        return _INTERRUPTED_STATUS
    except BrokenPipeError as error:
        return _BROKEN_PIPE_STATUS if _reader_left() else _defect(error)
    except Exception as error:
        return _full(error) or _defect(error)
    finally:
        _settle_stdout()


def _invoke(arguments: Sequence[str]) -> int:
    # click's own main() takes EOFError, which a lost worker may cause, for an interrupt, and any
    # EPIPE for stdout's; so its two steps are taken here.
    try:
        with root.make_context(PROGRAM, list(arguments)) as context:
            root.invoke(context)
        status = 0
    except click.exceptions.Exit as ending:
        status = ending.exit_code
    if sys.stdout is not None:
        sys.stdout.flush()  # a result that is still buffered may yet fail to be written
    return status


def _usage(error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    hint = f"'{context.command_path} --help' explains it" if context else None
    _report(error.format_message().rstrip("."), hint=hint)
    if context and not logs.current().json:
        click.echo(context.get_usage().replace("Usage:", "usage:", 1), err=True)
    return _USAGE_STATUS


def _full(error: Exception) -> int | None:
    """Report a full disk, which is no defect of this program; return None for anything else."""
    if not isinstance(error, OSError) or error.errno not in {errno.ENOSPC, errno.EDQUOT}:
        return None
    place = f': "{error.filename}"' if error.filename else ""
    _report(f"{error.strerror}{place}", hint="make room, then run it again", cause=error)
    return ConfigurationError.exit_code


def _defect(error: Exception) -> int:
    _report(
        f"a defect of {PROGRAM}: {type(error).__name__}: {first_line(error)}",
        hint="run it again with --debug for the details, and report them",
        cause=error,
    )
    return InternalError.exit_code


def _report(message: str, *, hint: str | None = None, cause: BaseException | None = None) -> None:
    """Say on stderr, and in the logs, what a command ends with."""
    if not logging.getLogger().handlers:
        _configure_early()
    lines = " ".join(message.split("\n"))
    log.error("%s", lines, extra={"hint": hint, "report": True})
    if cause is not None and logs.current().detailed:
        log.debug("details of this error:", exc_info=cause)


def _configure_early() -> None:
    """Set the logs up for an error that came before a command could: plainly if need be."""
    try:
        logs.configure(logs.from_environment(os.environ))
    except PgcopydbError:
        logs.configure(logs.LogOptions())


def _reader_left() -> bool:
    """Tell whether it is stdout that nobody reads any more, rather than some other pipe."""
    poll = select.poll()
    try:
        poll.register(1, 0)
        return any(events & select.POLLERR for _, events in poll.poll(0))
    except OSError:
        return False


def _settle_stdout() -> None:
    """Let what cannot be written go nowhere, or Python would complain about it at its exit."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.close(nowhere)
