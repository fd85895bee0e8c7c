"""``pgcopydb demo``: it shows a migration that is right, notices one that is not, and tidies up."""

import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgcopydb.cli import main
from pgcopydb.demo.embedded import EMBEDDED_MAJORS
from pgcopydb.demo.processes import children, is_alive
from tests.support.clock import wait_for
from tests.support.commands import Pgcopydb, PgcopydbBackground, Running
from tests.support.requirements import missing
from tests.support.servers import bindir

_SMALL = ("--scale", "1", "--rate", "60")


@pytest.fixture(autouse=True)
def _needs_embedded_servers() -> None:
    for major in EMBEDDED_MAJORS:
        found = bindir(major)
        if isinstance(found, str):
            missing(found)


def test_the_demo_migrates_and_proves_it(pgcopydb_command: Pgcopydb) -> None:
    finished = pgcopydb_command("demo", *_SMALL, "--seconds", "2", "--keep")
    assert finished.status == 0, finished.stdout + finished.stderr
    assert "FAILED" not in finished.stdout
    assert finished.stdout.count("\nok ") == 5
    for told in ("base copy", "caught up in", "lag after that", "writers stopped"):
        assert f"\n{told}" in finished.stdout
    # --keep gives it to people who have psql, and standard input has ended here.
    assert "\nsource: host=127.0.0.1 port=" in finished.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(
    pgcopydb_background: PgcopydbBackground, number: signal.Signals
) -> None:
    with pgcopydb_background("demo", *_SMALL, "--seconds", "60") as demo:
        _wait_for_words("base copy in", demo)
        started = list(_descendants(demo.pid))
        demo.send_signal(number)
        assert demo.wait(60).status == 128 + number
    _assert_gone(started)


def test_a_migration_that_dies_is_told(pgcopydb_background: PgcopydbBackground) -> None:
    with pgcopydb_background("demo", *_SMALL, "--seconds", "60") as demo:
        _wait_for_words("base copy in", demo)
        started = list(_descendants(demo.pid))
        (migration,) = [
            pid for pid, command, _ in started if "--follow" in command and _is_child(pid, demo)
        ]
        os.kill(migration, signal.SIGKILL)
        finished = demo.wait(60)
    assert finished.status == 12, finished.stdout + finished.stderr
    assert "pgcopydb clone --follow was killed by signal 9" in finished.stderr
    assert "Nothing was lost" not in finished.stdout
    _assert_gone(started)


def test_a_difference_is_told(pgcopydb_background: PgcopydbBackground) -> None:
    with pgcopydb_background("demo", *_SMALL, "--seconds", "4") as demo:
        _wait_for_words("caught up in", demo)
        # Rows that the application never changes, so that applying does not notice.
        with psycopg.connect(_target_conninfo(demo), autocommit=True) as target:
            target.execute("delete from shop.events_past where id = 7")
        finished = demo.wait(60)
    assert finished.status == 8, finished.stdout + finished.stderr
    assert "shop.events_past" in finished.stderr
    assert "FAILED: 1 of 5 checks" in finished.stdout
    assert "Nothing was lost" not in finished.stdout


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert main.run(["demo"]) == 2
    assert "pip install 'pgcopydb[demo]'" in capfd.readouterr().err


def _wait_for_words(words: str, demo: Running) -> None:
    """Wait until the demo has said something; fail at once when it ended before."""
    wait_for(lambda: words in demo.stdout or not demo.is_running, seconds=60)
    assert words in demo.stdout, demo.stdout + demo.stderr


Descendant = tuple[int, list[str], Path]
"""A process: its number, its command line, and a folder that must go with it."""


def _descendants(parent: int) -> Iterator[Descendant]:
    for pid in children(parent):
        yield pid, _command(pid), _data_directory(_command(pid))
        yield from _descendants(pid)


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []


def _data_directory(command: list[str]) -> Path:
    """Return a server's PGDATA, and for other programs a folder that is never there."""
    return Path(command[command.index("-D") + 1]) if "-D" in command else Path("/nonexistent")


def _is_child(pid: int, demo: Running) -> bool:
    return pid in children(demo.pid)


def _assert_gone(processes: list[Descendant]) -> None:
    assert any("pgbench" in command[0] for _, command, _ in processes if command)
    assert wait_for(lambda: not any(is_alive(pid) for pid, _, _ in processes))
    assert not [directory for _, _, directory in processes if directory.exists()]


def _target_conninfo(demo: Running) -> str:
    (command,) = [
        command
        for _, command, directory in _descendants(demo.pid)
        if directory.exists() and "pginstall18" in command[0]
    ]
    (port,) = [word.removeprefix("port=") for word in command if word.startswith("port=")]
    return f"host=127.0.0.1 port={port} user=postgres dbname=shop"
