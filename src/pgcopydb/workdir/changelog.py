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

import fcntl
import itertools
import os
import sqlite3
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pgcopydb.decoding import MESSAGE_HEADER
from pgcopydb.errors import StateError
from pgcopydb.lsn import format_lsn
from pgcopydb.workdir.store import connect_sqlite, refuse_full_disk, transaction

_COUNT = struct.Struct(">I")
"""A chunk begins with the number of its messages and the length of each."""

_WAL_START = struct.Struct(">Q").unpack_from

_MOST_BYTES = 900_000_000
"""A row of SQLite ends at 10⁹ bytes; what a chunk has beyond this is stored in parts (ruling 4)."""

_PREAMBLE = 0
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

Frame = tuple[int, bytes]
"""WAL start and payload of one XLogData message."""


@dataclass(frozen=True, slots=True)
class Packed:
    """The XLogData messages of a chunk: the first begins at ``start`` of ``data``."""

    data: bytes
    start: int
    lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Stored frames: whole transactions (``slice`` is None), or one slice of a large one.

    ``end_lsn`` is the end of the last commit in it, 0 for a slice that is not final.
    """

    id: int
    session: int
    slice: int | None
    final: bool
    end_lsn: int
    transactions: int
    frames: bytes

    def packed(self) -> Packed:
        """Return where the messages are; raise StateError when the chunk is damaged."""
        data = self.frames
        try:
            (count,) = _COUNT.unpack_from(data)
            lengths = struct.unpack_from(f">{count}I", data, _COUNT.size)
        except struct.error:
            raise _damaged() from None
        start = _COUNT.size * (1 + count)
        if start + sum(lengths) != len(data) or min(lengths, default=0) <= MESSAGE_HEADER:
            raise _damaged()
        return Packed(data, start, lengths)

    def unpack(self) -> Iterator[Frame]:
        """Give the frames one by one; raise StateError when the chunk is damaged."""
        packed = self.packed()
        data, at = packed.data, packed.start
        for length in packed.lengths:
            following = at + length
            yield _WAL_START(data, at + 1)[0], data[at + MESSAGE_HEADER : following]
            at = following


def pack_messages(messages: Sequence[bytes]) -> bytes:
    """Return XLogData messages, as they came, in the form in which a chunk keeps them."""
    count = len(messages)
    head = struct.pack(f">{count + 1}I", count, *map(len, messages))
    return b"".join((head, *messages))


_REMOVE: Final = "remove that file and the newer ones beside it; the slot sends what it still has"


def _damaged() -> StateError:
    return StateError("a stored chunk of changes is damaged: its messages are not as long as told")


def _damaged_file(path: Path, problem: object) -> StateError:
    return StateError(f"the stored changes in {path} are damaged: {problem}", hint=_REMOVE)


def _checksum(numbers: Iterable[int | None], data: bytes = b"") -> int:
    """Return the checksum of a row of numbers, of which some may be null, and bytes."""
    return zlib.crc32(data, zlib.crc32(repr(tuple(numbers)).encode()))


@contextmanager
def _noticing_damage(path: Path) -> Iterator[None]:
    """Raise StateError for what SQLite cannot read of a segment."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        refuse_full_disk(path, error)
        raise _damaged_file(path, error) from error
    except UnicodeDecodeError as error:  # of a message that quotes what it cannot read
        raise _damaged_file(path, "its schema cannot be read") from error


def segment_files(directory: Path) -> list[Path]:
    """Return the segments of a changelog, oldest first."""
    return sorted(path for path in directory.glob("[0-9]*.db") if path.stem.isdigit())


class ChangelogWriter:
    """The one writer of a changelog; each one is a new session.

    Opening it finds the position up to which everything is stored (``stored_end``), which is
    where the stream must go on.
    """

    def __init__(self, directory: Path, *, max_segment_bytes: int) -> None:
        self._directory = directory
        self._max_segment_bytes = max_segment_bytes
        self._relations: dict[bytes, Frame] = {}
        self._bytes = 0
        self._is_durable = False  # a writer before this one may have been killed
        self.stored_end = stored_end(directory)
        files = segment_files(directory)
        if files:
            self._segment = _open_segment(files[-1], durable=False)
            self._bytes = files[-1].stat().st_size
            last_id, last_session = self._segment.execute(
                "select coalesce(max(id), ?), coalesce(max(session), 0) from chunk",
                (int(files[-1].stem) - 1,),
            ).fetchone()
            # a kill may have come between the making of a segment and its first chunk
            _, begun_by = _head(self._segment, files[-1])
            self._next_id = last_id + 1
            self.session = max(last_session, begun_by) + 1
        else:
            self._next_id = 1
            self.session = 1
            self._segment = self._create(())

    def append(
        self,
        messages: Sequence[bytes],
        *,
        slice_number: int | None,
        final: bool,
        end_lsn: int,
        commit_time: int = 0,
        transactions: int = 0,
        relation_frames: Iterable[tuple[bytes, Frame]] = (),
    ) -> None:
        """Store XLogData messages as one chunk, for readers to see; see :meth:`make_durable`.

        ``relation_frames`` are the frames in them that describe relations, each with a key
        under which a later description replaces it.
        """
        if self._bytes >= self._max_segment_bytes:
            self._rotate()
        blob = pack_messages(messages)
        described = list(relation_frames)
        place = (self._next_id, self.session, slice_number, int(final))
        row = (*place, end_lsn, commit_time, transactions)
        try:
            with transaction(self._segment):
                self._insert((*row, _checksum(row, blob)), blob)
                self._segment.executemany(
                    _INSERT_RELATION,
                    _relation_rows(self._next_id, self.session, (frame for _, frame in described)),
                )
        except sqlite3.Error as error:
            path = self._directory / segment_name(self._next_id)
            refuse_full_disk(path, error, needed=len(blob))
            raise
        self._is_durable = False
        self._relations.update(described)
        self._bytes += len(blob)
        self._next_id += 1
        if final:
            self.stored_end = end_lsn

    def make_durable(self) -> None:
        """Bring everything that was appended to disk.

        SQLite brings its whole log there with a commit that is to be durable, however small, but
        not with one that changes nothing. It does so by its own descriptor, as it must be: closing
        another one of the same file would drop its locks.
        """
        if self._is_durable:
            return
        self._segment.execute("pragma synchronous = full")
        self._segment.execute("update segment set durable_commits = durable_commits + 1")
        self._segment.execute("pragma synchronous = normal")
        self._is_durable = True

    def _insert(self, row: tuple[int | None, ...], blob: bytes) -> None:
        self._segment.execute(
            "insert into chunk values (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, blob[:_MOST_BYTES])
        )
        for part, start in enumerate(range(_MOST_BYTES, len(blob), _MOST_BYTES), start=1):
            self._segment.execute(
                "insert into chunk_part values (?, ?, ?)",
                (row[0], part, blob[start : start + _MOST_BYTES]),
            )

    def close(self) -> None:
        """Close the current segment."""
        self._segment.close()

    def _rotate(self) -> None:
        self.make_durable()  # before a newer segment is: a crash must not leave a gap
        self._segment.close()
        self._segment = self._create(self._relations.values())
        self._bytes = 0

    def _create(self, relations: Iterable[Frame]) -> sqlite3.Connection:
        return _create_segment(
            self._directory / segment_name(self._next_id),
            (self.stored_end, self.session),
            _relation_rows(_PREAMBLE, self.session, relations),
        )


_INSERT_RELATION = "insert into relation_frame values (?, ?, ?, ?, ?, ?)"

_RelationRow = tuple[int, int, int, int, int, bytes]


def _relation_rows(chunk: int, session: int, frames: Iterable[Frame]) -> list[_RelationRow]:
    return [
        (*place, _checksum(place, payload), payload)
        for ordinal, (wal_start, payload) in enumerate(frames)
        for place in [(chunk, ordinal, session, wal_start)]
    ]


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
            self._move_to(_first_slice(files, _first_after(files, position)))
            self._refuse_skipped(position)

    def relations_before(self, chunk: Chunk) -> list[Frame]:
        """Return the relation frames of its session that came before the chunk just read.

        Whoever begins with that chunk must prime a decoder with them. They are known only when
        the chunk is there: until then its session is not.
        """
        assert self._segment is not None
        with _noticing_damage(self._path):
            rows = self._segment.execute(
                "select chunk, ordinal, session, wal_start, checksum, frame from relation_frame"
                " where session = ? and chunk < ? order by chunk, ordinal",
                (chunk.session, chunk.id),
            ).fetchall()
        for *place, checksum, frame in rows:
            self._compare(checksum, place, frame)
        return [(row[3], row[5]) for row in rows]

    def read(self) -> Chunk | None:
        """Return the next chunk, or None when nothing more is stored yet."""
        if self._segment is None:
            files = segment_files(self._directory)
            if not files:
                return None
            self._use(_open_segment(files[0]), int(files[0].stem))
            self._next_id = self._next_id or self._first_id
        chunk = self._read_here()
        if chunk is not None:
            return chunk
        if self._next_id == self._first_id or not (following := self._following()):
            return None
        self._use(_open_segment(following), self._next_id)
        return self._read_here()

    def read_one(self, chunk: int) -> Chunk:
        """Return a chunk that is stored; the next :meth:`read` goes on after it."""
        self._move_to(chunk)
        found = self._read_here()
        if found is None:
            raise _damaged_file(self._path, f"chunk {chunk} is not there")
        return found

    def _following(self) -> Path | None:
        """Return the segment that begins with the next chunk, None while there is none.

        Raises StateError when only later ones are there: the end of what is stored is not here.
        """
        later = [path for path in segment_files(self._directory) if int(path.stem) > self._first_id]
        if not later:
            return None
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

    def _compare(self, checksum: object, numbers: Sequence[Any], data: Any) -> None:
        """Raise StateError for a row that is not as it was stored."""
        if not isinstance(data, bytes) or checksum != _checksum(numbers, data):
            raise _damaged_file(self._path, "a checksum is wrong")

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
        self._use(_open_segment(holders[-1]), int(holders[-1].stem))
        self._next_id = chunk

    def _refuse_pruned(self, oldest: Path, position: int) -> None:
        with closing(_open_segment(oldest)) as segment:
            missing, _ = _head(segment, oldest)
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
        with _noticing_damage(self._path):
            before = self._segment.execute(
                "select 1 from chunk where id = ? and final and end_lsn > ?",
                (self._next_id - 1, position),
            ).fetchone()
        if before is not None:
            raise _damaged_file(self._path, "an index leads to a wrong place")

    def _read_here(self) -> Chunk | None:
        assert self._segment is not None
        with _noticing_damage(self._path):
            row = self._segment.execute(
                "select id, session, slice, final, end_lsn, commit_time, transactions, checksum,"
                " frames from chunk where id >= ? order by id limit 1",
                (self._next_id,),
            ).fetchone()
            if row is None:
                return None
            if row[0] != self._next_id:
                raise _damaged_file(self._path, f"chunk {self._next_id} is not there")
            *numbers, checksum, frames = row
            if len(frames) == _MOST_BYTES:
                frames = b"".join((frames, *self._parts(row[0])))
        self._compare(checksum, numbers, frames)
        self._next_id += 1
        return Chunk(row[0], row[1], row[2], bool(row[3]), row[4], row[6], frames)

    def _parts(self, chunk: int) -> Iterator[bytes]:
        assert self._segment is not None
        parts = self._segment.execute(
            "select frames from chunk_part where chunk = ? order by part", (chunk,)
        )
        return (frames for (frames,) in parts)


def stored_end(directory: Path) -> int:
    """Return the end of the last commit ever stored in ``directory``, 0 when there was none.

    The newest segment tells it even when it holds no commit yet and the others are pruned.
    """
    files = segment_files(directory)
    if not files:
        return 0
    reader = ChangelogReader(directory)
    with closing(_open_segment(files[-1])) as segment, _noticing_damage(files[-1]):
        previous_end, _ = _head(segment, files[-1])
        row = segment.execute(
            "select id from chunk not indexed where final order by id desc limit 1"
        ).fetchone()
    if row is None:
        return previous_end
    with closing(reader):
        last = reader.read_one(row[0])
    return last.end_lsn


def _head(segment: sqlite3.Connection, path: Path) -> tuple[int, int]:
    """Return where the segment before ended, and the session that began this one."""
    with _noticing_damage(path):
        row = segment.execute("select previous_end, session, checksum from segment").fetchone()
    if row is None or row[2] != _checksum(row[:2]):
        raise _damaged_file(path, "the checksum of its beginning is wrong")
    return row[0], row[1]


def is_end_of_chunk(directory: Path, position: int) -> bool:
    """Tell whether a chunk that is, or was, stored ends with a commit at exactly ``position``."""
    for path in reversed(segment_files(directory)):
        with closing(_open_segment(path)) as segment, _noticing_damage(path):
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
    with closing(_open_segment(files[0])) as segment:
        previous_end, _ = _head(segment, files[0])
    return previous_end


def prune(directory: Path, position: int, *, dry_run: bool = False) -> list[Path]:
    """Remove the segments whose every transaction ends at or before ``position``.

    ``position`` must be durable on the target. The newest segment always stays, and so does one
    that holds a slice of a transaction whose end is in a later segment (rulings 2 and 4).
    Returns the files removed, or that would be.
    """
    with _alone(directory):
        files = segment_files(directory)
        if not files:
            return []
        needed = _first_slice(files, _first_after(files, position))
        removable = [
            path for path, following in itertools.pairwise(files) if int(following.stem) <= needed
        ]
        if not dry_run:
            for path in removable:
                _unlink(path)
    return removable


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep others from pruning meanwhile: a running apply does so too, and files would vanish."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _unlink(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def segment_name(first_id: int) -> str:
    """Return the file name of the segment that begins with chunk ``first_id``."""
    return f"{first_id:012d}.db"


def _first_after(files: Sequence[Path], position: int) -> int:
    """Return the number of the first chunk that ends after ``position``, or will."""
    first = int(files[0].stem)
    for path in reversed(files):
        with closing(_open_segment(path)) as segment, _noticing_damage(path):
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


def _first_slice(files: Sequence[Path], chunk: int) -> int:
    """Return the number of the chunk in which the transaction of ``chunk`` begins."""
    holder = [path for path in files if int(path.stem) <= chunk][-1]
    with closing(_open_segment(holder)) as segment, _noticing_damage(holder):
        row = segment.execute("select slice from chunk where id = ?", (chunk,)).fetchone()
    return chunk if row is None or row[0] is None else chunk - int(row[0])


def _create_segment(
    path: Path, head: tuple[int, int], preamble: Iterable[_RelationRow]
) -> sqlite3.Connection:
    """Create a segment and open it; under its name it is seen complete or not at all."""
    unfinished = path.with_suffix(".new")
    _unlink(unfinished)
    segment = connect_sqlite(unfinished)
    try:
        segment.execute(
            "pragma synchronous = off"
        )  # once, when it is complete, instead of 13 times
        segment.executescript(_SCHEMA)
        with transaction(segment):
            segment.execute("insert into segment values (1, ?, ?, ?, 0)", (*head, _checksum(head)))
            segment.executemany(_INSERT_RELATION, preamble)
    finally:
        segment.close()  # the last one to close it takes its journal along
    _make_durable(unfinished)
    unfinished.rename(path)
    _make_durable(path.parent)
    return _open_segment(path, durable=False)


def _make_durable(path: Path) -> None:
    """Bring a file that no connection has open, or the names in a directory, to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_segment(path: Path, *, durable: bool = True) -> sqlite3.Connection:
    """Open a segment that exists; raise StateError when it is damaged.

    Without ``durable`` commits do not wait for the disk.
    """
    problem = "it was never completed"
    try:
        segment = connect_sqlite(path, create=False)
        if not durable:
            segment.execute("pragma synchronous = normal")
        version = segment.execute("pragma user_version").fetchone()[0]
        if version == _FORMAT:
            return segment
        if version:
            problem = f"another version of pgcopydb wrote it (format {version})"
        segment.close()
    except sqlite3.DatabaseError as error:
        problem = str(error)
    except UnicodeDecodeError:
        problem = "its schema cannot be read"
    raise _damaged_file(path, problem)
