"""The locks of a work directory: a file for each role, which names who holds it.

A lock is a ``flock``, so it ends with its process, whatever becomes of that.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pgcopydb.errors import StateError

LETTING_GO: Final = 2.0
"""Seconds in which a process that was killed has closed its files.

``kill`` returns before that: the kernel first ends what waits for the disk, and frees the memory.
"""

_LOOK_EVERY: Final = 0.02


@contextmanager
def lock(path: Path, role: str, command: str, *, patience: float = 0) -> Iterator[None]:
    """Hold the lock of ``role`` for the length of the block.

    Another process may keep it for ``patience`` seconds more. Raises StateError naming the
    process that still has it then, or where no lock can be had.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path / f"{role}.lock", flags, 0o600)
    except OSError as error:
        raise StateError(
            f"{path / role}.lock cannot be opened: {error.strerror}",
            hint="it is no file of this program's making: look at it, then remove it, or use"
            " another --dir",
        ) from None
    try:
        try:
            _take_within(patience, descriptor, path)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            raise in_use(path, holder) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pgcopydb {command}, pid {os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take_within(seconds: float, descriptor: int, path: Path) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            return take(descriptor, path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
        time.sleep(_LOOK_EVERY)


def in_use(path: Path, holder: str) -> StateError:
    """Return the error of a directory in which ``holder``, a command, is at work."""
    return StateError(
        f"the work directory {path} is in use: {holder}",
        hint="wait for it to end, stop it, or use another --dir",
    )


def take(descriptor: int, path: Path, operation: int) -> None:
    """Take the ``flock`` of something in the directory ``path``.

    Raises BlockingIOError when another process holds it and ``operation`` does not wait, and
    StateError when the file system has no locks, as NFS may be mounted.
    """
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        raise
    except OSError as error:
        raise StateError(
            f"nothing can be locked in {path}: {error.strerror}",
            hint="two commands could work there at once: use another --dir, on a local disk",
        ) from None


def is_held(path: Path, role: str) -> bool:
    """Tell whether somebody holds the lock of ``role``, by taking it for a moment."""
    try:
        with lock(path, role, "probe"):
            return False
    except StateError:
        return True


def working_command(path: Path, role: str) -> str | None:
    """Return which command is at work in ``role`` in a directory, None for none.

    Looking takes no lock that a command which begins right now could trip over, unless the process
    that the lock file names is gone and its number was given to another one.
    Raises StateError where no lock can be had.
    """
    try:
        descriptor = os.open(path / f"{role}.lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        holder = os.read(descriptor, 200).decode(errors="replace").strip()
        alive = _is_alive(holder.rpartition(" ")[2])
        return holder if alive and _is_locked(descriptor, path) else None
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int, path: Path) -> bool:
    try:
        take(descriptor, path, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _is_alive(pid: str) -> bool:
    if not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
