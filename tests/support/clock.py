"""Waiting in tests: for a condition, never for a fixed time."""

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], bool], *, seconds: float = 60) -> bool:
    """Wait until a condition holds; return False when it does not within seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
