"""Positions that a changelog knows: where what is stored begins and ends, and when it came."""

import sqlite3
from contextlib import closing
from pathlib import Path

from pgcopydb.workdir.changelog.reader import ChangelogReader
from pgcopydb.workdir.changelog.segment import (
    noticing_damage,
    open_segment,
    read_head,
    segment_files,
)
from pgcopydb.workdir.store import connect_sqlite


def stored_end(directory: Path) -> int:
    """Return the end of the last commit ever stored in ``directory``, 0 when there was none.

    The newest segment tells it even when it holds no commit yet and the others are pruned.
    """
    files = segment_files(directory)
    if not files:
        return 0
    reader = ChangelogReader(directory)
    with closing(open_segment(files[-1])) as segment, noticing_damage(files[-1]):
        previous_end, _ = read_head(segment, files[-1])
        row = segment.execute(
            "select id from chunk not indexed where final order by id desc limit 1"
        ).fetchone()
    if row is None:
        return previous_end
    with closing(reader):
        last = reader.read_one(row[0])
    return last.end_lsn


def is_end_of_chunk(directory: Path, position: int) -> bool:
    """Tell whether a chunk that is, or was, stored ends with a commit at exactly ``position``."""
    for path in reversed(segment_files(directory)):
        with closing(open_segment(path)) as segment, noticing_damage(path):
            (ends,) = segment.execute(
                "select exists (select 1 from chunk where final and end_lsn = :position)"
                " or previous_end = :position from segment",
                {"position": position},
            ).fetchone()
        if ends:
            return True
    return False


def oldest_commit_time(directory: Path, position: int) -> int | None:
    """Return when the first stored chunk that ends after ``position`` was committed, if any is.

    In microseconds since 1970; of a chunk with several transactions, the last one's. Safe to ask
    while others write and prune.
    """
    found = None
    for path in reversed(segment_files(directory)):
        try:
            segment = connect_sqlite(path, create=False)
        except sqlite3.OperationalError:
            break  # pruned just now, so that everything in it is applied
        try:
            after, ends = segment.execute(
                "select (select commit_time from chunk where final and end_lsn > ?"
                " order by end_lsn limit 1), exists (select 1 from chunk where final)",
                (position,),
            ).fetchone()
        finally:
            segment.close()
        if after is not None:
            found = int(after)
        elif ends:
            break
    return found


def stored_start(directory: Path) -> int:
    """Return the position after which everything is stored and not pruned, 0 for the beginning."""
    files = segment_files(directory)
    if not files:
        return 0
    with closing(open_segment(files[0])) as segment:
        previous_end, _ = read_head(segment, files[0])
    return previous_end
