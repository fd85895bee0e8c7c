"""The options that every command has: how much it says about its work."""

import logging
from typing import Final

import click

from pgcopydb.runtime.logs import NOTICE, TRACE

VERBOSITY: Final = (
    click.Option(
        ["--verbose", "--notice", "-v", "verbose"],
        is_flag=True,
        default=False,
        help="Log more of what is done.",
    ),
    click.Option(
        ["--debug", "-d"],
        is_flag=True,
        default=False,
        help="Log how it is done, and the traceback of an error.",
    ),
    click.Option(
        ["--trace", "-z"],
        is_flag=True,
        default=False,
        help="Log everything, down to single messages.",
    ),
    click.Option(["--quiet", "-q"], is_flag=True, default=False, help="Log errors only."),
)


def log_level(*, verbose: bool, debug: bool, trace: bool, quiet: bool) -> int:
    """Return the level that the options ask for: the most detailed one that was given.

    Raises click.UsageError when both more and less is asked for.
    """
    if quiet and (verbose or debug or trace):
        raise click.UsageError("--quiet contradicts --verbose, --debug and --trace")
    if trace:
        return TRACE
    if debug:
        return logging.DEBUG
    if verbose:
        return NOTICE
    return logging.ERROR if quiet else logging.INFO
