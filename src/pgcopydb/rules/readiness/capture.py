"""Whether the source's changes can be captured, without harm to the application's own writes."""

from collections.abc import Iterator
from typing import Final

from pgcopydb.model.encodings import ONLY_THE_SERVER_CONVERTS
from pgcopydb.model.endpoint import Side
from pgcopydb.model.findings import Finding, Name, Severity, Statement
from pgcopydb.model.objects import TableKind
from pgcopydb.model.options import FollowOptions, Plugin, Streaming, streaming_problem
from pgcopydb.model.readiness import Intent, SourceFacts, SourceServer
from pgcopydb.rules.publication import is_followed
from pgcopydb.rules.readiness.wording import (
    age_text,
    bytes_text,
    set_and_reload,
    set_setting,
    table_names,
)

_OLD: Final = 60.0
"""Seconds after which a transaction is unlikely to end by itself while a slot waits for it."""

_SPARE: Final = 10
"""By how many slots or senders a full server is enlarged."""


def new_capture(intent: Intent) -> FollowOptions | None:
    """Return the options of a capture that is about to be made; None for one that is there."""
    return None if intent.captured else intent.follow


def wal_level(source: SourceServer, intent: Intent) -> Iterator[Finding]:
    """Whether the log holds what is needed to decode changes."""
    if intent.follow is None or source.facts.wal_level == "logical":
        return
    yield Finding(
        severity=Severity.FATAL,
        side=Side.SOURCE,
        check="wal-level",
        message=f"wal_level is {source.facts.wal_level}, and changes can be captured with logical"
        " only",
        statements=set_setting("wal_level", "logical"),
        restart=True,
    )


def standby(source: SourceServer, intent: Intent) -> Iterator[Finding]:
    """Whether the source is a primary: publication and marker are written there."""
    if intent.follow is not None and source.facts.in_recovery:
        yield Finding(
            severity=Severity.FATAL,
            side=Side.SOURCE,
            check="standby",
            message="the server is a standby, where no publication can be made",
            advice="give the primary as --source",
            status=6,
        )


def replication_right(source: SourceServer, intent: Intent) -> Iterator[Finding]:
    """Whether the role may read the stream of changes."""
    if intent.follow is None or source.facts.may_replicate:
        return
    role = source.facts.role
    yield Finding(
        severity=Severity.FATAL,
        side=Side.SOURCE,
        check="replication-right",
        message=f'role "{role}" may not replicate: it lacks the attribute REPLICATION',
        statements=(Statement("ALTER ROLE {} REPLICATION;", Name(role)),),
    )


def slots(source: SourceServer, intent: Intent) -> Iterator[Finding]:
    """Whether a replication slot is free."""
    settings = source.replication
    if new_capture(intent) is None or intent.replaces_capture:
        return
    if settings.used_slots < settings.max_slots:
        return
    yield Finding(
        severity=Severity.FATAL,
        side=Side.SOURCE,
        check="slots",
        message=f"max_replication_slots is {settings.max_slots}, and all are in use",
        statements=set_setting("max_replication_slots", settings.max_slots + _SPARE),
        restart=True,
        advice="or drop a slot that nobody needs",
    )


def senders(source: SourceServer, intent: Intent) -> Iterator[Finding]:
    """Whether a walsender is free."""
    settings = source.replication
    if intent.follow is None or settings.used_senders < settings.max_senders:
        return
    if intent.captured and source.slot is not None and source.slot.active:
        return  # a receive that was killed a moment ago, whose walsender makes room
    yield Finding(
        severity=Severity.FATAL,
        side=Side.SOURCE,
        check="senders",
        message=f"max_wal_senders is {settings.max_senders}, and all are in use",
        statements=set_setting("max_wal_senders", settings.max_senders + _SPARE),
        restart=True,
    )


def plugin_allowed(source: SourceServer, intent: Intent) -> Iterator[Finding]:
    """Whether the server is allowed to load the plugin (correctness M15)."""
    listed = source.replication.plugin_libraries
    if intent.follow is None or listed is None:
        return
    plugin = intent.follow.plugin.value
    allowed = [name for item in listed.split(",") if (name := item.strip().strip('"').strip())]
    if plugin in allowed:
        return
    yield Finding(
        severity=Severity.FATAL,
        side=Side.SOURCE,
        check="plugin-allowed",
        message=f"output_plugin_libraries does not allow {plugin}",
        statements=(
            Statement(
                "ALTER SYSTEM SET output_plugin_libraries = "
                + ", ".join("{}" for _ in [*allowed, plugin])
                + ";",
                *allowed,
                plugin,
            ),
            Statement("SELECT pg_catalog.pg_reload_conf();"),
        ),
        advice=None if intent.follow.plugin is Plugin.PGOUTPUT else "or use --plugin pgoutput",
    )


def plugin_installed(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the server has the plugin."""
    if intent.follow is None or source.plugin_error is None:
        return
    plugin = intent.follow.plugin.value
    yield Finding(
        severity=Severity.FATAL,
        side=Side.SOURCE,
        check="plugin-installed",
        message=f"the output plugin {plugin} cannot be used: {source.plugin_error}",
        advice=f"install {plugin} on the source's machine, or use --plugin pgoutput",
    )


def streaming(source: SourceServer, intent: Intent) -> Iterator[Finding]:
    """Whether transactions can be received in progress, where that is asked for."""
    if intent.follow is None or intent.follow.streaming is Streaming.OFF:
        return
    if problem := streaming_problem(intent.follow.plugin, source.facts.version_num):
        yield Finding(
            severity=Severity.FATAL,
            side=Side.SOURCE,
            check="streaming",
            message=problem,
            advice="leave out --streaming on",
        )


def slot_name(source: SourceServer, intent: Intent) -> Iterator[Finding]:
    """Whether the slot's name is free."""
    follow = new_capture(intent)
    if follow is None or intent.replaces_capture or source.slot is None:
        return
    name, slot = follow.slot_name, source.slot
    whose = f', of the database "{slot.database}"' if slot.database else ""
    drop = Statement("SELECT pg_catalog.pg_drop_replication_slot({});", name)
    yield Finding(
        severity=Severity.FATAL,
        side=Side.SOURCE,
        check="slot-name",
        message=f'replication slot "{name}" already exists{whose}'
        + (", and somebody reads from it" if slot.active else ""),
        statements=() if slot.active else (drop,),
        advice="choose another with --slot-name"
        if slot.active
        else "only if it is left from an earlier migration; else choose another with --slot-name",
        status=3,
    )


def blockers(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Transactions that the slot's creation would wait for (correctness M19)."""
    if new_capture(intent) is None:
        return
    for blocker in source.blockers:
        prepared = blocker.kind == "prepared"
        age = age_text(blocker.seconds)
        forgotten = prepared and blocker.seconds > _OLD
        if not prepared and blocker.seconds <= _OLD:
            continue
        yield Finding(
            severity=Severity.FATAL if forgotten else Severity.WARNING,
            side=Side.SOURCE,
            check="blocking-transaction",
            message=(
                f"prepared transaction '{blocker.name}' of {blocker.role} is {age} old"
                if prepared
                else f"a transaction of {blocker.role} (pid {blocker.name}) is open for {age}"
            )
            + ", and the slot cannot be made before it ends",
            statements=(
                Statement("ROLLBACK PREPARED {};", blocker.name)
                if prepared
                else Statement("SELECT pg_catalog.pg_terminate_backend({});", int(blocker.name)),
            ),
            advice="or COMMIT PREPARED" if prepared else "or wait for its end",
        )


def wal_limit(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the source may give the slot up while nothing is received."""
    limit = source.replication.max_slot_wal_keep
    if intent.follow is None or limit is None:
        return
    rate = source.wal_bytes_per_second
    lasts = f", which is {age_text(limit / rate)} of its usual writes" if rate else ""
    yield Finding(
        severity=Severity.WARNING,
        side=Side.SOURCE,
        check="wal-limit",
        message=f"max_slot_wal_keep_size is {bytes_text(limit)}{lasts}: a slot that is not read for"
        " longer is lost, and the migration with it",
        statements=set_and_reload("max_slot_wal_keep_size", "-1"),
        advice="without a limit watch the source's disk instead",
    )


def idle_limit(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the source gives the slot up that nobody reads for some time (PostgreSQL 18)."""
    limit = source.replication.idle_slot_timeout
    if intent.follow is None or limit is None:
        return
    yield Finding(
        severity=Severity.WARNING,
        side=Side.SOURCE,
        check="idle-limit",
        message=f"idle_replication_slot_timeout is {age_text(limit)}: a slot that is not read for"
        " longer is lost, and the migration with it",
        statements=set_and_reload("idle_replication_slot_timeout", 0),
    )


def not_followed(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """What is copied, and then not followed."""
    if intent.follow is None:
        return
    unlogged = [
        table for table in source.tables if table.kind is TableKind.TABLE and not is_followed(table)
    ]
    views = [table for table in source.tables if table.kind is TableKind.MATERIALIZED_VIEW]
    if unlogged:
        yield Finding(
            severity=Severity.WARNING,
            side=Side.SOURCE,
            check="unlogged-tables",
            message="unlogged tables are copied, and their changes are not followed:"
            f" {table_names(unlogged)}",
            statements=tuple(
                Statement("ALTER TABLE {} SET LOGGED;", Name(table.schema, table.name))
                for table in unlogged
            ),
        )
    if source.large_objects and not (intent.copy and intent.copy.skip_large_objects):
        yield Finding(
            severity=Severity.WARNING,
            side=Side.SOURCE,
            check="large-objects",
            message=f"{source.large_objects} large objects are copied, and changes of them are not"
            " followed",
        )
    if views:
        yield Finding(
            severity=Severity.NOTE,
            side=Side.SOURCE,
            check="materialized-views",
            message="materialised views are filled once and not refreshed at the end:"
            f" {table_names(views)}",
        )


def plugin_encoding(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Whether text that a plugin sends in the server's encoding can be read exactly."""
    if intent.follow is None or intent.follow.plugin is Plugin.PGOUTPUT:
        return
    encoding = source.facts.encoding
    if encoding not in ONLY_THE_SERVER_CONVERTS:
        return
    plugin = intent.follow.plugin.value
    yield Finding(
        severity=Severity.FATAL,
        side=Side.SOURCE,
        check="plugin-encoding",
        message=f"{plugin} sends text in {encoding}, of which not every character can be converted"
        " as the server does it",
        advice="use --plugin pgoutput, which converts on the server",
    )
