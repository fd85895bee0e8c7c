"""Storing: the one writer of a changelog appends chunks and begins segments."""

import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pgcopydb.errors import StateError
from pgcopydb.runtime import signals
from pgcopydb.workdir.changelog.chunk import Frame, checksum
from pgcopydb.workdir.changelog.positions import stored_end
from pgcopydb.workdir.changelog.segment import (
    INSERT_RELATION,
    MOST_BYTES,
    PREAMBLE,
    bring_to_disk,
    create_segment,
    open_segment,
    read_head,
    relation_rows,
    segment_files,
    segment_name,
)
from pgcopydb.workdir.store import refuse_full_disk
from pgcopydb.workdir.transaction import transaction

_CHECKPOINT_BYTES: Final = 4 << 20
"""Bytes of SQLite's log after which it is written into the segment itself."""

_LOGGED_BESIDE: Final = 8 << 10
"""Bytes by which the log grows with each chunk beside its frames: the pages that lead to it."""

_LET_GO_WITHIN: Final = 30.0
"""Seconds in which readers have to come to the end of what they read just now."""


class ChangelogWriter:
    """The one writer of a changelog; each one is a new session.

    Opening it finds the position up to which everything is stored (``stored_end``), which is
    where the stream must go on.
    """

    def __init__(self, directory: Path, *, max_segment_bytes: int) -> None:
        self._directory = directory
        self._max_segment_bytes = max_segment_bytes
        self._relations: dict[bytes, Frame] = {}
        self._bytes = self._logged_bytes = 0
        self._is_durable = False  # a writer before this one may have been killed
        self._log_is_named = False
        self.stored_end = stored_end(directory)
        files = segment_files(directory)
        if files:
            self._segment = open_segment(files[-1], durable=False)
            self._take_over(files[-1])
            self._bytes = files[-1].stat().st_size
            last_id, last_session = self._segment.execute(
                "select coalesce(max(id), ?), coalesce(max(session), 0) from chunk",
                (int(files[-1].stem) - 1,),
            ).fetchone()
            # a kill may have come between the making of a segment and its first chunk
            _, begun_by = read_head(self._segment, files[-1])
            self._next_id = last_id + 1
            self.session = max(last_session, begun_by) + 1
        else:
            self._next_id = 1
            self.session = 1
            self._segment = self._create(())

    def append(
        self,
        frames: bytes,
        *,
        slice_number: int | None,
        final: bool,
        end_lsn: int,
        commit_time: int = 0,
        transactions: int = 0,
        relation_frames: Iterable[tuple[bytes, Frame]] = (),
    ) -> None:
        """Store ``frames``, as ``pack_messages`` gives them, as one chunk; readers see it at once.

        ``relation_frames`` are the frames in them that describe relations, each with a key
        under which a later description replaces it. See also :meth:`make_durable`.
        """
        if self._bytes >= self._max_segment_bytes:
            self._rotate()
        described = list(relation_frames)
        place = (self._next_id, self.session, slice_number, int(final))
        row = (*place, end_lsn, commit_time, transactions)
        try:
            with transaction(self._segment):
                self._insert((*row, checksum(row, frames)), frames)
                self._segment.executemany(
                    INSERT_RELATION,
                    relation_rows(self._next_id, self.session, (frame for _, frame in described)),
                )
        except sqlite3.Error as error:
            path = self._directory / segment_name(self._next_id)
            refuse_full_disk(path, error, needed=len(frames))
            raise
        self._is_durable = False
        self._relations.update(described)
        self._bytes += len(frames)
        self._logged_bytes += len(frames) + _LOGGED_BESIDE
        self._next_id += 1
        if final:
            self.stored_end = end_lsn
        if self._logged_bytes >= _CHECKPOINT_BYTES:
            self._checkpoint()

    def make_durable(self) -> None:
        """Bring everything that was appended to disk.

        SQLite brings its whole log there with a commit that is to be durable, however small, but
        not with one that changes nothing. It does so by its own descriptor, as it must be: closing
        another one of the same file would drop its locks. The name of a new log it brings there
        too, but goes on when that fails (unixSync in os_unix.c), so it is done here before.
        """
        if self._is_durable:
            return
        if not self._log_is_named:
            bring_to_disk(self._directory)
            self._log_is_named = True
        self._segment.execute("pragma synchronous = full")
        self._segment.execute("update segment set durable_commits = durable_commits + 1")
        self._segment.execute("pragma synchronous = normal")
        self._is_durable = True

    def _checkpoint(self) -> None:
        """Write SQLite's log into the segment, as far as no reader needs it, and begin it anew."""
        self.make_durable()
        self._segment.execute("pragma wal_checkpoint(passive)")
        self._logged_bytes = 0

    def _take_over(self, path: Path) -> None:
        """Bring to disk what a writer before this one left in SQLite's log: by writing it anew.

        A disk that failed says so once. Of what it lacks since then the system believes that it is
        there, and a later attempt has nothing to do.
        """
        deadline = time.monotonic() + _LET_GO_WITHIN
        while self._segment.execute("pragma wal_checkpoint(truncate)").fetchone()[0]:
            signals.raise_if_stopped()
            if time.monotonic() > deadline:
                raise StateError(
                    f"another process does not let go of {path}",
                    hint="see which one has that file open and end it, then go on with --resume",
                )

    def _insert(self, row: tuple[int | None, ...], blob: bytes) -> None:
        self._segment.execute(
            "insert into chunk values (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, blob[:MOST_BYTES])
        )
        for part, start in enumerate(range(MOST_BYTES, len(blob), MOST_BYTES), start=1):
            self._segment.execute(
                "insert into chunk_part values (?, ?, ?)",
                (row[0], part, blob[start : start + MOST_BYTES]),
            )

    def close(self) -> None:
        """Close the current segment."""
        self._segment.close()

    def _rotate(self) -> None:
        self.make_durable()  # before a newer segment is: a crash must not leave a gap
        self._segment.close()
        self._segment = self._create(self._relations.values())
        self._bytes = self._logged_bytes = 0

    def _create(self, relations: Iterable[Frame]) -> sqlite3.Connection:
        self._log_is_named = False
        return create_segment(
            self._directory / segment_name(self._next_id),
            (self.stored_end, self.session),
            relation_rows(PREAMBLE, self.session, relations),
        )
