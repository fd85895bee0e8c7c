"""Disks of some megabytes, to be filled up: for files, or under a database. Only root mounts them.

::

    with mounted(tmp_path / "disk", megabytes=16) as disk:
        fill(disk, free=0)
        ...
        empty(disk)
"""

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pgcopydb.demo.processes import server_user
from tests.support.requirements import missing
from tests.support.servers import Database

_FILLER = "filler"


@contextmanager
def mounted(place: Path, *, megabytes: int) -> Iterator[Path]:
    """Give a disk of that size at ``place``, which is made, until the block ends."""
    if os.geteuid() != 0:
        missing("only root can mount a small file system")
    place.mkdir()
    _mount(place, f"size={megabytes}m")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
        place.rmdir()


def resize(disk: Path, *, megabytes: int) -> None:
    """Give a disk another size."""
    _mount(disk, f"remount,size={megabytes}m")


def _mount(place: Path, options: str) -> None:
    options = f"{options},mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)


def fill(disk: Path, *, free: int) -> None:
    """Let a file grow until no more than so many bytes are free."""
    with (disk / _FILLER).open("ab") as filler:
        while (more := _free_bytes(disk) - free) > 0:
            try:
                os.posix_fallocate(filler.fileno(), filler.seek(0, os.SEEK_END), more)
            except OSError as error:
                if error.errno != errno.ENOSPC:  # others have taken some of it meanwhile
                    raise


def _free_bytes(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


def empty(disk: Path) -> None:
    """Give the room back that :func:`fill` took, if it did."""
    (disk / _FILLER).unlink(missing_ok=True)


@contextmanager
def database_on_disk(target: Database, *, megabytes: int) -> Iterator[Path]:
    """Put a disk of that size under a database, which nobody uses, until the block ends.

    An empty database takes 8 MB. Gives the disk, which :func:`resize` makes larger.
    """
    place = Path(tempfile.gettempdir(), f"pgcopydb-disk-{os.getpid()}")  # short, and open to all
    space = f"space_{target.name}"
    with mounted(place, megabytes=megabytes):
        inside = place / "space"
        inside.mkdir()
        if user := server_user():
            shutil.chown(inside, user)
        _on_server(target, f"create tablespace {space} location '{inside}'")
        _on_server(target, f"alter database {target.name} set tablespace {space}")
        try:
            yield place
        finally:
            _on_server(target, f"alter database {target.name} set tablespace pg_default")
            _on_server(target, f"drop tablespace {space}")


def _on_server(database: Database, statement: str) -> None:
    with database.cluster.connect() as connection:
        connection.execute(statement.encode())
