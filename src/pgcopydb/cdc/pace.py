"""How often a server is looked at for what takes it long where the database is large."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_SHARE: Final = 20
"""A look may take one part in so many of the time. To read 100,000 tables took 19 s on a busy
machine, which every ten seconds was a processor of the source for as long as it was followed."""


class Pace:
    """Says when it is time for the next look: after ``every`` seconds, later where it takes long.

    ``clock`` gives seconds that never go back.
    """

    def __init__(self, every: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._clock = clock
        self._next = 0.0

    def is_due(self) -> bool:
        """Tell whether it is time."""
        return self._clock() >= self._next

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Do one look in the block; what it takes decides when the next one is due."""
        begun = self._clock()
        try:
            yield
        finally:
            self._next = begun + max(self._every, _SHARE * (self._clock() - begun))
