"""Files that hold somebody's schema: private from their first byte."""

import os
import zlib
from pathlib import Path
from typing import Final

_PIECE: Final = 1 << 20


def write_private(path: Path, text: str = "") -> None:
    """Make ``path`` anew with ``text``, mode 0600; a link in its place is removed, not followed."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def sync_folder(folder: Path) -> None:
    """Put the names in ``folder`` on disk, so that a rename outlives a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checksum_of(path: Path) -> int:
    """Return the CRC-32 of what a file holds."""
    checksum = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            checksum = zlib.crc32(piece, checksum)
    return checksum
