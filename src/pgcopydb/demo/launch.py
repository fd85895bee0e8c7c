"""Become a PostgreSQL server that dies with the process that asked for it.

Run as a script, before any package can be imported: it gives up root's privileges, asks the
kernel for a signal when its parent is gone, and turns into the server. Doing this in a program
of its own rather than between fork and exec keeps it safe where the parent has threads, and it
works where the unprivileged user cannot read root's Python.

Arguments: the parent's process id, or 0 for a server that outlives it; the user's name, or
``-`` to stay who we are; then the server's command line.
"""

import ctypes
import os
import pwd
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def become_user(name: str) -> None:
    """Give up root's privileges for those of a user, for good."""
    account = pwd.getpwnam(name)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def die_with(parent: int) -> None:
    """Ask for SIGINT, which is the server's fast shutdown, when the parent is gone.

    Changing the user clears the wish, and exec keeps it, so it stands between the two. A parent
    that died before is noticed by its process id.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


def main(arguments: list[str]) -> None:
    """Replace this process by the server's command line."""
    parent, user, *command = arguments
    if user != "-":
        become_user(user)
    if int(parent):
        die_with(int(parent))
    # Python ignores SIGPIPE, and ignored signals survive exec; PostgreSQL starts from the defaults.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(command[0], command)  # noqa: S606 - an argument list, and no shell is the point


if __name__ == "__main__":
    main(sys.argv[1:])
