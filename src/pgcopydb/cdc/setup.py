"""``stream setup`` and ``stream cleanup``: what a capture needs on both servers, and its end."""

import logging
from contextlib import suppress
from pathlib import Path

from pgcopydb.cdc.capture import identify, read_facts
from pgcopydb.cdc.late_writers import tell_late_writers
from pgcopydb.cdc.silence import give_back_triggers
from pgcopydb.cdc.source_setup import allow_writing, create_capture, drop_left_by
from pgcopydb.cdc.target_setup import drop_left_by as drop_left_on_target
from pgcopydb.cdc.target_setup import drop_run, prepare_target, refuse_other_target
from pgcopydb.errors import SourceError, StateError, TargetError
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import FollowOptions
from pgcopydb.postgres.connect import connect
from pgcopydb.preflight.poolers import refuse_poolers
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.filters import effective_filters
from pgcopydb.workdir.sentinel import read_sentinel, update_sentinel
from pgcopydb.workdir.store import (
    RunHeader,
    read_header_to_clean_up,
    update_header,
    write_started_over,
)

log = logging.getLogger(__name__)


def setup(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    follow: FollowOptions,
    filters: Path | None = None,
) -> None:
    """``stream setup``: make sure that slot, sentinel and origin are there.

    ``filters`` say what is captured, as those of an earlier command do.
    """
    header = work.header()
    effective_filters(work, filters)
    refuse_poolers(target)
    if header is None or header.consistent_point is None:
        if not follow.create_slot:
            raise StateError(
                "no change capture has been set up in this work directory",
                hint="run snapshot --follow first, so that the copy and the changes meet, or give"
                " --create-slot",
            )
        with create_capture(work, source, follow, filters):
            pass
    drop_left_on_target(work.previous, target)
    prepare_target(work, target)


def cleanup(work: WorkDirectory, source: Endpoint, target: Endpoint, follow: FollowOptions) -> None:  # noqa: ARG001 - the names are the header's
    """``stream cleanup``: remove from both servers what this migration created there, only that."""
    with work.store() as store:
        header = read_header_to_clean_up(store)
    if header is None:
        raise StateError(
            f"{work.path} holds no migration to clean up after",
            hint="give the --dir of the migration",
        )
    for side in (source, target):
        with suppress(SourceError, TargetError):  # one that is gone keeps nothing on the other
            refuse_poolers(side)
    if header.sequences_synchronized and header.slot_created:
        tell_late_writers(work, source)  # with the slot goes the last that knows of them
    try:
        _clean_source(work, header, source)
    except SourceError as error:
        # it may be gone for good, which is no reason to leave anything on the target
        _clean_target(work, header, target)
        error.hint = f"the target is cleaned up, the source is not: {error.hint or 'run it again'}"
        raise
    _clean_target(work, header, target)
    give_back_triggers(work, target)
    with work.store() as store:
        update_header(
            store,
            slot_created=False,
            publication_created=False,
            publications=(),
            cleaned_up=True,
        )
        write_started_over(store, ())
    if header.cleaned_up:
        log.info("nothing was left to remove")
    else:
        log.info("removed what this migration had made on both servers")


def _clean_source(work: WorkDirectory, header: RunHeader, source: Endpoint) -> None:
    with connect(source, purpose="cleanup") as connection:
        allow_writing(connection, source)
        facts = read_facts(connection, source)
        if header.source not in {None, identify(facts)}:
            raise StateError(
                f"{work.path} belongs to a migration of another source database",
                hint="give the --source of that migration",
            )
        for one in (header, *work.previous):
            drop_left_by(one, connection, source, facts)


def _clean_target(work: WorkDirectory, header: RunHeader, target: Endpoint) -> None:
    with connect(target, purpose="cleanup") as connection:
        refuse_other_target(header, read_facts(connection, target))
        for one in (header, *work.previous):
            drop_run(one, connection, target)


def enable_apply(work: WorkDirectory) -> None:
    """Say in the sentinel that the base copy is done and changes may be applied."""
    with work.store() as store:
        if read_sentinel(store) is not None:
            update_sentinel(store, apply=1)
