"""Reading lines as they come, and keeping a transaction's lines until it is complete."""

import os
import select
import tempfile
from collections.abc import Iterator
from typing import IO, Final, Self

_READ_BYTES: Final = 1 << 18
_IDLE_SECONDS: Final = 0.1
_IN_MEMORY: Final = 16 << 20
"""Bytes of one transaction that are kept in memory; more goes to a temporary file."""


def read_lines(descriptor: int) -> Iterator[bytes | None]:
    """Give the lines of a file or pipe, without their newlines; None when no more is there yet.

    While it waits for more it gives None several times a second. A line may be as long as memory
    allows.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    parts: list[bytes] = []
    while True:
        if not poll.poll(0):
            yield None
            while not poll.poll(_IDLE_SECONDS * 1000):
                yield None
        data = os.read(descriptor, _READ_BYTES)
        if not data:
            break
        first, *following = data.split(b"\n")
        parts.append(first)
        if following:
            yield b"".join(parts)
            yield from following[:-1]
            parts = [following[-1]]
    if last := b"".join(parts):
        yield last


class Spool:
    """Bytes kept in order until they are wanted or void: in memory, or on disk when many."""

    def __init__(self, *, in_memory: int = _IN_MEMORY) -> None:
        self._in_memory = in_memory
        self._parts: list[bytes] = []
        self._bytes = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.clear()

    def append(self, data: bytes) -> None:
        """Keep ``data`` after what is kept already."""
        self._parts.append(data)
        self._bytes += len(data)
        if self._bytes > self._in_memory:
            self._spill()

    def take(self) -> Iterator[bytes]:
        """Give everything that is kept, in pieces, and keep nothing any more."""
        if self._file is not None:
            self._spill()
            self._file.seek(0)
            while piece := self._file.read(_READ_BYTES):
                yield piece
        elif self._parts:
            yield b"".join(self._parts)
        self.clear()

    def clear(self) -> None:
        """Keep nothing any more."""
        self._parts = []
        self._bytes = 0
        if self._file is not None:
            self._file.close()
            self._file = None

    def _spill(self) -> None:
        if self._file is None:
            # unlinked at once and readable by this process alone
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by clear
        self._file.writelines(self._parts)
        self._parts = []
        self._bytes = 0
