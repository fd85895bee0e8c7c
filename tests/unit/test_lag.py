"""How far behind a follow is: what is told of it, in every situation that has misled somebody."""

import io
import json
import logging
import os
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console

from pgcopydb.cdc.lag import make_progress, measure
from pgcopydb.cli.drawing import Lines
from pgcopydb.cli.live import live_line
from pgcopydb.cli.render import follow_progress, progress_line
from pgcopydb.model.options import WorkOptions
from pgcopydb.runtime import logs
from pgcopydb.workdir.changelog import ChangelogWriter, oldest_commit_time, pack_messages
from pgcopydb.workdir.directory import open_directory
from pgcopydb.workdir.sentinel import Sentinel, create_sentinel, update_sentinel

SECOND = 1_000_000
NOW = 1_800_000_000 * SECOND
HOUR = 3600 * SECOND

BUSY = Sentinel(
    startpos=100,
    apply=True,
    write_lsn=900,
    flush_lsn=900,
    transform_lsn=700,
    replay_lsn=650,
    received_lsn=900,
    source_lsn=1000,
    received_commit_time=NOW - SECOND,
    replay_commit_time=NOW - 5 * SECOND,
    caught_up_time=NOW - HOUR,
    reported_time=NOW - SECOND,
    transactions=10,
    changes=100,
    transaction_rate=5,
    change_rate=50,
)


def test_lag_is_how_long_the_oldest_commit_that_is_not_applied_has_waited() -> None:
    progress = make_progress(BUSY, NOW - 4 * SECOND, NOW)
    assert (progress.lag_bytes, progress.lag_seconds) == (300, 4.0)
    assert (progress.transactions_per_second, progress.changes_per_second) == (5, 50)


def test_the_first_commit_after_a_pause_has_not_waited_since_before_it() -> None:
    """The difference of the commit times of what is stored and applied would say an hour."""
    sentinel = replace(BUSY, replay_commit_time=NOW - HOUR)
    assert make_progress(sentinel, NOW - SECOND // 2, NOW).lag_seconds == 0.5


def test_an_idle_source_is_not_behind() -> None:
    """Pitfall 12: its log grows by what other databases do, with nothing to apply."""
    sentinel = replace(
        BUSY,
        transform_lsn=900,
        received_lsn=1000,
        received_commit_time=NOW - HOUR,
        caught_up_time=NOW - HOUR + SECOND,
    )
    progress = make_progress(sentinel, None, NOW)
    assert (progress.lag_bytes, progress.lag_seconds) == (0, 0.0)


def test_a_backlog_that_is_applied_as_fast_as_it_comes_is_behind() -> None:
    sentinel = replace(BUSY, transform_lsn=900, received_commit_time=NOW - HOUR, caught_up_time=0)
    assert make_progress(sentinel, None, NOW).lag_seconds == 3600


def test_nothing_has_happened_yet() -> None:
    sentinel = Sentinel(startpos=100, write_lsn=100, flush_lsn=100, received_lsn=120)
    progress = make_progress(replace(sentinel, source_lsn=120), None, NOW)
    assert (progress.lag_bytes, progress.lag_seconds, progress.changes_per_second) == (0, 0.0, 0)


def test_rates_of_an_apply_that_says_nothing_any_more_do_not_hold() -> None:
    progress = make_progress(replace(BUSY, reported_time=NOW - 6 * SECOND), None, NOW)
    assert (progress.transactions_per_second, progress.changes_per_second) == (0, 0)


def test_clocks_that_differ_give_no_negative_lag() -> None:
    assert make_progress(BUSY, NOW + SECOND, NOW).lag_seconds == 0


def append(writer: ChangelogWriter, end_lsn: int, *, number: int | None = None) -> None:
    writer.append(
        pack_messages([bytes(25) + b"x"]),
        slice_number=number,
        final=bool(end_lsn),
        end_lsn=end_lsn,
        commit_time=end_lsn * SECOND,
    )


def test_the_oldest_commit_after_a_position_is_found_over_all_segments(tmp_path: Path) -> None:
    assert oldest_commit_time(tmp_path, 0) is None
    writer = ChangelogWriter(tmp_path, max_segment_bytes=1)
    for end_lsn in (10, 20, 30):
        append(writer, end_lsn)
    append(writer, 0, number=0)
    for position, seconds in ((0, 10), (9, 10), (10, 20), (15, 20), (29, 30), (30, None)):
        expected = None if seconds is None else seconds * SECOND
        assert oldest_commit_time(tmp_path, position) == expected
    writer.close()


def test_measuring_reads_what_decides(tmp_path: Path) -> None:
    options = WorkOptions(directory=tmp_path / "work")
    with open_directory(options, command="stream sentinel get") as work, work.store() as store:
        create_sentinel(store, 5)
        update_sentinel(store, flush_lsn=30, received_lsn=30, source_lsn=40, transform_lsn=10)
        writer = ChangelogWriter(work.cdc, max_segment_bytes=1)
        append(writer, 10)
        append(writer, 30)
        writer.close()
        progress = measure(work)
    assert progress.lag_bytes == 30
    assert progress.lag_seconds > HOUR / SECOND


def test_everything_is_told_as_json() -> None:
    members = json.loads(follow_progress(make_progress(BUSY, NOW - 4 * SECOND, NOW), as_json=True))
    assert members == {
        "startpos": "0/64",
        "endpos": "0/0",
        "apply": True,
        "write_lsn": "0/384",
        "flush_lsn": "0/384",
        "transform_lsn": "0/2BC",
        "replay_lsn": "0/28A",
        "received_lsn": "0/384",
        "source_lsn": "0/3E8",
        "lag_bytes": 300,
        "lag_seconds": 4.0,
        "transactions": 10,
        "changes": 100,
        "transactions_per_second": 5,
        "changes_per_second": 50,
    }


def test_everything_is_told_as_text() -> None:
    lines = follow_progress(make_progress(BUSY, NOW - 4 * SECOND, NOW), as_json=False).splitlines()
    assert lines[0].split() == ["startpos", "0/64"]
    assert lines[-3].split(maxsplit=1) == ["lag", "300 B, 4.0 s"]
    assert lines[-2].split(maxsplit=1) == ["applied", "10 transactions, 100 changes"]


def test_the_live_line_is_redrawn_in_place_and_gone_at_the_end() -> None:
    screen = io.StringIO()
    progress = make_progress(replace(BUSY, endpos=2000), NOW - 4 * SECOND, NOW)
    console = Console(file=screen, force_terminal=True, width=50, color_system=None)
    lines = Lines(console)
    lines.draw(progress_line(progress))
    lines.draw(progress_line(progress))
    lines.erase()
    text = screen.getvalue()
    assert progress_line(progress)[:40] in text
    assert "…" in text  # cut off where the terminal ends
    assert "\n" not in text
    assert text.endswith("\r\x1b[J")


def test_there_is_no_live_line_without_a_terminal() -> None:
    with live_line() as observe:
        assert observe is None


def test_a_log_line_takes_the_place_of_a_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    before = logs.current()
    controller, terminal = os.openpty()
    with os.fdopen(terminal, "w") as stderr, os.fdopen(controller, "rb", buffering=0) as shown:
        monkeypatch.setattr("sys.stderr", stderr)
        monkeypatch.setenv("TERM", "xterm")
        with live_line() as observe:
            assert observe is not None
            assert logs.current().live
            logging.getLogger("pgcopydb.test").warning("what happened")
        assert logs.current() == before
        text = os.read(shown.fileno(), 10_000).decode()
    assert text.startswith("\r\x1b[J")
    assert "what happened" in text


def test_the_live_line_before_anything_is_applied() -> None:
    sentinel = Sentinel(startpos=100, flush_lsn=256, received_lsn=256, source_lsn=256)
    progress = make_progress(sentinel, NOW - SECOND, NOW)
    assert progress_line(progress) == "stored 0/100  lag 156 B, 1.0 s  nothing applied yet"
