"""Waiting for what a thread does beside the copy."""

from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Final, TypeVar

_T = TypeVar("_T")

_LOOK_EVERY: Final = 0.02


def wait_for(future: Future[_T], look: Callable[[], None]) -> _T:
    """Return what ``future`` gives once it is done, calling ``look`` meanwhile.

    Raises what ``look`` or the future raised.
    """
    while wait([future], _LOOK_EVERY).not_done:
        look()
    look()  # a terminal's Ctrl-C ends pg_dump as well, which is then no failure of its own
    return future.result()
