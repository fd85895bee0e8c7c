"""What a crash of this machine may have taken: stored changes that the target has already.

apply reads changes before they are on disk here. When the machine loses power then, the target may
be ahead of what is stored. Nothing is lost: only what is on disk has been confirmed, so that the
source sends the rest again. But such a target looks like one whose origin somebody moved. What
tells them apart is that the machine was started anew since, and that a transaction of the source
ends exactly where the target is; the first is looked at before, the second when it has come.
"""

import sqlite3
from pathlib import Path
from typing import Final

from pgcopydb.workdir.store import read_fact, write_fact

_FACT: Final = "applied under boot"

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def may_have_happened(store: sqlite3.Connection) -> bool:
    """Tell whether this machine was started anew since changes were applied here.

    Where a machine does not tell its starts apart, it may have been. Another machine counts as
    started anew: whether the directory came to it with everything is not known.
    """
    before = read_fact(store, _FACT, str)
    return before is not None and (not before or before != _boot_id())


def note_start(store: sqlite3.Connection) -> None:
    """Note, durably, that what the target has is stored, and what comes is applied from now on."""
    if read_fact(store, _FACT, str) != (boot_id := _boot_id()):
        write_fact(store, _FACT, boot_id)


def _boot_id() -> str:
    """Return what changes with each start of the machine; empty where nothing tells."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
