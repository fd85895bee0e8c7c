"""The changelog: frames of the replication stream, stored as they came, in SQLite segments.

A *chunk* is one row: some frames and where they end. It holds either whole transactions, or one
numbered *slice* of a transaction too large for a chunk; slices of one transaction follow each
other and the last one is final. Readers see a chunk when :meth:`ChangelogWriter.append` returns; it
survives a crash of any process from then on, and one of the machine once
:meth:`ChangelogWriter.make_durable` has returned. What a crash of the machine takes is always the
newest: a beginning of what was appended stays.

A *session* is one walsender connection. Slices without a final one are void as soon as a chunk of
another session follows: after a reconnect the source sends the whole transaction again (ruling 2).

Chunks are numbered from 1 without gaps over all segments; a segment file is named after its first
chunk. pgoutput describes a relation once a session, so each segment also keeps those frames: the
ones that were known when it was begun (as chunk 0 of the segment) and those that came since.
Whoever starts reading in the middle can therefore be primed from the segment alone, and pruning
older segments takes nothing away (ruling 1).

SQLite does not notice when a byte of a file has changed, so each row that is believed has a
checksum over all of it, which is looked at whenever the row is used.
"""

from pgcopydb.workdir.changelog.chunk import (
    Chunk,
    Frame,
    MessageRun,
    Packed,
    pack_messages,
    pack_runs,
)
from pgcopydb.workdir.changelog.positions import (
    is_end_of_chunk,
    oldest_commit_time,
    stored_end,
    stored_start,
)
from pgcopydb.workdir.changelog.pruning import prune
from pgcopydb.workdir.changelog.reader import ChangelogReader
from pgcopydb.workdir.changelog.segment import segment_files, segment_name
from pgcopydb.workdir.changelog.writer import ChangelogWriter

__all__ = [
    "ChangelogReader",
    "ChangelogWriter",
    "Chunk",
    "Frame",
    "MessageRun",
    "Packed",
    "is_end_of_chunk",
    "oldest_commit_time",
    "pack_messages",
    "pack_runs",
    "prune",
    "segment_files",
    "segment_name",
    "stored_end",
    "stored_start",
]
