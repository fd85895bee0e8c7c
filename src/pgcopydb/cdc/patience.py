"""How long a server that went away is tried again, and how often.

Receiving and applying are loops over connections: what they do is kept on both sides, so that each
connection goes on where the one before it ended.
"""

import logging
import time
from typing import Final

from pgcopydb.errors import PgcopydbError

log = logging.getLogger(__name__)

_GIVE_UP_AFTER: Final = 600.0
"""Seconds of failed attempts after which the server's error ends the work."""

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0


class Patience:
    """Pauses between attempts, in seconds: each is twice the last, and progress renews them."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin anew: an attempt has got something done before it failed."""
        self._since = time.monotonic()
        self._pause = _FIRST_PAUSE

    def bear(self, error: PgcopydbError) -> None:
        """Say that there will be another attempt; raise ``error`` when there should be none."""
        if not error.retryable or time.monotonic() - self._since > _GIVE_UP_AFTER:
            raise error
        log.warning("%s; connecting again", error.message)

    def pause(self) -> None:
        """Wait before the next attempt."""
        time.sleep(self._pause)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
