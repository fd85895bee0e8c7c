"""Judges what was read from both servers: facts in, findings out, each with what mends it.

A check is a function that gives the findings of one matter. The tables below are all of them; a
new check is a function and a line here. Those of the servers alone serve a follow too, each time
that it begins or goes on.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

from pgcopydb.model.findings import Finding
from pgcopydb.model.readiness import (
    Intent,
    LocalFacts,
    SourceFacts,
    SourceServer,
    TargetFacts,
    TargetServer,
)
from pgcopydb.rules.readiness import (
    applying,
    capture,
    machine,
    objects,
    publishing,
    reading,
    rights,
    servers,
    writing,
)

SourceServerCheck: TypeAlias = Callable[[SourceServer, Intent], Iterable[Finding]]
TargetServerCheck: TypeAlias = Callable[[TargetServer, Intent], Iterable[Finding]]
SourceCheck: TypeAlias = Callable[[SourceFacts, Intent], Iterable[Finding]]
TargetCheck: TypeAlias = Callable[[TargetFacts, Intent], Iterable[Finding]]
PairCheck: TypeAlias = Callable[[SourceFacts, TargetFacts, Intent], Iterable[Finding]]
MachineCheck: TypeAlias = Callable[[LocalFacts, SourceFacts | None, Intent], Iterable[Finding]]

SOURCE_SERVER_CHECKS: Final[tuple[SourceServerCheck, ...]] = (
    servers.source_pooler,
    capture.wal_level,
    capture.standby,
    capture.replication_right,
    capture.slots,
    capture.senders,
    capture.plugin_allowed,
    capture.streaming,
    capture.slot_name,
)

TARGET_SERVER_CHECKS: Final[tuple[TargetServerCheck, ...]] = (
    servers.target_pooler,
    writing.standby,
    writing.create_right,
    writing.helper_schema,
    applying.origin_room,
    applying.origin_name,
)

SOURCE_CHECKS: Final[tuple[SourceCheck, ...]] = (
    *SOURCE_SERVER_CHECKS,
    servers.source_connections,
    reading.tables,
    reading.hidden_rows,
    reading.sequences,
    reading.large_objects,
    reading.lock_table,
    reading.foreign_tables,
    reading.subscriptions,
    capture.plugin_installed,
    capture.plugin_encoding,
    publishing.publications,
    publishing.publication_rights,
    publishing.identities,
    publishing.identity_rights,
    publishing.generated_identities,
    publishing.full_identities,
    capture.blockers,
    capture.wal_limit,
    capture.idle_limit,
    capture.not_followed,
    applying.strict_tables,
    applying.firing_triggers,
)

TARGET_CHECKS: Final[tuple[TargetCheck, ...]] = (
    *TARGET_SERVER_CHECKS,
    servers.target_connections,
    servers.parallel_builds,
    writing.not_empty,
    applying.origin_rights,
    applying.silencing,
)

PAIR_CHECKS: Final[tuple[PairCheck, ...]] = (
    servers.same_database,
    servers.older_target,
    servers.encodings,
    servers.locales,
    objects.collations,
    objects.build,
    objects.collation_versions,
    objects.extensions,
    objects.extension_comments,
    objects.extension_versions,
    objects.roles,
    objects.role_rights,
    objects.ownership,
    objects.new_owners,
    objects.tablespaces,
    objects.superuser_objects,
    objects.given_up,
    objects.foreign_servers,
    objects.publication_owners,
    objects.system_rights,
    rights.languages,
    rights.function_settings,
    rights.default_privileges,
    rights.future_rights,
    rights.grantors,
    rights.schema_owners,
    writing.public_schema,
    writing.taken_names,
    writing.room,
)

MACHINE_CHECKS: Final[tuple[MachineCheck, ...]] = (
    machine.directory,
    machine.tools,
    machine.old_tools,
    machine.room,
)


def judge_servers(
    source: SourceServer | None, target: TargetServer | None, intent: Intent
) -> Iterator[Finding]:
    """Give what is found on those servers of a capture that is there already which are known."""
    if source is not None:
        for check in SOURCE_SERVER_CHECKS:
            yield from check(source, intent)
    if target is not None:
        for other in TARGET_SERVER_CHECKS:
            yield from other(target, intent)
    if source is not None and target is not None:
        yield from servers.same_database(source, target, intent)


def judge_source(facts: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Give what is found on the source alone."""
    for check in SOURCE_CHECKS:
        yield from check(facts, intent)


def judge_target(facts: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Give what is found on the target alone."""
    for check in TARGET_CHECKS:
        yield from check(facts, intent)


def judge_pair(source: SourceFacts, target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Give what is found when both sides are known."""
    for check in PAIR_CHECKS:
        yield from check(source, target, intent)


def judge_machine(
    local: LocalFacts, source: SourceFacts | None, intent: Intent
) -> Iterator[Finding]:
    """Give what is found on this machine."""
    for check in MACHINE_CHECKS:
        yield from check(local, source, intent)
