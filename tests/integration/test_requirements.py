"""Where nothing may be skipped, a skip is a failure with its reason."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.requirements import NO_SKIP

SKIPS = """
import pytest
from tests.support.requirements import missing

def test_calls_missing():
    missing("no such server")

@pytest.mark.skip(reason="not today")
def test_is_marked():
    pass

@pytest.fixture
def fixture():
    pytest.skip("not tomorrow")

def test_has_a_fixture(fixture):
    pass

@pytest.mark.xfail(reason="known", strict=False)
def test_is_expected_to_fail():
    assert False
"""
SKIPPED_FILE = "import pytest; pytest.skip('not this file', allow_module_level=True)"


def run_pytest(directory: Path, no_skip: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_skips.py").write_text(SKIPS)
    (directory / "test_skipped_file.py").write_text(SKIPPED_FILE)
    root = Path(__file__).parents[2]
    options = [
        "-p",
        "tests.support.requirements",
        "-p",
        "no:cacheprovider",
        f"--rootdir={directory}",
    ]
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-ra",
            "--continue-on-collection-errors",
            *options,
            str(directory),
        ],
        cwd=root,
        env=os.environ | {NO_SKIP: no_skip},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_skip_is_a_skip(tmp_path: Path) -> None:
    finished = run_pytest(tmp_path, "")
    assert "4 skipped, 1 xfailed" in finished.stdout
    assert finished.returncode == 0


def test_where_nothing_may_be_skipped_a_skip_fails(tmp_path: Path) -> None:
    finished = run_pytest(tmp_path, "1")
    for reason in ("no such server", "not today", "not tomorrow", "not this file"):
        assert reason in finished.stdout
    assert "skipped," not in finished.stdout
    assert "1 xfailed" in finished.stdout
    assert finished.returncode == 1
