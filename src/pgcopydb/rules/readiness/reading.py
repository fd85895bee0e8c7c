"""Whether the base copy can read everything of the source, and hold it still meanwhile."""

from collections.abc import Iterator

from pgcopydb.errors import some_of
from pgcopydb.model.endpoint import Side
from pgcopydb.model.findings import Finding, Name, Severity, Statement
from pgcopydb.model.objects import Table, TableKind
from pgcopydb.model.readiness import Intent, SourceFacts
from pgcopydb.rules.readiness.wording import grant, grant_read, quoted, set_setting, table_names

_KEPT_FREE = 10
"""A tenth of the lock table stays free, or the application's own statements would fail."""


def copied(source: SourceFacts, intent: Intent) -> list[Table]:
    """Return the tables whose rows are copied."""
    return [
        table
        for table in source.tables
        if table.has_rows and intent.filters.copies_data(table.schema, table.name)
    ]


def tables(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the role may read every table."""
    denied = [table for table in copied(source, intent) if not table.readable]
    if intent.copy is None or not denied:
        return
    names = [(table.schema, table.name) for table in denied]
    yield Finding(
        severity=Severity.FATAL,
        side=Side.SOURCE,
        check="read-tables",
        message=f'role "{source.facts.role}" may not read {table_names(denied)}',
        statements=grant_read("TABLE", names, source.facts.role),
        advice="or leave these tables out with --filters",
    )


def hidden_rows(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Whether row security would hide rows from the role."""
    hidden = [
        table for table in copied(source, intent) if table.readable and table.row_security_applies
    ]
    if intent.copy is None or not hidden:
        return
    yield Finding(
        severity=Severity.FATAL,
        side=Side.SOURCE,
        check="row-security",
        message=f'row security would hide rows from role "{source.facts.role}" in'
        f" {table_names(hidden)}",
        statements=(Statement("ALTER ROLE {} BYPASSRLS;", Name(source.facts.role)),),
        advice="or use the tables' owner",
    )


def sequences(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the role may read where sequences stand."""
    del intent  # they are set at the end of a copy, and at the end of a follow
    names = source.unreadable_sequences
    if not names:
        return
    yield Finding(
        severity=Severity.FATAL,
        side=Side.SOURCE,
        check="read-sequences",
        message=f'role "{source.facts.role}" may not read the sequences '
        + some_of([".".join(name) for name in names]),
        statements=grant_read("SEQUENCE", names, source.facts.role),
    )


def large_objects(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Whether the role may read every large object."""
    oids = source.unreadable_large_objects
    if intent.copy is None or intent.copy.skip_large_objects or not oids:
        return
    yield Finding(
        severity=Severity.FATAL,
        side=Side.SOURCE,
        check="read-large-objects",
        message=f'role "{source.facts.role}" may not read the large objects '
        + some_of([str(oid) for oid in oids]),
        statements=(grant("SELECT ON LARGE OBJECT", oids, source.facts.role),),
        advice="or leave them out with --skip-large-objects",
    )


def lock_table(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Whether all tables can be locked at once."""
    count = len(copied(source, intent))
    room = source.room.lock_room
    if intent.copy is None or has_lock_room(room, count):
        return
    factor = needed_factor(room, count)
    yield Finding(
        severity=Severity.FATAL,
        side=Side.SOURCE,
        check="lock-table",
        message=f"{count} tables must be locked at once, but the lock table has room for {room}"
        " objects of all sessions together",
        statements=set_setting(
            "max_locks_per_transaction", factor * source.room.max_locks_per_transaction
        ),
        restart=True,
    )


def has_lock_room(room: int, tables: int) -> bool:
    """Tell whether so many locks leave enough of a lock table of ``room``."""
    return tables <= room * (_KEPT_FREE - 1) // _KEPT_FREE


def needed_factor(room: int, tables: int) -> int:
    """Return how many times larger the lock table must be."""
    return -(-tables * _KEPT_FREE // (room * (_KEPT_FREE - 1)))


def foreign_tables(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Which tables have their rows elsewhere."""
    foreign = [table for table in source.tables if table.kind is TableKind.FOREIGN]
    if intent.copy is None or not foreign:
        return
    yield Finding(
        severity=Severity.NOTE,
        side=Side.SOURCE,
        check="foreign-tables",
        message=f"foreign tables are created, their rows stay where they are: "
        f"{table_names(foreign)}",
    )


def subscriptions(source: SourceFacts, intent: Intent) -> Iterator[Finding]:
    """Which subscriptions bring changes to the source that will not come to the target."""
    if intent.copy is None or not source.subscriptions:
        return
    yield Finding(
        severity=Severity.NOTE,
        side=Side.SOURCE,
        check="subscriptions",
        message=f"subscriptions are not copied: {quoted(source.subscriptions)}",
        advice="two servers cannot read one slot: make new ones on the target after the cut-over,"
        " WITH (copy_data = false)",
    )
