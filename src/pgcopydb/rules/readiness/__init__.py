"""Judges what was read from both servers: facts in, findings out, each with what mends it.

A check is a function that gives the findings of one matter. The tables below are all of them; a
new check is a function and a line here.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

from pgcopydb.model.findings import Finding
from pgcopydb.model.readiness import Intent, LocalFacts, SourceFacts, TargetFacts
from pgcopydb.rules.readiness import (
    applying,
    capture,
    machine,
    objects,
    publishing,
    reading,
    servers,
    writing,
)

SourceCheck: TypeAlias = Callable[[SourceFacts, Intent], Iterable[Finding]]
TargetCheck: TypeAlias = Callable[[TargetFacts, Intent], Iterable[Finding]]
PairCheck: TypeAlias = Callable[[SourceFacts, TargetFacts, Intent], Iterable[Finding]]
MachineCheck: TypeAlias = Callable[[LocalFacts, SourceFacts | None, Intent], Iterable[Finding]]

SOURCE_CHECKS: Final[tuple[SourceCheck, ...]] = (
    servers.source_pooler,
    servers.source_connections,
    reading.tables,
    reading.hidden_rows,
    reading.sequences,
    reading.large_objects,
    reading.lock_table,
    reading.foreign_tables,
    capture.wal_level,
    capture.standby,
    capture.replication_right,
    capture.slots,
    capture.senders,
    capture.plugin_allowed,
    capture.plugin_installed,
    capture.slot_name,
    publishing.publications,
    publishing.publication_rights,
    publishing.identities,
    publishing.identity_rights,
    publishing.generated_identities,
    publishing.full_identities,
    capture.blockers,
    capture.wal_limit,
    capture.not_followed,
    applying.strict_tables,
    applying.firing_triggers,
)

TARGET_CHECKS: Final[tuple[TargetCheck, ...]] = (
    servers.target_pooler,
    servers.target_connections,
    writing.standby,
    writing.create_right,
    writing.helper_schema,
    writing.not_empty,
    applying.origin_room,
    applying.origin_name,
    applying.origin_rights,
    applying.silencing,
)

PAIR_CHECKS: Final[tuple[PairCheck, ...]] = (
    servers.same_database,
    servers.older_target,
    servers.encodings,
    servers.locales,
    objects.collations,
    objects.collation_versions,
    objects.extensions,
    objects.extension_comments,
    objects.extension_versions,
    objects.roles,
    objects.ownership,
    objects.tablespaces,
    writing.public_schema,
    writing.taken_names,
)

MACHINE_CHECKS: Final[tuple[MachineCheck, ...]] = (
    machine.tools,
    machine.old_tools,
    machine.room,
)


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
