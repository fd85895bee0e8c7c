"""When receive pauses: by what is stored, and by what is free."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pgcopydb.cdc.room import Backlog, Room, segment_bytes, stored_bytes

MB = 1 << 20


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Sets size and free space of the disk, in bytes; at first it is large and empty."""

    def use(size: int, free: int) -> None:
        result = os.statvfs_result((4096, 4096, size // 4096, 0, free // 4096, 0, 0, 0, 0, 255))
        monkeypatch.setattr("os.statvfs", lambda _: result)

    use(1000 << 30, 999 << 30)
    monkeypatch.setattr("pgcopydb.cdc.room._LOOK_EVERY", 0.0)
    return use


def fill(directory: Path, size: int) -> None:
    (directory / "000000000001.db").write_bytes(b"\0" * size)


def test_a_limit_pauses_and_goes_on_when_segments_are_removed(
    disk: Callable[[int, int], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    room = Room(tmp_path, 2 * MB)
    behind = Backlog(stored=20, applied=10)
    with caplog.at_level(logging.INFO):
        fill(tmp_path, 2 * MB)
        assert not room.look(behind)
        fill(tmp_path, 2 * MB + 1)
        assert room.look(behind)
        assert room.look(behind)
        fill(tmp_path, 2 * MB - 1000)
        assert room.look(behind), "too little to go on for"
        fill(tmp_path, MB)
        assert not room.look(behind)
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2
    assert "2.0 MB of changes are stored and not yet applied (--max-store-size)" in texts[0]


def test_a_transaction_larger_than_the_limit_is_let_in_alone(
    disk: Callable[[int, int], None], tmp_path: Path
) -> None:
    """Nothing of it can be applied before its end has come."""
    room = Room(tmp_path, MB)
    fill(tmp_path, 5 * MB)
    assert room.look(Backlog(stored=20, applied=10))
    assert not room.look(Backlog(stored=20, applied=20))


@pytest.mark.parametrize(
    ("size", "enough", "too_little"),
    [(100 << 30, 2 << 30, (1 << 30) - 4096), (10 * MB, 2 * MB, MB - 8192)],
)
def test_part_of_the_disk_stays_free(
    disk: Callable[[int, int], None], tmp_path: Path, size: int, enough: int, too_little: int
) -> None:
    room = Room(tmp_path, None)
    applied = Backlog(stored=10, applied=10)
    disk(size, enough)
    assert not room.look(applied)
    disk(size, too_little)
    assert room.look(applied)
    disk(size, too_little + 8192)
    assert room.look(applied), "too little to go on for"
    disk(size, enough)
    assert not room.look(applied)


def test_segments_are_small_beside_the_limit() -> None:
    assert segment_bytes(1 << 30, None) == 1 << 30
    assert segment_bytes(1 << 30, 800 * MB) == 100 * MB
    assert segment_bytes(MB, 800 * MB) == MB
    assert segment_bytes(1 << 30, MB) == MB


def test_what_is_stored_counts_the_log_files_of_sqlite(tmp_path: Path) -> None:
    fill(tmp_path, 100)
    (tmp_path / "000000000001.db-wal").write_bytes(b"12345")
    (tmp_path / "other").write_bytes(b"1")
    assert stored_bytes(tmp_path) == 105
