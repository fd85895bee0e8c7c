"""What a slot holds back on its server, and what of it its owner has to be told.

Log is what fills the disk, or what the server takes away from the slot when its limit is reached.

Rows of the system catalogues that were deleted or changed since the slot's catalog_xmin cannot be
vacuumed, nor be frozen. Nothing is wrong with an age that any table may reach: vacuum freezes
anyhow when ``autovacuum_freeze_max_age`` transactions have passed. Beyond that age every vacuum of
a catalogue is in vain, again and again, and in the end the server refuses to write. So half of it
is the time to tell, as it is half of the limit for the log.
"""

from collections.abc import Iterator

from msgspec import Struct


class Holdback(Struct, frozen=True):
    """What a slot holds back; WAL in bytes, ``limit`` is what it may, 0 for any amount."""

    status: str | None
    held_back: int
    limit: int
    xmin_age: int = 0
    """Transactions since those whose catalogue rows have to be kept."""
    freeze_max_age: int = 0


def worries(slot: str, found: Holdback) -> Iterator[tuple[str, str]]:
    """Give, by a name for each, what is to be told of what the slot ``slot`` holds back."""
    subject = f'source: replication slot "{slot}"'
    if found.status == "lost":
        yield "lost", f"{subject} is lost: the source removed WAL that it needed"
    elif found.status == "unreserved" or (found.limit and found.held_back > found.limit / 2):
        yield "half", f"{subject} {_much_log(found)}"
    if found.xmin_age > found.freeze_max_age / 2:
        yield "xmin", f"{subject} {_old_catalogues(found)}"


def _much_log(found: Holdback) -> str:
    return (
        f"holds back {found.held_back >> 20:,} MB of WAL, more than half of"
        f" max_slot_wal_keep_size ({found.limit >> 20:,} MB), beyond which it is lost: raise the"
        " setting, or see what keeps changes from being received"
    )


def _old_catalogues(found: Holdback) -> str:
    return (
        "keeps the source from vacuuming its system catalogues: its catalog_xmin is"
        f" {found.xmin_age:,} transactions old, more than half of autovacuum_freeze_max_age"
        f" ({found.freeze_max_age:,}): end long transactions there, or see what keeps changes from"
        " being received"
    )
