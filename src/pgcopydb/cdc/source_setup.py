"""Making a change capture on the source: publication, slot, and what they are for.

Everything that would make the capture fail, or break the application's own writes, is looked for
before anything is created; a set-up that fails half-way leaves nothing behind on the source, where
a forgotten slot would hold back WAL until the disk is full (correctness M10).
"""

import logging
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from msgspec import Struct
from msgspec.structs import replace
from psycopg import sql

from pgcopydb.cdc.capture import (
    CAPTURE_FACT,
    capture_in_snapshot,
    identify,
    read_facts,
    read_publishable,
)
from pgcopydb.errors import ConfigurationError, Interrupted, PgcopydbError, StateError
from pgcopydb.lsn import format_lsn
from pgcopydb.model.capture import Capture
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import Filters
from pgcopydb.model.objects import ServerFacts, Table
from pgcopydb.model.options import FollowOptions, NoIdentity, Plugin, Streaming
from pgcopydb.model.readiness import Intent
from pgcopydb.postgres import publication
from pgcopydb.postgres.connect import connect, connect_replication, reporting
from pgcopydb.postgres.replication import create_slot
from pgcopydb.postgres.selection import resolve_filters
from pgcopydb.postgres.slot import Slot, drop_slot, naming_blockers, read_slot
from pgcopydb.preflight.look import look_at_source
from pgcopydb.preflight.refuse import refuse_unfit
from pgcopydb.rules.publication import (
    WantedPublication,
    insert_publication,
    plan_publication,
    wanted_publications,
)
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.filters import effective_filters, keep_filters
from pgcopydb.workdir.sentinel import create_sentinel
from pgcopydb.workdir.store import (
    RunHeader,
    read_header,
    read_header_to_clean_up,
    read_started_over,
    update_header,
    write_fact,
    write_header,
    write_started_over,
)

log = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]

_SLOT_WAIT = 300.0
"""Seconds to wait for older transactions of the source before giving up."""


class NewSlot(Struct, frozen=True):
    """A slot that was just created: where its stream starts, and the snapshot of that moment."""

    start: int
    snapshot: str


class _SourceSetup(Struct, frozen=True):
    """What the steps of a set-up share; ``undo`` takes back what they created."""

    work: WorkDirectory
    source: Endpoint
    follow: FollowOptions
    filters: Filters
    connection: Connection
    undo: ExitStack


@contextmanager
def create_capture(
    work: WorkDirectory,
    source: Endpoint,
    follow: FollowOptions,
    filters: Path | None = None,
    *,
    checked: bool = False,
) -> Iterator[NewSlot]:
    """Create publication and slot, and hold the slot's exported snapshot while the block runs.

    Only what ``filters``, or those of an earlier command, take is captured. What is worth a warning
    is told, unless the source was ``checked`` by the same command before. Whoever copies must
    have imported the snapshot (or have a holder that did) before the block is left. Raises
    ConfigurationError with every reason for which the source cannot be captured, StateError when
    slot or publication exist already, the source's error when it refuses.
    """
    with connect(source, purpose="setup") as connection:
        allow_writing(connection, source)
        facts = read_facts(connection, source)
        selected = resolve_filters(source, connection, effective_filters(work, filters))
        intent = Intent(
            copy=None,
            follow=follow,
            filters=selected,
            replaces_capture=any(one.slot_name == follow.slot_name for one in work.previous),
        )
        refuse_unfit(look_at_source(source, intent), tell=not checked)
        work.discard_previous()
        _drop_previous(work, connection, source, facts)
        tables = read_publishable(connection, source, selected)
        with ExitStack() as undo:
            header = _begin(work, facts, follow)
            keep_filters(work, filters, selected)
            step = _SourceSetup(work, source, follow, selected, connection, undo)
            _publish(step, tables)
            yield from _create_slot(step, header)


def _create_slot(step: _SourceSetup, header: RunHeader) -> Iterator[NewSlot]:
    """Create the slot, write down what it captures, and give it; see create_capture."""
    work, source, follow = step.work, step.source, step.follow
    with connect_replication(source, purpose="slot") as walsender:
        with naming_blockers(source, walsender, limit=_SLOT_WAIT):
            start, snapshot = _create_slot_or_explain(walsender, source, follow)
        step.undo.callback(_forget, work)
        step.undo.callback(drop_slot, step.connection, source, follow.slot_name)
        with work.store() as store:  # at once: reading the catalogue may take a while
            made = update_header(store, slot_created=True, confirmed=start).publications
        _refuse_past(start, follow.endpos)
        capture = capture_in_snapshot(source, snapshot, start, step.filters, made)
        with work.store() as store:
            write_fact(store, CAPTURE_FACT, capture)
            create_sentinel(store, start, follow.endpos or 0)
            update_header(
                store,
                snapshot=snapshot,
                consistent_point=start,
            )
        log.info(
            'created replication slot "%s" (%s), which starts at %s, in run %s',
            follow.slot_name,
            follow.plugin,
            format_lsn(start),
            header.run_id[:8],
        )
        yield NewSlot(start, snapshot)
        step.undo.pop_all()  # from here on it is the migration's own, and stream cleanup drops it


def _refuse_past(start: int, endpos: int | None) -> None:
    """Raise StateError for an end before the start: before hours of copying, not after them."""
    if endpos is not None and endpos < start:
        raise StateError(
            f"endpos {format_lsn(endpos)} is in the past: the capture begins at"
            f" {format_lsn(start)}",
            hint="leave --endpos out, and set it when the copy is made: pgcopydb stream sentinel"
            " set endpos --current",
        )


def _forget(work: WorkDirectory) -> None:
    """Write down that the slot of a set-up that failed is gone again."""
    with work.store() as store:
        update_header(store, snapshot=None, slot_created=False, consistent_point=None)


_EXISTS = "42710"  # duplicate_object
_PLUGIN_REFUSED = ("could not access file", "output_plugin", "output plugin")


def _create_slot_or_explain(
    walsender: Connection, source: Endpoint, follow: FollowOptions
) -> tuple[int, str]:
    try:
        return create_slot(
            walsender, source, slot_name=follow.slot_name, plugin=follow.plugin.value
        )
    except PgcopydbError as error:
        if getattr(error.__cause__, "sqlstate", None) == _EXISTS:
            raise StateError(
                error.message,
                hint="choose another with --slot-name; or if nobody needs that one, drop it:"
                f" SELECT pg_catalog.pg_drop_replication_slot('{follow.slot_name}');",
            ) from error
        if any(text in error.message for text in _PLUGIN_REFUSED):
            raise ConfigurationError(
                f"source: the output plugin {follow.plugin} cannot be used: {error.message}",
                hint=f"install {follow.plugin} on the source server (and list it in"
                " output_plugin_libraries where that setting exists), or use --plugin pgoutput",
            ) from error
        raise


def _begin(work: WorkDirectory, facts: ServerFacts, follow: FollowOptions) -> RunHeader:
    """Write the migration's header before anything is created, so that it is known as ours."""
    with work.store() as store:
        known = read_header(store)
        if known is not None and known.consistent_point is not None:
            raise StateError(
                f'{work.path} already holds a change capture with slot "{known.slot_name}"',
                hint="go on with it (--resume), or start over (--restart)",
            )
        header = replace(
            known or RunHeader(run_id=uuid.uuid4().hex),
            source=identify(facts),
            source_timeline=facts.timeline,
            plugin=follow.plugin.value,
            streaming=follow.streaming is Streaming.ON,
            slot_name=follow.slot_name,
            publication=follow.publication,
            origin=follow.origin,
        )
        write_header(store, header)
    return header


def _publish(step: _SourceSetup, tables: Sequence[Table]) -> None:
    """Make the publications that pgoutput needs; other plugins need none."""
    connection, source, follow = step.connection, step.source, step.follow
    if follow.no_identity is NoIdentity.FULL:
        _set_identity_full(connection, source, plan_publication(tables).keyless)
    if follow.plugin is not Plugin.PGOUTPUT:
        return
    for wanted in wanted_publications(tables, follow.publication, follow.no_identity):
        _make_publication(step, wanted)


def _make_publication(step: _SourceSetup, wanted: WantedPublication) -> None:
    """Make a publication that is not there; it is written down as made here before it is."""
    connection, source = step.connection, step.source
    with (
        reporting(source, f'creating publication "{wanted.name}"'),
        connection.transaction(),
        step.work.store() as store,
    ):
        created = publication.ensure_publication(connection, source, wanted)
        if created is None:
            return
        known = read_header(store)
        assert known is not None
        update_header(store, publication_created=True, publications=(*known.publications, created))
    step.undo.callback(publication.drop_publication, connection, source, created)


def publications(header: RunHeader, capture: Capture) -> tuple[str, ...]:
    """Return the publications that a run streams from."""
    name = header.publication or "pgcopydb"
    keyless = any(table.keyless for table in capture.tables)
    return (name, insert_publication(name)) if keyless else (name,)


def _set_identity_full(connection: Connection, source: Endpoint, tables: Sequence[Table]) -> None:
    for table in tables:
        name = sql.Identifier(table.schema, table.name)
        with reporting(source, f"setting the replica identity of {table.schema}.{table.name}"):
            connection.execute(sql.SQL("alter table {} replica identity full").format(name))
        log.info("source: set replica identity FULL on %s.%s", table.schema, table.name)


@contextmanager
def dropped_unless_copied(work: WorkDirectory, source: Endpoint) -> Iterator[None]:
    """Drop slot and publication again when the block fails before the base copy is complete.

    The copy's snapshot is gone with the process that held it, so that nothing could ever use the
    slot, which would hold back WAL until the source's disk is full.
    """
    try:
        yield
    except BaseException as error:
        with work.store() as store:
            header = read_header_to_clean_up(store)
        if header is not None and not header.copy_finished:
            _drop_useless(work, source, header)
            if isinstance(error, Interrupted):
                error.hint = "the copy's snapshot is gone: begin again with --restart"
        raise


def allow_writing(connection: Connection, source: Endpoint) -> None:
    """Let this session create or drop a publication on a source that is read-only by default.

    Writers are kept away for a cut-over by that setting, and rows are not what this writes.
    """
    with reporting(source, "preparing the session"):
        connection.execute("set default_transaction_read_only to off")


def _drop_useless(work: WorkDirectory, source: Endpoint, header: RunHeader) -> None:
    try:
        with connect(source, purpose="cleanup") as connection:
            allow_writing(connection, source)
            drop_left_by(header, connection, source, read_facts(connection, source))
    except PgcopydbError as error:
        log.warning(
            'replication slot "%s" could not be dropped and keeps WAL on the source: %s; drop it'
            " with pgcopydb stream cleanup --dir %s",
            header.slot_name,
            error.message,
            work.path,
        )
        return
    with work.store() as store:
        update_header(
            store,
            slot_created=False,
            slot_dropped=True,
            publication_created=False,
            publications=(),
            snapshot=None,
        )


def drop_previous(work: WorkDirectory, source: Endpoint) -> None:
    """Drop what runs created on this source that were started over, and keep WAL there."""
    if not any(one.slot_created or one.publication_created for one in work.previous):
        return
    with connect(source, purpose="cleanup") as connection:
        allow_writing(connection, source)
        _drop_previous(work, connection, source, read_facts(connection, source))


def _drop_previous(
    work: WorkDirectory, connection: Connection, source: Endpoint, facts: ServerFacts
) -> None:
    """Drop what runs created that were started over, once: the names may be others' afterwards."""
    for previous in work.previous:
        drop_left_by(previous, connection, source, facts)
    with work.store() as store:
        write_started_over(
            store,
            tuple(
                replace(one, slot_created=False, publication_created=False, publications=())
                if one.source == identify(facts)
                else one
                for one in read_started_over(store)
            ),
        )


def drop_left_by(
    previous: RunHeader, connection: Connection, source: Endpoint, facts: ServerFacts
) -> None:
    """Drop what ``previous`` created on this source; nothing when it was about another one.

    What may be somebody else's by now, under the same name, is left, and told.
    """
    if previous.source != identify(facts):
        return
    if previous.slot_name and (previous.slot_created or previous.consistent_point is None):
        _drop_own_slot(previous, previous.slot_name, connection, source)
    for own in previous.publications:
        publication.drop_publication(connection, source, own)
    if previous.publication_created and not previous.publications:
        _tell_of_publications(previous, connection, source)


def _drop_own_slot(
    previous: RunHeader, name: str, connection: Connection, source: Endpoint
) -> None:
    slot = read_slot(connection, source, name)
    if slot is None:
        return
    if previous.slot_created and _is_own(slot, previous, connection):
        drop_slot(connection, source, name)
        return
    if previous.slot_created:
        why = "something else has read from it, or it was dropped and made again"
    else:
        why = "it is not known whether the run that was interrupted while it made one made this"
    log.warning(
        'source: replication slot "%s" is left, which stands at %s: %s; if nobody needs it:'
        " SELECT pg_catalog.pg_drop_replication_slot('%s')",
        name,
        format_lsn(slot.confirmed_flush),
        why,
        name,
    )


def _is_own(slot: Slot, header: RunHeader, connection: Connection) -> bool:
    """Tell whether a slot is the one that a run created.

    Making a slot writes to the log, and it starts after that: one of the same name that was made
    later stands beyond all that was received of the first, and confirmed (see refuse_advanced).
    """
    if (slot.plugin, slot.database) != (header.plugin, connection.info.dbname):
        return False
    return slot.confirmed_flush <= max(header.confirmed, header.consistent_point or 0)


def _tell_of_publications(header: RunHeader, connection: Connection, source: Endpoint) -> None:
    """Warn of publications of a run that was begun before it was written down which it made."""
    name = header.publication or "pgcopydb"
    for one in (name, insert_publication(name)):
        if publication.read_publication(connection, source, one) is not None:
            log.warning(
                'source: publication "%s" is left: it is not known whether this program made it; if'
                " nobody needs it, drop it",
                one,
            )
