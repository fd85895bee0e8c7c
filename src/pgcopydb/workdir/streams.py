"""What has come of transactions in progress, on disk until their ends are known.

It is void as soon as its session is: the source sends an unfinished transaction again from its
beginning (ruling 2). So nothing here waits for the disk, and whoever begins removes what a killed
process has left. A transaction's messages lie in files of a bounded size, each of which is removed
when it is read, so that moving a large transaction to where it is stored takes hardly any room.
"""

import shutil
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, Self

from msgspec import Struct

from pgcopydb.decoding.streaming import Range
from pgcopydb.errors import StateError
from pgcopydb.workdir.changelog import MessageRun

_FILE_BYTES: Final = 64 << 20

_PLACE: Final = struct.Struct(">I?II")
"""Id, whether it describes relations, bytes of lengths and of data; a checksum of all follows."""

_HEAD_BYTES: Final = _PLACE.size + 4


class KeptRange(Struct, frozen=True):
    """Messages that came under one id; see ``decoding.streaming.Range``."""

    xid: int
    describes: bool
    run: MessageRun


class StreamStore:
    """The files, in a directory of their own; a context manager that removes it at its end."""

    def __init__(self, directory: Path, *, file_bytes: int = _FILE_BYTES) -> None:
        self._directory = directory
        self._file_bytes = file_bytes
        self._paths: defaultdict[int, list[Path]] = defaultdict(list)
        self._xid = 0
        self._file: IO[bytes] | None = None
        self._remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        with suppress(OSError):  # what it could not write is void now
            self._close()
        self._remove()

    def begin(self, xid: int) -> None:
        """Begin a block of transaction ``xid``, to which belongs what is appended from now on."""
        self._xid = xid

    def append(self, one: Range) -> None:
        """Keep messages of the block; raise StateError where there is no room for them."""
        run = MessageRun.of(one.messages)
        place = _PLACE.pack(one.xid, one.describes, len(run.lengths), len(run.data))
        try:
            file = self._open()
            file.writelines((place, _checksum(place, run), run.lengths, run.data))
        except OSError as error:
            raise self._no_room(error) from error

    def end(self) -> None:
        """End the block: what was appended can be taken."""
        try:
            self._close()
        except OSError as error:
            raise self._no_room(error) from error

    def take(self, xid: int) -> Iterator[KeptRange]:
        """Give what was kept of a transaction, in its order; it is kept no longer.

        Raises StateError for a file that is not as it was written.
        """
        for path in self._paths.pop(xid, []):
            with path.open("rb") as file:
                while head := file.read(_HEAD_BYTES):
                    yield _read(path, file, head)
            path.unlink()

    def discard(self, xid: int) -> None:
        """Keep nothing of a transaction any longer."""
        for path in self._paths.pop(xid, []):
            path.unlink(missing_ok=True)

    def _open(self) -> IO[bytes]:
        if self._file is not None and self._file.tell() < self._file_bytes:
            return self._file
        self._close()
        paths = self._paths[self._xid]
        if not paths or paths[-1].stat().st_size >= self._file_bytes:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            paths.append(self._directory / f"{self._xid}.{len(paths)}")
        self._file = paths[-1].open("ab")
        return self._file

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _remove(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def _no_room(self, error: OSError) -> StateError:
        return StateError(
            f"{self._directory} has no room for transactions in progress ({error.strerror})",
            hint="make room on that disk, then go on with --resume: what could not be stored has"
            " not been confirmed to the source, which keeps it",
        )


def _read(path: Path, file: IO[bytes], head: bytes) -> KeptRange:
    """Return the messages that follow ``head``."""
    place, checksum = head[: _PLACE.size], head[_PLACE.size :]
    if len(head) == _HEAD_BYTES:
        xid, describes, lengths, data = _PLACE.unpack(place)
        run = MessageRun(file.read(lengths), file.read(data))
        if checksum == _checksum(place, run):
            return KeptRange(xid, describes, run)
    raise StateError(
        f"{path} is damaged: a checksum is wrong",
        hint="go on with --resume: the source sends that transaction again",
    )


def _checksum(place: bytes, run: MessageRun) -> bytes:
    return zlib.crc32(run.data, zlib.crc32(run.lengths, zlib.crc32(place))).to_bytes(4)
