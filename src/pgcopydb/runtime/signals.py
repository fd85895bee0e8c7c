"""What SIGINT, SIGTERM and SIGHUP do: first ask for a clean stop, then cancel.

The supervisor of a run installs :func:`stop_on_signals`. Its first signal only sets a flag, which
every waiting loop looks at; a second one raises :class:`Interrupted` where the program stands, so
that even a long statement ends. In a block of :func:`stopping_at_once` the first one does. A
SIGHUP that is ignored already (``nohup``) stays ignored. Worker processes ignore SIGINT, because a
terminal sends it to the whole process group at once and the supervisor forwards a SIGTERM of its
own.
"""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pgcopydb.errors import Interrupted

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Requested:
    number: int | None = None
    handled = False
    at_once = False


def stop_requested() -> bool:
    """Tell whether a signal has asked this process to finish its unit of work and stop."""
    return _Requested.number is not None


def raise_if_stopped() -> None:
    """Raise Interrupted when a signal has asked this process to stop."""
    if _Requested.number is not None:
        raise Interrupted(_Requested.number)


def _note(number: int, _frame: FrameType | None) -> None:
    if _Requested.number is not None:
        raise Interrupted(number)
    _Requested.number = number
    if _Requested.at_once:
        raise Interrupted(number)


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn the stop signals into a request for a clean stop while the block runs.

    Inside another such block it does nothing: a request made there counts for both.
    """
    if _Requested.handled:
        yield
        return
    _Requested.handled = True
    previous = {number: signal.signal(number, _note) for number in _heeded()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _Requested.number = None
        _Requested.handled = False


def _heeded() -> Iterator[signal.Signals]:
    """Give the stop signals, without a SIGHUP that whoever began this does not want to count."""
    for number in STOP_SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            yield number


@contextmanager
def stopping_at_once() -> Iterator[None]:
    """Let the first stop signal end what the block waits for, however long one statement takes.

    For what loses nothing by being broken off. Raises Interrupted, also for an earlier signal.
    """
    raise_if_stopped()
    before, _Requested.at_once = _Requested.at_once, True
    try:
        yield
    finally:
        _Requested.at_once = before


def install_in_worker() -> None:
    """Set the handlers of a worker process: SIGTERM asks, a second one cancels."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _note)
    _Requested.handled = True
