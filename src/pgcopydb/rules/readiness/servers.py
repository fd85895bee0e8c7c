"""The two servers as such: what is between, how much they take, and how they fit together."""

from collections.abc import Iterator
from typing import Final

from pgcopydb.model.encodings import RAW
from pgcopydb.model.endpoint import Side
from pgcopydb.model.findings import Finding, Name, Severity, Statement
from pgcopydb.model.objects import ServerFacts
from pgcopydb.model.readiness import (
    Intent,
    Pooling,
    ServerRoom,
    SourceFacts,
    SourceServer,
    TargetFacts,
    TargetServer,
)
from pgcopydb.rules.language_tag import language_tag
from pgcopydb.rules.readiness.wording import set_setting

_BESIDE_LANES: Final = 8
"""Sessions beside the lanes: the snapshot's, walsender, watch, catalogue, pg_dump or pg_restore."""

_WORKERS: Final = {
    "max_parallel_maintenance_workers": 2,
    "max_parallel_workers": 8,
    "max_worker_processes": 8,
}
"""What a build by several processes needs of a server, and PostgreSQL's own defaults."""

_LOCALE_OPTIONS: Final = {
    "b": "LOCALE_PROVIDER and BUILTIN_LOCALE",
    "c": "LC_COLLATE and LC_CTYPE",
    "i": "LOCALE_PROVIDER and ICU_LOCALE",
}
"""What CREATE DATABASE takes a locale by: the server's own, libc's and that of ICU."""


def source_pooler(source: SourceServer, _: Intent) -> Iterator[Finding]:
    """Whether a pooler stands before the source."""
    yield from pooler(Side.SOURCE, source.pooling)


def target_pooler(target: TargetServer, _: Intent) -> Iterator[Finding]:
    """Whether a pooler stands before the target."""
    yield from pooler(Side.TARGET, target.pooling)


def pooler(side: Side, pooling: Pooling) -> Iterator[Finding]:
    """Whether a pooler stands before that side, and of which kind."""
    if not pooling.pooled:
        return
    advice = f"name the server's own address and port in --{side}"
    if pooling.by_transaction:
        yield Finding(
            severity=Severity.FATAL,
            side=side,
            check="pooler",
            message="a pooler hands out sessions by transaction: snapshots, settings and locks"
            " would be lost between two statements",
            advice=advice,
        )
        return
    yield Finding(
        severity=Severity.WARNING,
        side=side,
        check="pooler",
        message="a pooler stands before the server; it may end long sessions, and most know"
        " nothing of replication",
        advice=advice,
    )


def source_connections(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the source takes enough sessions."""
    yield from _connections(Side.SOURCE, source.facts, source.room, _lanes(intent))


def target_connections(target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the target takes enough sessions."""
    builders = intent.copy.index_jobs if intent.copy else 0
    yield from _connections(Side.TARGET, target.facts, target.room, _lanes(intent) + builders)


def _lanes(intent: Intent) -> int:
    return intent.copy.table_jobs if intent.copy else 0


def _connections(side: Side, facts: ServerFacts, room: ServerRoom, lanes: int) -> Iterator[Finding]:
    needed = lanes + _BESIDE_LANES
    reserved = 0 if facts.is_superuser else room.reserved_connections
    free = room.max_connections - reserved - room.used_connections
    if free < needed:
        yield Finding(
            severity=Severity.WARNING,
            side=side,
            check="connections",
            message=f"max_connections leaves {max(free, 0)} sessions free, and up to {needed} are"
            " needed",
            statements=set_setting("max_connections", room.max_connections + needed - free),
            restart=True,
            advice="or use fewer --table-jobs and --index-jobs",
        )
    free = room.database_connections - room.used_in_database
    if room.database_connections >= 0 and free < needed and not facts.is_superuser:
        limit = room.database_connections + needed - free
        yield Finding(
            severity=Severity.WARNING,
            side=side,
            check="connections",
            message=f'the connection limit of database "{facts.database}" leaves {max(free, 0)}'
            f" sessions free, and up to {needed} are needed",
            statements=(
                Statement("ALTER DATABASE {} CONNECTION LIMIT {};", Name(facts.database), limit),
            ),
            advice="or use fewer --table-jobs and --index-jobs",
        )
    if 0 <= room.role_connections < needed and not facts.is_superuser:
        yield Finding(
            severity=Severity.WARNING,
            side=side,
            check="connections",
            message=f'role "{facts.role}" may open {room.role_connections} sessions, and up to'
            f" {needed} are needed",
            statements=(Statement("ALTER ROLE {} CONNECTION LIMIT {};", Name(facts.role), needed),),
            advice="or use fewer --table-jobs and --index-jobs",
        )


def parallel_builds(target: TargetFacts, intent: Intent) -> Iterator[Finding]:
    """Whether large indexes may be built by several processes each (rules.maintenance)."""
    none = [name for name in _WORKERS if getattr(target.room, name) == 0]
    if intent.copy is None or not none:
        return
    yield Finding(
        severity=Severity.NOTE,
        side=Side.TARGET,
        check="parallel-builds",
        message=f"{' and '.join(none)} {'is' if len(none) == 1 else 'are'} 0: however large, an"
        " index is built by one process alone",
        statements=(
            *(one for name in none for one in set_setting(name, _WORKERS[name])),
            Statement("SELECT pg_catalog.pg_reload_conf();"),
        ),
        restart="max_worker_processes" in none,
    )


def same_database(source: SourceServer, target: TargetServer, _: Intent) -> Iterator[Finding]:
    """Whether both sides are one and the same database."""
    if is_same_database(source.facts, target.facts):
        yield Finding(
            severity=Severity.FATAL,
            side=None,
            check="same-database",
            message=f'source and target are the same database "{target.facts.database}"',
            advice="check --source and --target",
        )


def is_same_database(source: ServerFacts, target: ServerFacts) -> bool:
    """Tell whether two sessions are in one and the same database.

    A standby has its primary's identity too, and the copy would go into what it reads. So has a
    physical copy that was promoted, which is a server of its own, started at another moment.
    """
    if source.started_at != target.started_at and not (source.in_recovery or target.in_recovery):
        return False
    same_cluster = (
        source.system_identifier == target.system_identifier
        if source.system_identifier is not None and target.system_identifier is not None
        # A role that may not read the control file still sees when the server was started.
        else (source.started_at, source.version) == (target.started_at, target.version)
    )
    return same_cluster and source.database_oid == target.database_oid


def older_target(source: SourceFacts, target: TargetFacts, _: Intent) -> Iterator[Finding]:
    """Whether the target is older than the source."""
    if target.facts.major < source.facts.major:
        yield Finding(
            severity=Severity.WARNING,
            side=Side.TARGET,
            check="version",
            message=f"the target is PostgreSQL {target.facts.major}, older than the source"
            f" ({source.facts.major}): what it does not know cannot be restored",
            advice="use a target of the source's version, or a newer one",
        )


def encodings(source: SourceFacts, target: TargetFacts, _: Intent) -> Iterator[Finding]:
    """Whether every text of the source is one on the target."""
    here, there = source.facts.encoding, target.facts.encoding
    if here == there:
        return
    what = (
        f"the target is {there}, the source {here}: bytes are taken as they are, or refused"
        if RAW in (here, there)
        else f"the target is {there}, the source {here}: a character that {there} does not have"
        " ends the copy"
    )
    if there == "UTF8" and here != RAW:
        yield Finding(
            severity=Severity.NOTE,
            side=Side.TARGET,
            check="encoding",
            message=f"text is converted from {here} to UTF8",
        )
        return
    yield Finding(
        severity=Severity.WARNING,
        side=Side.TARGET,
        check="encoding",
        message=what,
        advice=f"make the target's database with ENCODING '{here}' TEMPLATE template0",
    )


def locales(source: SourceFacts, target: TargetFacts, _: Intent) -> Iterator[Finding]:
    """Whether text is ordered and classified alike."""
    here, there = _locale(source.facts), _locale(target.facts)
    if here == there:
        return
    yield Finding(
        severity=Severity.NOTE,
        side=Side.TARGET,
        check="locale",
        message=f"the target's database has the locale {there}, the source's {here}: text is"
        " ordered otherwise, and a range partition of text may refuse rows",
        advice="make the target's database with the source's"
        f" {_LOCALE_OPTIONS[source.facts.provider]} (TEMPLATE template0)",
    )


def _locale(facts: ServerFacts) -> str:
    if facts.locale is None:
        return f"{facts.collation} / {facts.ctype}"
    if facts.provider == "i":
        return f"{language_tag(facts.locale)} of ICU"
    return f"{facts.locale} / {facts.locale}"
