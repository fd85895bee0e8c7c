"""``snapshot``: hold a view of the source, and with ``--follow`` the slot that continues it."""

import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec.structs import replace

from pgcopydb.cdc.source_setup import create_capture
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import Filters
from pgcopydb.model.options import CopyOptions, FollowOptions
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.selection import resolve_filters
from pgcopydb.postgres.snapshot import HeldSnapshot, locked_snapshot
from pgcopydb.runtime import signals
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.filters import effective_filters, keep_filters
from pgcopydb.workdir.store import RunHeader, read_header, update_header, write_header

log = logging.getLogger(__name__)

_CHECK_EVERY = 0.1


def export_snapshot(
    work: WorkDirectory,
    source: Endpoint,
    options: CopyOptions,
    follow: FollowOptions | None,
    *,
    announce: Callable[[str], None],
) -> None:
    """Hold a snapshot until a signal asks to stop; ``announce`` is told its id once.

    Later commands in the same directory find it there. Raises the source's error when the session
    that holds it is lost.
    """
    with (
        signals.stop_on_signals(),
        hold_snapshot(
            work, source, follow, from_snapshot=options.snapshot, filters=options.filters
        ) as held,
    ):
        announce(held.id)
        try:
            while not signals.stop_requested():
                held.check()
                time.sleep(_CHECK_EVERY)
        finally:
            with work.store() as store:
                update_header(store, snapshot=None)


@contextmanager
def hold_snapshot(
    work: WorkDirectory,
    source: Endpoint,
    follow: FollowOptions | None,
    *,
    from_snapshot: str | None = None,
    filters: Path | None = None,
    checked: bool = False,
) -> Iterator[HeldSnapshot]:
    """Hold a snapshot in which the selected tables are locked; write its id into the header.

    With ``follow`` a slot is created, and the snapshot is the slot's own: what it shows and what
    the slot streams afterwards meet without a gap. ``checked`` says that the same command has
    looked at the source already.
    """
    with ExitStack() as stack:
        if follow is None:
            selected = _select(work, source, filters)
            held = stack.enter_context(locked_snapshot(source, from_snapshot, selected))
            _remember(work, held.id)
        else:
            with create_capture(work, source, follow, filters, checked=checked) as slot:
                selected = effective_filters(work, None)
                held = stack.enter_context(locked_snapshot(source, slot.snapshot, selected))
                _remember(work, held.id)
        yield held


def _select(work: WorkDirectory, source: Endpoint, given: Path | None) -> Filters:
    """Return what is selected, and write it down for the commands that use the snapshot."""
    with connect(source, purpose="snapshot") as connection:
        selected = resolve_filters(source, connection, effective_filters(work, given))
    keep_filters(work, given, selected)
    return selected


def _remember(work: WorkDirectory, snapshot: str) -> None:
    with work.store() as store:
        header = read_header(store) or RunHeader(run_id=uuid.uuid4().hex)
        write_header(store, replace(header, snapshot=snapshot))
