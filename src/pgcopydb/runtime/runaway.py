"""Ends a process that uses the processor while its event loop stands still.

asyncpg 0.32 goes round for ever, in compiled code, over a message whose length is far below zero:
no timeout, no signal handler and no other thread of the process gets a turn. What is left is the
kernel's own timer of the processor time that a process uses (ITIMER_PROF of setitimer(2)): each
turn of the loop sets it back, and when it comes to its end SIGPROF, which nobody handles, ends the
process. One that waits, or was stopped, uses no time and is left alone.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

PROCESSOR_SECONDS: Final = 30.0
"""Time of both, the process and the system for it; a piece of COPY data takes milliseconds."""

_EVERY: Final = 1.0


@asynccontextmanager
async def ending_runaways(seconds: float = PROCESSOR_SECONDS) -> AsyncIterator[None]:
    """Let the process die by SIGPROF when its loop does not turn for ``seconds`` of its time.

    It is the process's only timer of that kind, so one block of it at a time.
    """
    turning = asyncio.create_task(_set_back_again_and_again(seconds))
    try:
        yield
    finally:
        turning.cancel()
        signal.setitimer(signal.ITIMER_PROF, 0)


async def _set_back_again_and_again(seconds: float) -> None:
    while True:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        await asyncio.sleep(min(_EVERY, seconds / 4))
