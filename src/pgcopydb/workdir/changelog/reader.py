"""Reading: chunks in their order, from any position on."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pgcopydb.errors import StateError
from pgcopydb.lsn import format_lsn
from pgcopydb.workdir.changelog.chunk import Chunk, Frame, checksum
from pgcopydb.workdir.changelog.segment import (
    MOST_BYTES,
    damaged_file,
    noticing_damage,
    open_segment,
    read_head,
    segment_files,
    segment_name,
)


class ChangelogReader:
    """Reads chunks in order, from any position to the end, and goes on as more is stored."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._segment: sqlite3.Connection | None = None
        self._first_id = 0
        self._next_id = 0

    def seek(self, position: int) -> None:
        """Make the next :meth:`read` return the first chunk that ends after ``position``.

        Raises StateError when changes after ``position`` have been pruned.
        """
        self.close()
        files = segment_files(self._directory)
        if files:
            self._refuse_pruned(files[0], position)
            self._move_to(first_slice(files, first_after(files, position)))
            self._refuse_skipped(position)

    def relations_before(self, chunk: Chunk) -> list[Frame]:
        """Return the relation frames of its session that came before the chunk just read.

        Whoever begins with that chunk must prime a decoder with them. They are known only when
        the chunk is there: until then its session is not.
        """
        assert self._segment is not None
        with noticing_damage(self._path):
            rows = self._segment.execute(
                "select chunk, ordinal, session, wal_start, checksum, frame from relation_frame"
                " where session = ? and chunk < ? order by chunk, ordinal",
                (chunk.session, chunk.id),
            ).fetchall()
        for *place, stored, frame in rows:
            self._compare(stored, place, frame)
        return [(row[3], row[5]) for row in rows]

    def read(self) -> Chunk | None:
        """Return the next chunk, or None when nothing more is stored yet."""
        if self._segment is None:
            files = segment_files(self._directory)
            if not files:
                return None
            self._use(open_segment(files[0]), int(files[0].stem))
            self._next_id = self._next_id or self._first_id
        chunk = self._read_here()
        if chunk is not None:
            return chunk
        if self._next_id == self._first_id or not (later := self._later()):
            return None
        # The writer may have gone on, here and in later ones, since this segment was looked at.
        chunk = self._read_here()
        if chunk is not None:
            return chunk
        self._use(open_segment(self._following(later)), self._next_id)
        return self._read_here()

    def read_one(self, chunk: int) -> Chunk:
        """Return a chunk that is stored; the next :meth:`read` goes on after it."""
        self._move_to(chunk)
        found = self._read_here()
        if found is None:
            raise damaged_file(self._path, f"chunk {chunk} is not there")
        return found

    def _later(self) -> list[Path]:
        """Return the segments after this one, to which nothing is added once there are any."""
        return [path for path in segment_files(self._directory) if int(path.stem) > self._first_id]

    def _following(self, later: Sequence[Path]) -> Path:
        """Return the segment that begins with the next chunk.

        Raises StateError when only later ones are there: the end of what is stored is not here.
        """
        if int(later[0].stem) != self._next_id:
            raise StateError(
                f"stored changes are missing before {later[0]}",
                hint="start over with --restart: a file was removed that is still needed",
            )
        return later[0]

    def close(self) -> None:
        """Close the current segment; the next read or seek opens what it needs."""
        if self._segment is not None:
            self._segment.close()
        self._segment = None
        self._first_id = self._next_id = 0

    @property
    def _path(self) -> Path:
        return self._directory / segment_name(self._first_id)

    def _compare(self, stored: object, numbers: Sequence[Any], data: Any) -> None:
        """Raise StateError for a row that is not as it was stored."""
        if not isinstance(data, bytes) or stored != checksum(numbers, data):
            raise damaged_file(self._path, "a checksum is wrong")

    def _use(self, segment: sqlite3.Connection, first_id: int) -> None:
        if self._segment is not None:
            self._segment.close()
        self._segment = segment
        self._first_id = first_id

    def _move_to(self, chunk: int) -> None:
        """Make ``chunk`` the next one, in the segment that holds it or will hold it."""
        holders = [path for path in segment_files(self._directory) if int(path.stem) <= chunk]
        if not holders:
            raise StateError("the beginning of a stored transaction has been pruned")
        self._use(open_segment(holders[-1]), int(holders[-1].stem))
        self._next_id = chunk

    def _refuse_pruned(self, oldest: Path, position: int) -> None:
        with closing(open_segment(oldest)) as segment:
            missing, _ = read_head(segment, oldest)
        if position < missing:
            raise StateError(
                f"changes after {format_lsn(position)} are needed, but those up to"
                f" {format_lsn(missing)} have been applied and pruned",
                hint="the target is older than this work directory: was it restored from a backup?"
                " Start over with --restart",
            )

    def _refuse_skipped(self, position: int) -> None:
        """Raise StateError when the chunk before the next one ends after ``position`` too.

        The next one was found by an index, which may be damaged.
        """
        assert self._segment is not None
        with noticing_damage(self._path):
            before = self._segment.execute(
                "select 1 from chunk where id = ? and final and end_lsn > ?",
                (self._next_id - 1, position),
            ).fetchone()
        if before is not None:
            raise damaged_file(self._path, "an index leads to a wrong place")

    def _read_here(self) -> Chunk | None:
        assert self._segment is not None
        with noticing_damage(self._path):
            row = self._segment.execute(
                "select id, session, slice, final, end_lsn, commit_time, transactions, checksum,"
                " frames from chunk where id >= ? order by id limit 1",
                (self._next_id,),
            ).fetchone()
            if row is None:
                return None
            if row[0] != self._next_id:
                raise damaged_file(self._path, f"chunk {self._next_id} is not there")
            *numbers, checksum, frames = row
            if isinstance(frames, bytes) and len(frames) == MOST_BYTES:
                frames = b"".join((frames, *self._parts(row[0])))
        self._compare(checksum, numbers, frames)
        self._next_id += 1
        return Chunk(row[0], row[1], row[2], bool(row[3]), row[4], row[6], frames)

    def _parts(self, chunk: int) -> Iterator[bytes]:
        """Return the rest of a chunk, without damaged parts: its checksum tells those."""
        assert self._segment is not None
        parts = self._segment.execute(
            "select frames from chunk_part where chunk = ? order by part", (chunk,)
        )
        return (frames for (frames,) in parts if isinstance(frames, bytes))


def first_after(files: Sequence[Path], position: int) -> int:
    """Return the number of the first chunk that ends after ``position``, or will."""
    first = int(files[0].stem)
    for path in reversed(files):
        with closing(open_segment(path)) as segment, noticing_damage(path):
            after, before = segment.execute(
                "select min(id) filter (where end_lsn > :position),"
                " max(id) filter (where end_lsn <= :position) from chunk where final",
                {"position": position},
            ).fetchone()
        if after is not None:
            first = after
        if before is not None:
            return first if after is not None or first > before else before + 1
    return first


def first_slice(files: Sequence[Path], chunk: int) -> int:
    """Return the number of the chunk in which the transaction of ``chunk`` begins."""
    holder = [path for path in files if int(path.stem) <= chunk][-1]
    with closing(open_segment(holder)) as segment, noticing_damage(holder):
        row = segment.execute("select slice from chunk where id = ?", (chunk,)).fetchone()
    if row is None or row[0] is None:
        return chunk
    if not isinstance(row[0], int):
        raise damaged_file(holder, "a number is none")
    return chunk - row[0]
