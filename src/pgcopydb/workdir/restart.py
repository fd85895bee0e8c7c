"""Starting over in a work directory, without losing what cannot be had again.

Changes that are stored and not applied may be nowhere else: the source was told that they are
safe. So what a previous run left is set aside first and removed only when the new run has begun;
a command that is refused before it did anything puts it back. What ``--restart`` is given to by
mistake, commands that only go on with a run, is refused before anything is touched.
"""

import logging
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from pgcopydb.errors import StateError
from pgcopydb.lsn import format_lsn
from pgcopydb.workdir import store
from pgcopydb.workdir.locks import LETTING_GO, is_held, lock
from pgcopydb.workdir.own_files import CATALOGUE, SET_ASIDE, own_files
from pgcopydb.workdir.sentinel import Sentinel, read_sentinel
from pgcopydb.workdir.store import RunHeader

log = logging.getLogger(__name__)

_RESTARTING: Final = "restart"
"""The role of whoever has set a previous run aside."""

_SNAPSHOT: Final = "snapshot"

GOES_ON: Final = frozenset(
    {
        "follow",
        "stream apply",
        "stream catchup",
        "stream cleanup",
        "stream prefetch",
        "stream replay",
    }
)
"""Commands that begin nothing: without what is there they have nothing to do."""

_DROPS_SLOT: Final = frozenset({"clone", "clone --follow", "snapshot", "stream setup"})
"""Commands that drop the previous run's slot and publication when they start over."""


@contextmanager
def started_over(
    path: Path, command: str, others: Sequence[str]
) -> Iterator[tuple[RunHeader, ...]]:
    """Set aside what a previous run left while the block runs, and give its header.

    With it come those of the runs before whose traces it did not come to remove.

    ``others`` are the roles in which nobody may be at work. When the block fails before anything
    was begun, what was there is put back; otherwise it is removed for good. Raises StateError for
    a command that cannot start over, and where that would lose changes or leave a replication
    slot behind.
    """
    with ExitStack() as locks:
        locks.enter_context(lock(path, _RESTARTING, command))
        for role in others:
            if role != _SNAPSHOT:
                locks.enter_context(lock(path, role, _RESTARTING, patience=LETTING_GO))
        headers, sentinel = _salvage(path / CATALOGUE)
        if _SNAPSHOT in others and is_held(path, _SNAPSHOT):
            raise StateError(
                f"the work directory {path} is in use by a running snapshot command",
                hint="stop it before starting over with --restart",
            )
        if headers:
            _refuse_loss(path, command, headers[0], sentinel)
        _set_aside(path)
        locks.pop_all().close()
    with lock(path, _RESTARTING, command):
        succeeded = False
        try:
            yield headers
            succeeded = True
        finally:
            _settle(path, keep=not succeeded and not _has_begun(path))


def settle_interrupted(path: Path) -> None:
    """Put back, or remove, what a command that was killed while it started over set aside."""
    if (path / SET_ASIDE).exists() and not is_held(path, _RESTARTING):
        _settle(path, keep=not _has_begun(path))


def discard_previous(path: Path) -> None:
    """Remove what was set aside for good: from here on nothing leads back to it."""
    shutil.rmtree(path / SET_ASIDE, ignore_errors=True)


def _refuse_loss(path: Path, command: str, header: RunHeader, sentinel: Sentinel | None) -> None:
    """Raise StateError where --restart would destroy what it should not."""
    captured = header.consistent_point is not None
    if captured and command in GOES_ON:
        raise StateError(
            f"pgcopydb {command} goes on with the migration in {path}, which --restart would"
            " remove",
            hint="leave --restart out; to start the migration over, give it to the command that"
            " began it",
        )
    if header.slot_created and command not in _DROPS_SLOT:
        raise StateError(
            f'the migration in {path} still has its replication slot "{header.slot_name}", which'
            f" pgcopydb {command} would leave behind on the source",
            hint="drop it with 'pgcopydb stream cleanup', then start over; or use another --dir",
        )
    foreign = not (header.slot_created or header.slot_dropped)
    if captured and foreign and sentinel is not None:
        _refuse_losing_changes(path, sentinel)


def _refuse_losing_changes(path: Path, sentinel: Sentinel) -> None:
    """Changes of a slot that somebody else made are gone from it once they are stored here."""
    applied = max(sentinel.replay_lsn, sentinel.startpos)
    if sentinel.flush_lsn > applied:
        raise StateError(
            f"changes up to {format_lsn(sentinel.flush_lsn)} are stored in {path} and nowhere else,"
            f" and only those up to {format_lsn(applied)} are known to be applied",
            hint="apply them (stream apply), or keep them as SQL (stream transform); if nobody"
            " needs them, remove the directory by hand",
        )


def _set_aside(path: Path) -> None:
    aside = path / SET_ASIDE
    aside.mkdir(mode=0o700)
    for entry in list(own_files(path)):
        entry.rename(aside / entry.name)


def _settle(path: Path, *, keep: bool) -> None:
    """Put back what is set aside (``keep``), in the place of what is there, or remove it."""
    aside = path / SET_ASIDE
    if not aside.exists():
        return
    if keep:
        for entry in list(own_files(path)):
            _remove(entry)
        for entry in aside.iterdir():
            entry.rename(path / entry.name)
    discard_previous(path)


def _has_begun(path: Path) -> bool:
    catalogue = path / CATALOGUE
    if not catalogue.exists():
        return False
    with store.open_store(catalogue) as connection:
        return store.has_begun(connection)


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def _salvage(catalogue: Path) -> tuple[tuple[RunHeader, ...], Sentinel | None]:
    """Return what can still be read of the runs that are to be started over."""
    if not catalogue.exists():
        return (), None
    try:
        with store.open_store(catalogue) as connection:
            header = store.read_header_to_clean_up(connection)
            kept = store.read_started_over(connection)
            return kept if header is None else (header, *kept), read_sentinel(connection)
    except (StateError, sqlite3.Error):
        log.warning("the catalogue of the previous run cannot be read; it is removed unread")
        return (), None


def remembered(path: Path, removed: tuple[RunHeader, ...]) -> tuple[RunHeader, ...]:
    """Write down the headers of the runs that are started over now, or return those of before."""
    catalogue = path / CATALOGUE
    if not removed and not catalogue.exists():
        return ()
    with store.open_store(catalogue) as connection:
        if removed:
            store.write_started_over(connection, removed)
        return store.read_started_over(connection)
