"""Fixtures for all tests, and the rules of a test session."""

import os
from collections.abc import Generator

import pytest

from tests.support.requirements import nothing_may_be_skipped, skip_as_failure

pytest_plugins = ("tests.support.servers", "tests.support.commands")


def pytest_configure() -> None:
    """Let no test see the PostgreSQL settings of the person who runs it."""
    for name in list(os.environ):
        if name.startswith("PG") and not name.startswith("PGCOPYDB_TEST_"):
            del os.environ[name]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count a skipped test as failed where nothing may be skipped."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and nothing_may_be_skipped():
        report.outcome = "failed"
        report.longrepr = skip_as_failure(report.longrepr)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Count a file that skips itself as failed where nothing may be skipped."""
    report = yield
    if report.skipped and nothing_may_be_skipped():
        report.outcome = "failed"
        report.longrepr = skip_as_failure(report.longrepr)
    return report
