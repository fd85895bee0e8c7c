"""The form in which a chunk is kept: XLogData messages as they came, and where each begins."""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

from msgspec import Struct

from pgcopydb.decoding import MESSAGE_HEADER
from pgcopydb.errors import StateError

_COUNT = struct.Struct(">I")
"""A chunk begins with the number of its messages and the length of each."""

_WAL_START = struct.Struct(">Q").unpack_from


Frame = tuple[int, bytes]
"""WAL start and payload of one XLogData message."""


class Packed(Struct, frozen=True):
    """The XLogData messages of a chunk: the first begins at ``start`` of ``data``."""

    data: bytes
    start: int
    lengths: tuple[int, ...]


class Chunk(Struct, frozen=True):
    """Stored frames: whole transactions (``slice`` is None), or one slice of a large one.

    ``end_lsn`` is the end of the last commit in it, 0 for a slice that is not final.
    """

    id: int
    session: int
    slice: int | None
    final: bool
    end_lsn: int
    transactions: int
    frames: bytes

    def packed(self) -> Packed:
        """Return where the messages are; raise StateError when the chunk is damaged."""
        data = self.frames
        try:
            (count,) = _COUNT.unpack_from(data)
            lengths = struct.unpack_from(f">{count}I", data, _COUNT.size)
        except struct.error:
            raise damaged() from None
        start = _COUNT.size * (1 + count)
        if start + sum(lengths) != len(data) or min(lengths, default=0) <= MESSAGE_HEADER:
            raise damaged()
        return Packed(data, start, lengths)

    def unpack(self) -> Iterator[Frame]:
        """Give the frames one by one; raise StateError when the chunk is damaged."""
        packed = self.packed()
        data, at = packed.data, packed.start
        for length in packed.lengths:
            following = at + length
            yield _WAL_START(data, at + 1)[0], data[at + MESSAGE_HEADER : following]
            at = following


class MessageRun(Struct, frozen=True):
    """XLogData messages that follow each other: the length of each, and all of them.

    Chunks are put together of such runs without looking at the messages again.
    """

    lengths: bytes
    data: bytes

    @classmethod
    def of(cls, messages: Sequence[bytes]) -> Self:
        """Return messages, as they came, as a run."""
        lengths = struct.pack(f">{len(messages)}I", *map(len, messages))
        return cls(lengths, b"".join(messages))

    def messages(self) -> Iterator[bytes]:
        """Give the messages one by one."""
        at = 0
        for (length,) in _COUNT.iter_unpack(self.lengths):
            yield self.data[at : at + length]
            at += length


def pack_messages(messages: Sequence[bytes]) -> bytes:
    """Return XLogData messages, as they came, in the form in which a chunk keeps them."""
    count = len(messages)
    head = struct.pack(f">{count + 1}I", count, *map(len, messages))
    return b"".join((head, *messages))


def pack_runs(runs: Sequence[MessageRun]) -> bytes:
    """Return the messages of ``runs`` in the form in which a chunk keeps them."""
    lengths = [run.lengths for run in runs]
    count = sum(map(len, lengths)) // _COUNT.size
    return b"".join((_COUNT.pack(count), *lengths, *(run.data for run in runs)))


def damaged() -> StateError:
    """Return the error for a chunk whose messages do not fill it."""
    return StateError("a stored chunk of changes is damaged: its messages are not as long as told")


def checksum(numbers: Iterable[int | None], data: bytes = b"") -> int:
    """Return the checksum of a row of numbers, of which some may be null, and bytes."""
    return zlib.crc32(data, zlib.crc32(repr(tuple(numbers)).encode()))
