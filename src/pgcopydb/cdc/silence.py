"""Keeping the target's triggers silent from the first applied change to the end of the follow.

One that somebody makes meanwhile fires all the same, until the next start: it is told as soon as it
is seen, and what is followed is compared at the end.
"""

import logging
import sqlite3
from collections.abc import Iterable
from typing import Any, Final

import psycopg

from pgcopydb.cdc.capture import read_capture
from pgcopydb.cdc.whole_tables import differing_tables
from pgcopydb.errors import StateError, some_of
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.triggers import (
    FiringTrigger,
    disable_triggers,
    firing_triggers,
    may_silence,
    restore_triggers,
)
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.store import read_fact, write_fact

log = logging.getLogger(__name__)

_SILENCED: Final = "silenced triggers"
_SILENT: Final = "triggers are silent"
_FIRED: Final = "triggers made during the follow"


def silence_triggers(work: WorkDirectory, target: Endpoint) -> None:
    """Disable what would fire while changes are applied; what it was is written down before.

    Repeated, it adds to what is written down and never forgets a state found earlier.
    """
    with connect(target, purpose="setup") as connection, work.store() as store:
        found = firing_triggers(connection, target, silenced=may_silence(connection, target))
        if read_fact(store, _SILENT, bool):  # made since an earlier follow silenced all others
            _note(work, store, found)
        if found:
            write_fact(store, _SILENCED, [*_known(store, _SILENCED), *found])
            disable_triggers(connection, target, found)
        # Not sooner: a run that is killed before has applied nothing that made a trigger fire.
        write_fact(store, _SILENT, True)
    if not found:
        return
    log.info("target: %d triggers stay disabled until the end of the follow", len(found))


def give_back_triggers(work: WorkDirectory, target: Endpoint) -> None:
    """Set every trigger that was disabled back to its state, and forget it."""
    with work.store() as store:
        write_fact(store, _SILENT, False)
        known = _known(store, _SILENCED)
        if not known:
            return
        with connect(target, purpose="finish") as connection:
            restore_triggers(connection, target, known)
        write_fact(store, _SILENCED, [])
    log.info("target: %d triggers are enabled again", len(known))


def note_fired(
    work: WorkDirectory, connection: psycopg.Connection[Any], target: Endpoint
) -> list[FiringTrigger]:
    """Write down the triggers that fire although all were silenced; return those not yet known.

    Only those of followed tables: changes are applied to no other. Raises the target's error.
    """
    found = firing_triggers(connection, target, silenced=may_silence(connection, target))
    if not found:  # as nearly always: it is asked every ten seconds
        return []
    with work.store() as store:
        return _note(work, store, found)


def _note(
    work: WorkDirectory, store: sqlite3.Connection, found: Iterable[FiringTrigger]
) -> list[FiringTrigger]:
    followed, known = read_capture(work).names(), _known(store, _FIRED)
    new = [one for one in found if (one.schema, one.table) in followed and one not in known]
    if new:
        write_fact(store, _FIRED, [*known, *new])
    return new


def refuse_fired(work: WorkDirectory, source: Endpoint, target: Endpoint) -> None:
    """Raise StateError where triggers fired during the follow and followed tables differ.

    To be called when everything is applied and the source's writers have stopped; then all tables
    that are followed are read whole on both sides, for a trigger may write to any.
    """
    with connect(target, purpose="final check") as connection:
        note_fired(work, connection, target)
    with work.store() as store:
        fired = _known(store, _FIRED)
    if not fired:
        return
    names = some_of(named(fired))
    log.info("comparing all followed tables, for triggers were made on the target: %s", names)
    different = differing_tables(work, source, target, sorted(read_capture(work).names()))
    if different:
        raise StateError(
            f"target: triggers that were made while changes were applied fired: {names}; tables"
            f" differ: {different}",
            hint="disable those triggers; with the source's writers stopped, bring the tables to"
            " the target as they are on the source, then run again with --resume; or clone again",
        )
    log.warning(
        "target: triggers fired while changes were applied: %s; all tables are equal", names
    )
    with work.store() as store:
        write_fact(store, _FIRED, [])


def named(triggers: Iterable[FiringTrigger]) -> list[str]:
    """Return what a person calls these triggers."""
    return [f"{one.name} of {one.schema}.{one.table}" for one in triggers]


def _known(store: sqlite3.Connection, fact: str) -> list[FiringTrigger]:
    return read_fact(store, fact, list[FiringTrigger]) or []
