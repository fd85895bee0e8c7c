"""Removing segments that are applied."""

import fcntl
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pgcopydb.workdir.changelog.reader import first_after, first_slice
from pgcopydb.workdir.changelog.segment import segment_files, unlink_segment
from pgcopydb.workdir.locks import take


def prune(directory: Path, position: int, *, dry_run: bool = False) -> list[Path]:
    """Remove the segments whose every transaction ends at or before ``position``.

    ``position`` must be durable on the target. The newest segment always stays, and so does one
    that holds a slice of a transaction whose end is in a later segment (rulings 2 and 4).
    Returns the files removed, or that would be.
    """
    with _alone(directory):
        files = segment_files(directory)
        if not files:
            return []
        needed = first_slice(files, first_after(files, position))
        removable = [
            path for path, following in itertools.pairwise(files) if int(following.stem) <= needed
        ]
        if not dry_run:
            for path in removable:
                unlink_segment(path)
    return removable


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep others from pruning meanwhile: a running apply does so too, and files would vanish."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        take(descriptor, directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
