"""Segments: the SQLite files of a changelog, each complete under its name or not there."""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pgcopydb.errors import StateError
from pgcopydb.workdir.changelog.chunk import Frame, checksum
from pgcopydb.workdir.schema import schema_difference
from pgcopydb.workdir.store import connect_sqlite, refuse_full_disk
from pgcopydb.workdir.transaction import transaction

MOST_BYTES = 900_000_000
"""A row of SQLite ends at 10⁹ bytes; what a chunk has beyond this is stored in parts (ruling 4)."""

PREAMBLE = 0
"""The chunk number under which a segment keeps relation frames older than itself."""

_SCHEMA = """
create table segment (
  id integer primary key check (id = 1),
  previous_end integer not null,
  session integer not null,
  checksum integer not null,
  durable_commits integer not null default 0
) strict;
create table chunk (
  id integer primary key,
  session integer not null,
  slice integer,
  final integer not null,
  end_lsn integer not null,
  commit_time integer not null,
  transactions integer not null,
  checksum integer not null,
  frames blob not null
) strict;
create table chunk_part (
  chunk integer not null,
  part integer not null,
  frames blob not null,
  primary key (chunk, part)
) strict;
create index chunk_end on chunk (end_lsn) where final;
create table relation_frame (
  chunk integer not null,
  ordinal integer not null,
  session integer not null,
  wal_start integer not null,
  checksum integer not null,
  frame blob not null,
  primary key (chunk, ordinal)
) strict, without rowid;
pragma user_version = 3;
"""

_FORMAT: Final = 3
"""The version of the schema above."""


_REMOVE: Final = "remove that file and the newer ones beside it; the slot sends what it still has"


def damaged_file(path: Path, problem: object) -> StateError:
    """Return the error for a segment that cannot be believed."""
    return StateError(f"the stored changes in {path} are damaged: {problem}", hint=_REMOVE)


@contextmanager
def noticing_damage(path: Path) -> Iterator[None]:
    """Raise StateError for what SQLite cannot read of a segment."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        refuse_full_disk(path, error)
        raise damaged_file(path, error) from error
    except UnicodeDecodeError as error:  # of a message that quotes what it cannot read
        raise damaged_file(path, "its schema cannot be read") from error


def segment_files(directory: Path) -> list[Path]:
    """Return the segments of a changelog, oldest first."""
    return sorted(path for path in directory.glob("[0-9]*.db") if path.stem.isdigit())


INSERT_RELATION = "insert into relation_frame values (?, ?, ?, ?, ?, ?)"

RelationRow = tuple[int, int, int, int, int, bytes]


def relation_rows(chunk: int, session: int, frames: Iterable[Frame]) -> list[RelationRow]:
    """Return the rows that keep the relation frames of a chunk."""
    return [
        (*place, checksum(place, payload), payload)
        for ordinal, (wal_start, payload) in enumerate(frames)
        for place in [(chunk, ordinal, session, wal_start)]
    ]


def read_head(segment: sqlite3.Connection, path: Path) -> tuple[int, int]:
    """Return where the segment before ended, and the session that began this one."""
    with noticing_damage(path):
        row = segment.execute("select previous_end, session, checksum from segment").fetchone()
    if row is None or row[2] != checksum(row[:2]):
        raise damaged_file(path, "the checksum of its beginning is wrong")
    return row[0], row[1]


def unlink_segment(path: Path) -> None:
    """Remove a segment with its journal, as far as they are there."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def segment_name(first_id: int) -> str:
    """Return the file name of the segment that begins with chunk ``first_id``."""
    return f"{first_id:012d}.db"


def create_segment(
    path: Path, head: tuple[int, int], preamble: Iterable[RelationRow]
) -> sqlite3.Connection:
    """Create a segment and open it; under its name it is seen complete or not at all."""
    unfinished = path.with_suffix(".new")
    unlink_segment(unfinished)
    segment = connect_sqlite(unfinished)
    try:
        segment.execute(
            "pragma synchronous = off"
        )  # once, when it is complete, instead of 13 times
        segment.executescript(_SCHEMA)
        with transaction(segment):
            segment.execute("insert into segment values (1, ?, ?, ?, 0)", (*head, checksum(head)))
            segment.executemany(INSERT_RELATION, preamble)
    finally:
        segment.close()  # the last one to close it takes its journal along
    bring_to_disk(unfinished)
    unfinished.rename(path)
    bring_to_disk(path.parent)
    return open_segment(path, durable=False)


def bring_to_disk(path: Path) -> None:
    """Bring a file that no connection has open, or the names in a directory, to disk.

    Raises StateError when the disk cannot.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StateError(
            f"{path} cannot be brought to disk: {error.strerror}",
            hint="look at that disk, then go on with --resume: what could not be stored has not"
            " been confirmed to the source, which keeps it",
        ) from error


def open_segment(path: Path, *, durable: bool = True) -> sqlite3.Connection:
    """Open a segment that exists; raise StateError when it is damaged, or its disk full or failing.

    Without ``durable`` commits do not wait for the disk, and the log of SQLite is written into the
    file only when that is asked for: in a checkpoint of its own SQLite goes on when bringing the
    log to disk fails, and the next attempt, to which that is not told again, would pass for a good
    one.
    """
    problem: str | None = "it was never completed"
    try:
        segment = connect_sqlite(path, create=False)
        if not durable:
            segment.execute("pragma synchronous = normal")
            segment.execute("pragma wal_autocheckpoint = 0")
        version = segment.execute("pragma user_version").fetchone()[0]
        if version == _FORMAT:
            problem = schema_difference(segment, _SCHEMA)
            if problem is None:
                return segment
        elif version:
            problem = f"another version of pgcopydb wrote it (format {version})"
        segment.close()
    except sqlite3.DatabaseError as error:
        refuse_full_disk(path, error)
        problem = str(error)
    except UnicodeDecodeError:
        problem = "its schema cannot be read"
    raise damaged_file(path, problem)
