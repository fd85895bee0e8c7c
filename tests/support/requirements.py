"""What a test needs of the machine: without it the test is skipped, or fails where nothing may be.

``PGCOPYDB_TEST_NO_SKIP=1`` says that this machine has everything, so every skip is a failure.
"""

import os
from collections.abc import Generator
from typing import NoReturn

import pytest

NO_SKIP = "PGCOPYDB_TEST_NO_SKIP"


def nothing_may_be_skipped() -> bool:
    return os.environ.get(NO_SKIP, "") not in {"", "0"}


def missing(what: str) -> NoReturn:
    """Skip the test that needs ``what``, or fail it where nothing may be skipped."""
    if nothing_may_be_skipped():
        pytest.fail(f"{what}, and {NO_SKIP} is set", pytrace=False)
    pytest.skip(what)


def _skip_as_failure(reason: object) -> str:
    """Return what a skipped test's report says when that counts as a failure."""
    # A skip is reported as (file, line, reason).
    text = reason[2] if isinstance(reason, tuple) and len(reason) == 3 else reason
    return f"skipped although {NO_SKIP} is set: {text}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count a skipped test as failed where nothing may be skipped."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and nothing_may_be_skipped():
        report.outcome = "failed"
        report.longrepr = _skip_as_failure(report.longrepr)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Count a file that skips itself as failed where nothing may be skipped."""
    report = yield
    if report.skipped and nothing_may_be_skipped():
        report.outcome = "failed"
        report.longrepr = _skip_as_failure(report.longrepr)
    return report
