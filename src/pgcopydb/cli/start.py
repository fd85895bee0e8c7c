"""Where the process begins: what a signal does until there is anything that could be stopped.

The import of the program takes a tenth of a second, in which Python would answer a Ctrl-C with a
traceback. Nothing is begun by then, so that the process may end where it stands. This module
imports nothing that takes long.
"""

import os
import signal

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    """Import the program, and run it; see ``cli.main``."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # as it is in what a script puts into the background
            signal.signal(number, _leave)

    from pgcopydb.cli.main import main as run

    for number, handler in before.items():
        signal.signal(number, handler)
    run()


def _leave(number: int, _frame: object) -> None:
    os._exit(128 + number)
