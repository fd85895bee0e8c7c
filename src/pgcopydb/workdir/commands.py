"""The commands that work, or worked, in a work directory."""

import os
import sqlite3
from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class CommandState(StrEnum):
    """How a command is doing, or how it ended; INTERRUPTED is one that was killed."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class CommandRun(Struct, frozen=True):
    """A command that worked in a role; ``started`` is in whole seconds since 1970."""

    command: str
    pid: int
    started: float
    state: CommandState


def last_command(connection: sqlite3.Connection, role: str) -> CommandRun | None:
    """Return the latest command that worked in ``role``, None where there was none yet.

    Commands that take the roles only to keep others out do none of their work.
    """
    row = connection.execute(
        "select command, pid, started, outcome from command_run"
        " where role = ? and command not in ('stream cleanup', 'stream conflicts')"
        " order by id desc limit 1",
        (role,),
    ).fetchone()
    if row is None:
        return None
    command, pid, started, outcome = row
    began = datetime.fromisoformat(started).timestamp()
    return CommandRun(command, pid, began, _state(pid, outcome))


def _state(pid: int, outcome: str | None) -> CommandState:
    if outcome is not None:
        return CommandState(outcome)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return CommandState.INTERRUPTED
    except PermissionError:
        pass  # somebody else's process, which is alive all the same
    return CommandState.RUNNING
