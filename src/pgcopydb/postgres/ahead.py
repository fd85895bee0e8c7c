"""Reads from a server in batches, the next one while the present one is looked at."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Generic, TypeVar

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """What ``read`` gives, batch after batch until an empty one; the first is begun at once."""

    def __init__(self, readers: Executor, read: Callable[[], list[T]]) -> None:
        self._readers = readers
        self._read = read
        self._coming: Future[list[T]] = readers.submit(read)

    def __iter__(self) -> Iterator[T]:
        while batch := self._coming.result():
            self._coming = self._readers.submit(self._read)
            yield from batch
