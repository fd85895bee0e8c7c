"""Keeping the target's triggers silent from the first applied change to the end of the follow."""

import logging

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

_FACT = "silenced triggers"


def silence_triggers(work: WorkDirectory, target: Endpoint) -> None:
    """Disable what would fire while changes are applied; what it was is written down before.

    Repeated, it adds to what is written down and never forgets a state found earlier.
    """
    with connect(target, purpose="setup") as connection, work.store() as store:
        known = _known(work)
        found = firing_triggers(connection, target, silenced=may_silence(connection, target))
        if not found:
            return
        write_fact(store, _FACT, [*known, *found])
        disable_triggers(connection, target, found)
    log.info("target: %d triggers stay disabled until the end of the follow", len(found))


def give_back_triggers(work: WorkDirectory, target: Endpoint) -> None:
    """Set every trigger that was disabled back to its state, and forget it."""
    known = _known(work)
    if not known:
        return
    with connect(target, purpose="finish") as connection, work.store() as store:
        restore_triggers(connection, target, known)
        write_fact(store, _FACT, [])
    log.info("target: %d triggers are enabled again", len(known))


def _known(work: WorkDirectory) -> list[FiringTrigger]:
    with work.store() as store:
        return read_fact(store, _FACT, list[FiringTrigger]) or []
