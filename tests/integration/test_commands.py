"""The fixtures that run the installed command."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pgcopydb.demo.processes import is_alive
from tests.support.clock import wait_for
from tests.support.commands import (
    Pgcopydb,
    PgcopydbBackground,
    clean_environment,
    running,
)


def test_command_ends_with_its_status_and_output(pgcopydb_command: Pgcopydb) -> None:
    finished = pgcopydb_command("--version")
    assert finished.status == 0
    assert "0.1.0" in finished.stdout


def test_background_command_takes_signals(tmp_path: Path) -> None:
    program = "import time; print('up', flush=True); time.sleep(600)"
    command = [sys.executable, "-c", program]
    with running(command, tmp_path / "x", dict(os.environ), stdin=subprocess.DEVNULL) as started:
        assert wait_for(lambda: started.stdout != "")
        started.send_signal(signal.SIGTERM)
        assert started.wait(10).status == -signal.SIGTERM


def test_what_a_command_started_ends_with_it(tmp_path: Path) -> None:
    program = "import subprocess as s; print(s.Popen(['sleep', '600']).pid, flush=True)"
    command = [sys.executable, "-c", program]
    with running(command, tmp_path / "x", dict(os.environ), stdin=subprocess.DEVNULL) as started:
        child = int(started.wait(10).stdout)
        assert is_alive(child)
    assert wait_for(lambda: not is_alive(child))


def test_a_command_that_hangs_fails_the_test(tmp_path: Path) -> None:
    with running(
        ["sleep", "600"], tmp_path / "x", dict(os.environ), stdin=subprocess.DEVNULL
    ) as started:
        with pytest.raises(pytest.fail.Exception, match="still running after 0 s"):
            started.wait(0.1)
        assert not started.is_running


def test_command_sees_nothing_of_the_person_who_tests(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("PGHOST", "PGCOPYDB_SOURCE_PGURI", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, "leak")
    assert "leak" not in clean_environment(tmp_path / "home").values()


def test_background_command_can_be_fed(pgcopydb_background: PgcopydbBackground) -> None:
    with pgcopydb_background("--version", stdin_pipe=True) as started:
        started.stdin.close()
        assert started.wait(30).status == 0


@pytest.mark.forked_commands
def test_a_forked_command_is_like_one_that_is_started(
    pgcopydb_command: Pgcopydb, pgcopydb_background: PgcopydbBackground, tmp_path: Path
) -> None:
    finished = pgcopydb_command("--version")
    assert (finished.status, finished.stderr) == (0, "")
    assert "0.1.0" in finished.stdout
    assert pgcopydb_command("--nonsense").status == 1
    assert str(tmp_path / "home" / "tmp") in pgcopydb_command("list", "progress").stderr
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nobody = f"host=127.0.0.1 port={silent.getsockname()[1]} user=x dbname=x"
        named = {"PGCOPYDB_SOURCE_PGURI": nobody, "PGCOPYDB_TARGET_PGURI": nobody}
        for number in (signal.SIGTERM, signal.SIGKILL):
            with pgcopydb_background("ping", env=named) as running:
                connection, _ = silent.accept()
                with connection:
                    assert os.getsid(running.pid) == running.pid
                    assert running.is_running
                    running.send_signal(number)
                    assert running.wait(60).status == -number
