"""One look at both servers and this machine: what a migration would meet. Creates nothing."""

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from msgspec.structs import replace

from pgcopydb.errors import ConfigurationError, Interrupted, PgcopydbError, StateError, UsageError
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.findings import Finding, Report, Severity
from pgcopydb.model.objects import Table
from pgcopydb.model.options import FollowOptions
from pgcopydb.model.readiness import (
    Intent,
    LocalFacts,
    Questions,
    SourceFacts,
    SourceServer,
    TargetFacts,
    TargetServer,
)
from pgcopydb.pgtools.find import find_tools
from pgcopydb.postgres.connect import pin
from pgcopydb.postgres.readiness import (
    read_source,
    read_source_server,
    read_target,
    read_target_server,
)
from pgcopydb.postgres.selection import resolve_filters
from pgcopydb.postgres.short_sessions import short_session
from pgcopydb.preflight.new_features import judge_new_features
from pgcopydb.preflight.properties import judge_properties
from pgcopydb.preflight.roles import judge_roles
from pgcopydb.preflight.snapshots import judge_snapshot
from pgcopydb.preflight.system_names import judge_system_names
from pgcopydb.rules.readiness import (
    judge_machine,
    judge_pair,
    judge_servers,
    judge_source,
    judge_target,
)
from pgcopydb.workdir.directory import refuse_unusable, refuse_used

_ORDER: Final = tuple(Severity)

_T = TypeVar("_T")


def look(
    source: Endpoint,
    target: Endpoint,
    intent: Intent,
    directory: Path,
    *,
    tables: Sequence[Table] | None = None,
    begins: str | None = None,
) -> Report:
    """Return everything on both sides and here that matters to what is intended, gravest first.

    A server that cannot be asked is a finding too. Raises UsageError for a malformed connection
    string. ``directory`` is the work directory, which need not be there. ``tables`` are those of
    the source where somebody has read them already. ``begins`` is the command that would have to
    open the directory still.
    """
    findings: list[Finding] = []
    intent = _ask(source, findings, partial(_resolved, intent=intent)) or intent
    source_facts = None
    if not findings:
        read = partial(_read_source, intent=intent, tables=tables)
        source_facts = _ask(source, findings, read)
    read_other = partial(_read_target, intent=intent, source=source_facts)
    target_facts = _ask(target, findings, read_other)
    if source_facts is not None:
        findings += judge_source(source_facts, intent)
        if intent.copy is not None and intent.copy.snapshot is not None:
            findings += judge_snapshot(source, intent.copy.snapshot)
    if target_facts is not None:
        findings += judge_target(target_facts, intent)
    if source_facts is not None and target_facts is not None:
        findings += judge_pair(source_facts, target_facts, intent)
        if intent.copy is not None and not intent.copy.skip_db_properties:
            findings += judge_properties(source, target, target_facts, intent.copy)
        if intent.copy is not None and intent.copy.roles:
            findings += judge_roles(source, target, target_facts, intent.copy)
        if intent.copy is not None and source_facts.facts.major != target_facts.facts.major:
            findings += judge_system_names(source, target, target_facts, intent.filters)
        if intent.copy is not None and target_facts.facts.major < source_facts.facts.major:
            findings += judge_new_features(source, target_facts, intent.filters)
    local = _read_machine(source_facts, target_facts, directory, begins)
    findings += judge_machine(local, source_facts, intent)
    return _sorted(findings)


def look_at_source(source: Endpoint, intent: Intent) -> Report:
    """Return what matters on the source alone, for what needs no target yet."""
    findings: list[Finding] = []
    facts = _ask(source, findings, partial(_read_source, intent=intent))
    if facts is not None:
        findings += judge_source(facts, intent)
    return _sorted(findings)


def look_at_capture(
    source: Endpoint | None, target: Endpoint | None, follow: FollowOptions, *, prepared: bool
) -> Report:
    """Return what matters to going on with a capture: one short connection a side that is given.

    Slot and publication are there, and the target is not empty: of what a whole migration needs
    the servers themselves are looked at. ``prepared`` says that the target records already how far
    it is, so that nothing needs to be created there.
    """
    findings: list[Finding] = []
    intent = Intent(copy=None, follow=follow, captured=True, prepared=prepared)
    source_server, target_server = None, None
    if source is not None:
        source_server = _ask(source, findings, partial(_read_source_server, follow=follow))
    if target is not None:
        target_server = _ask(target, findings, partial(_read_target_server, follow=follow))
    findings += judge_servers(source_server, target_server, intent)
    return _sorted(findings)


def _read_source_server(source: Endpoint, follow: FollowOptions) -> SourceServer:
    with short_session(source, purpose="check") as connection:
        return read_source_server(source, connection, follow)


def _read_target_server(target: Endpoint, follow: FollowOptions) -> TargetServer:
    with short_session(target, purpose="check") as connection:
        return read_target_server(target, connection, follow)


def _ask(endpoint: Endpoint, findings: list[Finding], read: Callable[[Endpoint], _T]) -> _T | None:
    """Return what is read of a server; None, with a finding, when it cannot be asked."""
    try:
        return read(endpoint)
    except (UsageError, Interrupted):
        raise
    except PgcopydbError as error:
        findings.append(
            Finding(
                severity=Severity.FATAL,
                side=endpoint.side,
                check="connection",
                message=error.message.removeprefix(f"{endpoint.side}: "),
                advice=error.hint,
                status=error.status,
            )
        )
        return None


def _resolved(source: Endpoint, intent: Intent) -> Intent:
    """Return the intent with filters that name what follows from the source's catalogue."""
    if intent.filters.selects_all or intent.filters.is_resolved:
        return intent
    with short_session(pin(source), purpose="check") as connection:
        filters = resolve_filters(source, connection, intent.filters, tell=False)
    return replace(intent, filters=filters)


def _read_source(
    source: Endpoint, intent: Intent, tables: Sequence[Table] | None = None
) -> SourceFacts:
    source = pin(source)
    with short_session(source, purpose="check") as connection:
        return read_source(source, connection, intent, tables)


def _read_target(target: Endpoint, intent: Intent, source: SourceFacts | None) -> TargetFacts:
    target = pin(target)
    questions = Questions()
    if source is not None and intent.copy is not None:
        questions = Questions(
            kinds=frozenset(one.kind for one in source.superuser_objects),
            settings=frozenset(
                setting for routine in source.routines for setting in routine.settings
            ),
            shared=source.shared_schemas,
        )
    with short_session(target, purpose="check") as connection:
        return read_target(target, connection, intent, questions)


def _read_machine(
    source: SourceFacts | None, target: TargetFacts | None, directory: Path, begins: str | None
) -> LocalFacts:
    refused: tuple[str, str | None] | None = None
    try:
        refuse_unusable(directory)
        if begins is not None:
            refuse_used(directory, begins)
    except StateError as caught:
        refused = (caught.message, caught.hint)
    error: tuple[str, str | None] | None = None
    programs: tuple[tuple[str, tuple[int, int]], ...] = ()
    if source is not None and target is not None:
        try:
            found = find_tools(source.facts.version_num, target.facts.version_num)
        except ConfigurationError as missing:
            error = (missing.message, missing.hint)
        else:
            programs = (
                ("pg_dump", found.pg_dump_version),
                ("pg_restore", found.pg_restore_version),
            )
    return LocalFacts(
        tools=programs,
        tools_error=error,
        directory=str(directory),
        free_bytes=_free_bytes(directory) if refused is None else 0,
        directory_error=refused,
    )


def _free_bytes(directory: Path) -> int:
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def _sorted(findings: list[Finding]) -> Report:
    return Report(findings=tuple(sorted(findings, key=lambda one: _ORDER.index(one.severity))))
