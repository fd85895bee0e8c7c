"""Fixtures for all tests, and the rules of a test session."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Before any of them is imported: their assertions are shown as those of a test are.
for _module in (Path(__file__).parent / "support").glob("*.py"):
    pytest.register_assert_rewrite(f"tests.support.{_module.stem}")

# Nothing here is wrong for being slow: the machine may have other work.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

pytest_plugins = (
    "tests.support.requirements",
    "tests.support.servers",
    "tests.support.commands",
    "tests.support.phases",
    "tests.support.steps",
)


def pytest_configure() -> None:
    """Let no test see the PostgreSQL settings of the person who runs it, nor their nohup."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # which commands would inherit, and heed
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for name in list(os.environ):
        if name.startswith("PG") and not name.startswith("PGCOPYDB_TEST_"):
            del os.environ[name]


@pytest.fixture(autouse=True)
def same_umask() -> Iterator[None]:
    """Take back what opening a work directory in a test's own process sets for the whole of it."""
    before = os.umask(0o022)
    yield
    os.umask(before)
