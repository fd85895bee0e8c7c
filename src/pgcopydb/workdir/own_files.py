"""Which files of a work directory are the migration's own, and whose the others are.

A directory is named by its user, who may be wrong: nothing is removed, and no other user locked
out, where something else is kept.
"""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pgcopydb.errors import StateError

CATALOGUE: Final = "catalogue.db"

SET_ASIDE: Final = "previous-run"
"""The folder that holds a previous run until the new one has begun."""

ACCESS_PREFIX: Final = "access-"
"""How folders with the parameters of pg_dump's connection begin (``postgres.children``)."""

_FOLDERS: Final = ("schema", "cdc", "databases")
_FILES: Final = (CATALOGUE, f"{CATALOGUE}-wal", f"{CATALOGUE}-shm", f"{CATALOGUE}-journal")


def own_files(path: Path) -> Iterator[Path]:
    """Give what a run keeps in ``path``: all but the locks and what is set aside, which stay."""
    for entry in path.iterdir():
        if entry.name in _FILES + _FOLDERS or entry.name.startswith(ACCESS_PREFIX):
            yield entry


def holds_run(path: Path) -> bool:
    """Tell whether a run worked in a directory, or set one aside to start over in it."""
    return any(catalogue.exists() for catalogue in catalogues(path))


def catalogues(path: Path) -> tuple[Path, Path]:
    """Return where the catalogue of a run is, and where that of one set aside."""
    return path / CATALOGUE, path / SET_ASIDE / CATALOGUE


def refuse_files_of_others(path: Path) -> None:
    """Raise StateError for a directory that is no new one and not that of a migration either.

    One that others may use holds what they would be locked out of, and a folder of a name of ours
    would be filled, and emptied.
    """
    if holds_run(path):
        return
    if path.lstat().st_mode & 0o077 and any(path.iterdir()):
        raise StateError(
            f"the directory {path} holds other files, and others may use it",
            hint="name a new or empty one with --dir; if nobody else needs this one, chmod 700 it",
        )
    for name in (*_FOLDERS, SET_ASIDE):
        folder = path / name
        if folder.is_dir() and any(folder.iterdir()):
            raise StateError(
                f"the directory {path} holds {name}, and no catalogue of a migration",
                hint="name another with --dir, or remove what is there if nobody needs it",
            )


def refuse_prepared_by_others(path: Path, mode: int) -> None:
    """Raise StateError for a directory of ``mode`` in which others may have put something."""
    if mode & (stat.S_IWOTH | stat.S_IWGRP) and any(path.iterdir()):
        raise StateError(
            f"the work directory {path} is one that others may write to, and not empty",
            hint="choose another place with --dir",
        )
