"""This machine: the programs of PostgreSQL, and room for what is stored."""

from collections.abc import Iterator
from typing import Final

from pgcopydb.model.findings import Finding, Severity
from pgcopydb.model.readiness import Intent, LocalFacts, SourceFacts
from pgcopydb.rules.readiness.wording import age_text, bytes_text

_MENDED: Final = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}
"""The minor release of each major that mended CVE-2025-8714: before it, names in a dump could run
commands on the machine that restores it.
"""

_SHORT: Final = 3600.0
"""Seconds that the work directory should last for, when nothing is applied meanwhile."""


def directory(local: LocalFacts, source: SourceFacts | None, intent: Intent) -> Iterator[Finding]:
    """Whether a migration can be kept in the work directory."""
    del source, intent
    if local.directory_error is None:
        return
    message, hint = local.directory_error
    yield Finding(
        severity=Severity.FATAL,
        side=None,
        check="work-directory",
        message=message,
        advice=hint,
        status=3,
    )


def tools(local: LocalFacts, source: SourceFacts | None, intent: Intent) -> Iterator[Finding]:
    """Whether pg_dump and pg_restore are there for these servers."""
    del source
    if intent.copy is None or local.tools_error is None:
        return
    message, hint = local.tools_error
    yield Finding(
        severity=Severity.FATAL, side=None, check="client-tools", message=message, advice=hint
    )


def old_tools(local: LocalFacts, source: SourceFacts | None, intent: Intent) -> Iterator[Finding]:
    """Whether the programs lack a security fix."""
    del source
    if intent.copy is None:
        return
    for name, (major, minor) in local.tools:
        needed = _MENDED.get(major, 0 if major > max(_MENDED) else minor + 1)
        if minor < needed:
            yield Finding(
                severity=Severity.WARNING,
                side=None,
                check="client-tools",
                message=f"{name} {major}.{minor} lacks the fix of CVE-2025-8714",
                advice="update the PostgreSQL client programs of this machine",
            )


def room(local: LocalFacts, source: SourceFacts | None, intent: Intent) -> Iterator[Finding]:
    """How long the disk of the work directory lasts for changes that are stored."""
    if intent.follow is None or source is None or not source.wal_bytes_per_second:
        return
    if local.directory_error is not None:
        return
    rate = source.wal_bytes_per_second
    lasts = local.free_bytes / rate
    yield Finding(
        severity=Severity.WARNING if lasts < _SHORT else Severity.NOTE,
        side=None,
        check="disk",
        message=f"{bytes_text(local.free_bytes)} are free at {local.directory}; the source writes"
        f" about {bytes_text(rate * 3600)} of log an hour, of which {age_text(lasts)} would fit",
        advice="receiving pauses before the disk is full, and the source keeps its log meanwhile",
    )
