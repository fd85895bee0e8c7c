"""The changelog: what is stored comes back, from any position, whatever was interrupted."""

import errno
import os
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgcopydb.errors import StateError
from pgcopydb.workdir.changelog import (
    ChangelogReader,
    ChangelogWriter,
    Chunk,
    Frame,
    pack_messages,
    prune,
    segment_files,
    segment_name,
    stored_end,
)


def message(wal_start: int, payload: bytes) -> bytes:
    return b"w" + struct.pack(">QQq", wal_start, 0, 0) + payload


def chunk_of(packed: bytes) -> Chunk:
    return Chunk(1, 1, None, True, 10, 1, packed)


def append_whole(writer: ChangelogWriter, end_lsn: int, *payloads: bytes) -> None:
    writer.append(
        pack_messages([message(end_lsn, payload) for payload in payloads]),
        slice_number=None,
        final=True,
        end_lsn=end_lsn,
        transactions=1,
    )


def append_slice(writer: ChangelogWriter, number: int, *, end_lsn: int = 0) -> None:
    writer.append(
        pack_messages([message(1, b"slice %d of session %d" % (number, writer.session))]),
        slice_number=number,
        final=bool(end_lsn),
        end_lsn=end_lsn,
    )


def read_all(reader: ChangelogReader) -> Iterator[tuple[int, int | None, int]]:
    while (chunk := reader.read()) is not None:
        yield chunk.session, chunk.slice, chunk.end_lsn


def described_before(reader: ChangelogReader, position: int) -> list[Frame]:
    reader.seek(position)
    chunk = reader.read()
    assert chunk is not None
    return reader.relations_before(chunk)


def test_a_reader_tails_what_the_writer_stores(tmp_path: Path) -> None:
    writer = ChangelogWriter(tmp_path, max_segment_bytes=1 << 20)
    reader = ChangelogReader(tmp_path)
    reader.seek(0)
    assert reader.read() is None
    append_whole(writer, 100, b"a", b"b", b"c" * 1000)
    chunk = reader.read()
    assert chunk is not None
    assert list(chunk.unpack()) == [(100, b"a"), (100, b"b"), (100, b"c" * 1000)]
    assert reader.read() is None
    append_whole(writer, 200, b"b")
    assert [end for _, _, end in read_all(reader)] == [200]
    reader.close()
    writer.close()


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=40), start=st.integers(0, 45))
def test_seek_finds_the_first_chunk_after_any_position(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], start: int
) -> None:
    directory = tmp_path_factory.mktemp("changelog")
    writer = ChangelogWriter(directory, max_segment_bytes=500)
    for number, size in enumerate(sizes, start=1):
        append_whole(writer, number * 10, b"x" * size)
    reader = ChangelogReader(directory)
    for position in (start * 10, start * 10 + 5):
        reader.seek(position)
        ends = [end for _, _, end in read_all(reader)]
        assert ends == [n * 10 for n in range(1, len(sizes) + 1) if n * 10 > position]
    later = (len(sizes) + 1) * 10
    append_whole(writer, later, b"later")
    assert [end for _, _, end in read_all(reader)] == [later]
    reader.close()
    writer.close()


def test_a_reader_starts_at_the_first_slice_of_a_transaction(tmp_path: Path) -> None:
    writer = ChangelogWriter(tmp_path, max_segment_bytes=1)
    append_whole(writer, 10, b"before")
    append_slice(writer, 0)
    append_slice(writer, 1)
    append_slice(writer, 2, end_lsn=20)
    reader = ChangelogReader(tmp_path)
    reader.seek(10)
    assert list(read_all(reader)) == [(1, 0, 0), (1, 1, 0), (1, 2, 20)]
    reader.close()
    writer.close()


def test_a_new_session_voids_an_unfinished_transaction(tmp_path: Path) -> None:
    first = ChangelogWriter(tmp_path, max_segment_bytes=1 << 20)
    append_whole(first, 10, b"before")
    append_slice(first, 0)
    append_slice(first, 1)
    first.close()
    second = ChangelogWriter(tmp_path, max_segment_bytes=1 << 20)
    assert second.stored_end == 10
    append_slice(second, 0)
    append_slice(second, 1, end_lsn=20)
    reader = ChangelogReader(tmp_path)
    reader.seek(10)
    sessions = [session for session, _, end in read_all(reader) if end]
    assert sessions == [second.session]
    assert second.session == first.session + 1
    reader.close()
    second.close()


def test_what_is_stored_while_a_reader_looks_for_the_next_segment_is_read_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = ChangelogWriter(tmp_path, max_segment_bytes=200)
    append_whole(writer, 10, b"a")
    reader = ChangelogReader(tmp_path)
    assert [end for _, _, end in read_all(reader)] == [10]

    def files_after_more_is_stored(directory: Path) -> list[Path]:
        if writer.stored_end == 10:
            append_whole(writer, 20, b"b" * 200)
            append_whole(writer, 30, b"c")
        return segment_files(directory)

    monkeypatch.setattr(
        "pgcopydb.workdir.changelog.reader.segment_files", files_after_more_is_stored
    )
    assert [end for _, _, end in read_all(reader)] == [20, 30]
    assert len(segment_files(tmp_path)) == 2
    reader.close()
    writer.close()


def test_relation_frames_outlive_pruning(tmp_path: Path) -> None:
    """Ruling 1: a relation is described once a session; pruning must not forget it."""
    writer = ChangelogWriter(tmp_path, max_segment_bytes=10)
    for end, described in ((10, b"R one"), (20, None), (30, b"R two"), (40, None), (50, None)):
        writer.append(
            pack_messages([message(end, b"some change that fills a segment")]),
            slice_number=None,
            final=True,
            end_lsn=end,
            relation_frames=[(described[2:], (end, described))] if described else [],
        )
    reader = ChangelogReader(tmp_path)
    assert described_before(reader, 20) == [(10, b"R one")]
    assert described_before(reader, 30) == [(10, b"R one"), (30, b"R two")]
    assert len(prune(tmp_path, 40)) == 4
    assert described_before(reader, 40) == [(10, b"R one"), (30, b"R two")]
    assert list(read_all(reader)) == []
    append_whole(writer, 60, b"y")
    assert [end for _, _, end in read_all(reader)] == [60]
    with pytest.raises(StateError, match="pruned"):
        reader.seek(20)
    reader.close()
    writer.close()


def test_what_comes_after_a_seek_to_the_end_can_be_decoded(tmp_path: Path) -> None:
    """An apply that begins again while it has caught up, in the middle of a receive session."""
    writer = ChangelogWriter(tmp_path, max_segment_bytes=1 << 20)
    frames = pack_messages([message(10, b"x")])
    writer.append(
        frames, slice_number=None, final=True, end_lsn=10, relation_frames=[(b"1", (10, b"R"))]
    )
    reader = ChangelogReader(tmp_path)
    reader.seek(10)
    assert reader.read() is None
    append_whole(writer, 20, b"y")
    chunk = reader.read()
    assert chunk is not None
    assert reader.relations_before(chunk) == [(10, b"R")]
    reader.close()
    writer.close()


def test_the_end_is_known_when_everything_is_pruned(tmp_path: Path) -> None:
    """The newest segment may hold nothing but slices of a transaction that is under way."""
    writer = ChangelogWriter(tmp_path, max_segment_bytes=1)
    append_whole(writer, 10, b"applied")
    append_slice(writer, 0)
    assert len(prune(tmp_path, 10)) == 1
    assert stored_end(tmp_path) == 10
    writer.close()
    with pytest.raises(StateError, match="pruned"):
        ChangelogReader(tmp_path).seek(9)
    assert ChangelogWriter(tmp_path, max_segment_bytes=1).stored_end == 10


def test_a_session_is_new_even_after_a_kill_between_two_segments(tmp_path: Path) -> None:
    """Else the reader would not notice that slices which it has given are void."""
    writer = ChangelogWriter(tmp_path, max_segment_bytes=1)
    append_slice(writer, 0)
    writer._rotate()  # and then it is killed
    writer.close()
    again = ChangelogWriter(tmp_path, max_segment_bytes=1)
    assert again.session == writer.session + 1
    again.close()


def test_a_segment_that_is_missing_is_no_end(tmp_path: Path) -> None:
    writer = ChangelogWriter(tmp_path, max_segment_bytes=1)
    for end in (10, 20, 30):
        append_whole(writer, end, b"x")
    writer.close()
    reader = ChangelogReader(tmp_path)
    reader.seek(0)
    segment_files(tmp_path)[1].unlink()
    with pytest.raises(StateError, match="missing"):
        list(read_all(reader))
    reader.close()


def test_prune_keeps_the_newest_segment_and_open_transactions(tmp_path: Path) -> None:
    writer = ChangelogWriter(tmp_path, max_segment_bytes=1)
    append_whole(writer, 10, b"applied")
    append_slice(writer, 0)
    append_slice(writer, 1)
    assert len(prune(tmp_path, 10, dry_run=True)) == 1
    assert len(segment_files(tmp_path)) == 3
    assert len(prune(tmp_path, 10)) == 1
    append_slice(writer, 2, end_lsn=20)
    reader = ChangelogReader(tmp_path)
    reader.seek(10)
    assert [number for _, number, _ in read_all(reader)] == [0, 1, 2]
    assert stored_end(tmp_path) == 20
    assert len(prune(tmp_path, 20)) == 2
    assert len(segment_files(tmp_path)) == 1
    reader.close()
    writer.close()


def test_a_segment_that_was_never_completed_is_not_seen(tmp_path: Path) -> None:
    """A reader or a pruning process may look at any moment of a segment's creation."""
    writer = ChangelogWriter(tmp_path, max_segment_bytes=1)
    append_whole(writer, 10, b"x")
    (tmp_path / "000000000002.new").write_bytes(b"half a database")
    assert stored_end(tmp_path) == 10
    assert prune(tmp_path, 10) == []
    append_whole(writer, 20, b"y")
    writer.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "000000000001.db",
        "000000000002.db",
    ]


def test_a_cut_off_chunk_is_noticed() -> None:
    packed = pack_messages([message(1, b"abc"), message(2, b"def")])
    assert list(chunk_of(packed).unpack()) == [(1, b"abc"), (2, b"def")]
    for end in (len(packed) - 1, len(packed) - 4, 13, 3, 0):
        with pytest.raises(StateError, match="damaged"):
            list(chunk_of(packed[:end]).unpack())


def test_a_damaged_segment_is_refused(tmp_path: Path) -> None:
    writer = ChangelogWriter(tmp_path, max_segment_bytes=1 << 20)
    append_whole(writer, 10, b"x")
    writer.close()
    (path,) = segment_files(tmp_path)
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StateError, match="damaged"):
        ChangelogReader(tmp_path).seek(0)


def test_a_chunk_larger_than_a_row_of_sqlite_is_stored_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ruling 4: a value of SQLite ends at 10⁹ bytes."""
    for user in ("writer", "reader"):
        monkeypatch.setattr(f"pgcopydb.workdir.changelog.{user}.MOST_BYTES", 100)
    writer = ChangelogWriter(tmp_path, max_segment_bytes=1 << 20)
    payloads = [bytes([n]) * size for n, size in enumerate((67, 66, 167, 250, 1000, 1, 3))]
    for number, payload in enumerate(payloads, start=1):
        append_whole(writer, number * 10, payload)
    reader = ChangelogReader(tmp_path)
    reader.seek(0)
    found = []
    while (chunk := reader.read()) is not None:
        found += [payload for _, payload in chunk.unpack()]
    assert found == payloads


def test_a_full_disk_ends_the_writer_with_its_place_and_need(tmp_path: Path) -> None:
    """Nothing but the chunk that did not fit is lost, and the writer can go on where it was."""
    writer = ChangelogWriter(tmp_path, max_segment_bytes=1 << 30)
    append_whole(writer, 10, b"first")
    (pages,) = writer._segment.execute("pragma page_count").fetchone()
    writer._segment.execute(f"pragma max_page_count = {pages + 2}")
    with pytest.raises(StateError, match=r"has no room for 1\.0 MB more") as caught:
        append_whole(writer, 20, b"x" * (1 << 20))
    assert str(tmp_path) in caught.value.message
    assert writer.stored_end == 10
    writer._segment.execute(f"pragma max_page_count = {pages + 2000}")
    append_whole(writer, 20, b"second")
    writer.close()
    assert stored_end(tmp_path) == 20
    reader = ChangelogReader(tmp_path)
    reader.seek(0)
    assert [end for _, _, end in read_all(reader)] == [10, 20]


def test_a_directory_that_cannot_be_brought_to_disk_makes_nothing_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite goes on when the name of its log could not be brought to disk."""

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    writer = ChangelogWriter(tmp_path, max_segment_bytes=1 << 20)
    append_whole(writer, 10, b"one")
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", fail)
        with pytest.raises(StateError, match="cannot be brought to disk: Input/output error"):
            writer.make_durable()
    writer.make_durable()
    writer.close()


def test_what_another_writer_left_is_written_to_disk_anew(tmp_path: Path) -> None:
    """A disk that failed it says so once; only what is written again is brought there again."""
    failed = ChangelogWriter(tmp_path, max_segment_bytes=1 << 20)
    append_whole(failed, 10, b"a")
    writer = ChangelogWriter(tmp_path, max_segment_bytes=1 << 20)
    without_log = tmp_path / "without log"
    without_log.mkdir()
    shutil.copy(tmp_path / segment_name(1), without_log)
    assert stored_end(without_log) == 10
    append_whole(writer, 20, b"b")
    writer.close()
    failed.close()
    assert stored_end(tmp_path) == 20


def test_a_reader_that_lets_nobody_write_anew_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgcopydb.workdir.changelog.writer._LET_GO_WITHIN", 0.2)
    first = ChangelogWriter(tmp_path, max_segment_bytes=1 << 20)
    append_whole(first, 10, b"a")
    with closing(sqlite3.connect(tmp_path / segment_name(1))) as other:
        other.execute("begin")
        other.execute("select count(*) from chunk").fetchone()
        append_whole(first, 20, b"b")
        with pytest.raises(StateError, match="does not let go of"):
            ChangelogWriter(tmp_path, max_segment_bytes=1 << 20)
    ChangelogWriter(tmp_path, max_segment_bytes=1 << 20).close()
    first.close()


def test_what_a_killed_writer_left_is_made_durable_by_the_next(tmp_path: Path) -> None:
    """Each time there is a commit: one that writes nothing to the log would not be synced."""

    def log_size() -> int:
        return (tmp_path / f"{segment_name(1)}-wal").stat().st_size

    killed = ChangelogWriter(tmp_path, max_segment_bytes=1 << 20)
    append_whole(killed, 10, b"a")
    writer = ChangelogWriter(tmp_path, max_segment_bytes=1 << 20)
    before = log_size()
    writer.make_durable()
    assert log_size() > before
    before = log_size()
    writer.make_durable()
    assert log_size() == before
    append_whole(writer, 20, b"b")
    before = log_size()
    writer.make_durable()
    assert log_size() > before
    writer.close()
    killed.close()
