"""Two commands in one work directory: the second is refused, unless the first one is going."""

from pathlib import Path
from threading import Timer

import pytest

from pgcopydb.errors import StateError
from pgcopydb.model.options import WorkOptions
from pgcopydb.workdir.directory import open_directory
from pgcopydb.workdir.locks import lock

COMMAND = "clone"
"""And the role that it has in its directory."""


def test_a_killed_command_has_a_moment_to_let_go(tmp_path: Path) -> None:
    """The kernel closes its files some time after ``kill`` returned to the one who starts again."""
    killed = lock(tmp_path, COMMAND, COMMAND)
    killed.__enter__()
    Timer(0.3, killed.__exit__, (None, None, None)).start()
    with open_directory(WorkOptions(directory=tmp_path), command=COMMAND) as work:
        assert work.path == tmp_path


def test_a_directory_in_which_a_command_is_at_work_is_refused(tmp_path: Path) -> None:
    with (
        lock(tmp_path, COMMAND, COMMAND),
        pytest.raises(StateError, match="in use: pgcopydb clone, pid"),
        open_directory(WorkOptions(directory=tmp_path), command=COMMAND),
    ):
        pytest.fail("two commands in one work directory")
