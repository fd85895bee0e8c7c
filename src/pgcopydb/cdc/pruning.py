"""Removing stored changes by hand: those that the target no longer needs.

Apply does so by itself every few seconds while it runs; this is for a follow that is stopped, and
to see what there is to gain.
"""

from pathlib import Path

from pgcopydb.cdc.capture import read_facts
from pgcopydb.cdc.session import open_progress
from pgcopydb.cdc.target_setup import refuse_other_target
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.results import PrunedFile, PruneSummary
from pgcopydb.postgres.connect import connect
from pgcopydb.workdir.changelog import prune, segment_files
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.sentinel import require_sentinel


def prune_stored(work: WorkDirectory, target: Endpoint | None, *, dry_run: bool) -> PruneSummary:
    """Remove the files of stored changes that are applied, durably, on the target.

    How far that is says the sentinel, as apply wrote it last; with ``target`` the target itself is
    asked, which also knows whether it was restored from a backup since. ``dry_run`` removes
    nothing. Raises StateError when nothing was ever captured here, or for another target.
    """
    with work.store() as store:
        position = require_sentinel(store).replay_lsn
    if target is not None:
        position = _durable_position(work, target)
    sizes = {path: _size(path) for path in segment_files(work.cdc)}
    removed = prune(work.cdc, position, dry_run=dry_run) if sizes else []
    return PruneSummary(
        position=position,
        removed=tuple(PrunedFile(name=path.name, bytes=sizes.pop(path, 0)) for path in removed),
        kept_files=len(sizes),
        kept_bytes=sum(sizes.values()),
        dry_run=dry_run,
    )


def _durable_position(work: WorkDirectory, target: Endpoint) -> int:
    """Return the position up to which everything is on the target's disk; 0 before any apply."""
    header = work.header()
    with connect(target, purpose="prune") as connection:
        if header is None or header.progress is None:
            return 0
        refuse_other_target(header, read_facts(connection, target))
        return open_progress(connection, target, header).durable()


def _size(path: Path) -> int:
    """Return the bytes of a file, 0 for one that an apply has just removed."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
