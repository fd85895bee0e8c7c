"""The steps of a base copy as they were begun and finished, for whoever looks from outside."""

import sqlite3
import time
from typing import Final

from msgspec.structs import replace

from pgcopydb.model.results import StepSummary
from pgcopydb.workdir.store import read_fact, write_fact
from pgcopydb.workdir.transaction import transaction

_FACT: Final = "copy steps taken"


def begin_step(connection: sqlite3.Connection, name: str, concurrency: int = 1) -> StepSummary:
    """Write down that a step begins now; one of that name that was interrupted is forgotten."""
    step = StepSummary(name=name, started=time.time(), concurrency=concurrency)
    with transaction(connection):
        others = [one for one in read_steps(connection) if one.finished or one.name != name]
        write_fact(connection, _FACT, [*others, step])
    return step


def finish_step(connection: sqlite3.Connection, step: StepSummary) -> StepSummary:
    """Write down that ``step`` is finished; return it as it then is."""
    finished = replace(step, finished=time.time())
    with transaction(connection):
        steps = [finished if one == step else one for one in read_steps(connection)]
        write_fact(connection, _FACT, steps)
    return finished


def forget_steps(connection: sqlite3.Connection) -> None:
    """Forget all steps: of a command that was refused before it had created anything."""
    write_fact(connection, _FACT, [])


def read_steps(connection: sqlite3.Connection) -> list[StepSummary]:
    """Return all steps of the migration so far, by their beginning, those of earlier runs too."""
    return read_fact(connection, _FACT, list[StepSummary]) or []
