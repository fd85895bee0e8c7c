"""A slot that somebody else made: what can be known of it, and taking it into a work directory.

The slot's own snapshot is gone, so the followed tables are as the catalogue has them now. Whoever
made the slot answers for that; what was made here is captured in the slot's snapshot instead.
"""

import logging
import uuid
from pathlib import Path
from typing import Any

import psycopg
from msgspec import Struct
from msgspec.structs import replace

from pgcopydb.cdc.capture import (
    CAPTURE_FACT,
    identify,
    make_capture,
    read_contents,
    read_facts,
    read_tables,
)
from pgcopydb.cdc.follow import settle
from pgcopydb.errors import ConfigurationError, StateError, some_of
from pgcopydb.lsn import format_lsn
from pgcopydb.model.capture import Capture
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import EVERYTHING, Filters
from pgcopydb.model.objects import ServerFacts
from pgcopydb.model.options import FollowOptions, NoIdentity, Plugin, Streaming
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.publication import read_publication
from pgcopydb.postgres.selection import resolve_filters
from pgcopydb.postgres.slot import Slot, read_slot, require_slot
from pgcopydb.rules.publication import insert_publication
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.filters import effective_filters, keep_filters
from pgcopydb.workdir.sentinel import create_sentinel
from pgcopydb.workdir.store import RunHeader, read_header, write_fact, write_header

log = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]


class FoundSlot(Struct, frozen=True):
    """A slot that can be streamed from, and what decoding its stream rests on."""

    slot: Slot
    plugin: Plugin
    facts: ServerFacts
    capture: Capture
    publications: tuple[str, ...]


def find_slot(source: Endpoint, follow: FollowOptions, filters: Filters = EVERYTHING) -> FoundSlot:
    """Return the slot that ``follow`` names; without ``--plugin`` its own plugin is taken.

    What is captured is what ``filters`` take.

    Raises StateError for a slot that is missing or cannot be used, ConfigurationError for a missing
    publication or for tables whose updates and deletes its plugin cannot tell.
    """
    with connect(source, purpose="receive check") as connection:
        plugin = _plugin(connection, source, follow)
        slot = require_slot(connection, source, follow.slot_name, plugin.value)
        facts = read_facts(connection, source)
        filters = resolve_filters(source, connection, filters)
        followed = read_tables(connection, source, filters)
        contents = read_contents(connection, source)
        capture = make_capture(facts, followed, contents, slot.confirmed_flush, filters)
        publications: tuple[str, ...] = ()
        if plugin is Plugin.PGOUTPUT:
            publications = _publications(connection, source, follow.publication)
        elif follow.no_identity is NoIdentity.REFUSE:
            _refuse_keyless(capture)
    if len(publications) < 2:
        # without the second publication no key-less table is in the stream
        tables = tuple(replace(table, keyless=False) for table in capture.tables)
        capture = replace(capture, tables=tables)
    return FoundSlot(slot, plugin, facts, capture, publications)


def _plugin(connection: Connection, source: Endpoint, follow: FollowOptions) -> Plugin:
    slot = read_slot(connection, source, follow.slot_name)
    if slot is None or slot.plugin is None or "plugin" in follow.given:
        return follow.plugin
    try:
        return Plugin(slot.plugin)
    except ValueError:
        raise StateError(
            f'source: replication slot "{slot.name}" uses the output plugin {slot.plugin}, which'
            " pgcopydb cannot read",
            hint=f"name a slot of {', '.join(Plugin)} with --slot-name",
        ) from None


def _publications(connection: Connection, source: Endpoint, name: str) -> tuple[str, ...]:
    if read_publication(connection, source, name) is None:
        raise ConfigurationError(
            f'source: publication "{name}" does not exist, which the plugin pgoutput needs',
            hint="name the slot's publication with --publication, or create it",
        )
    second = insert_publication(name)
    if read_publication(connection, source, second) is None:
        return (name,)
    return (name, second)


def _refuse_keyless(capture: Capture) -> None:
    """wal2json leaves such rows out without a word, test_decoding does not say which they are."""
    keyless = [f"{table.schema}.{table.name}" for table in capture.tables if table.keyless]
    if keyless:
        raise ConfigurationError(
            f"source: {len(keyless)} tables have no usable replica identity, so that their updates"
            f" and deletes cannot be followed: {some_of(keyless)}",
            hint="give them a primary key or REPLICA IDENTITY FULL, or accept with --no-identity"
            " insert-only that their updates and deletes are not carried",
        )


def adopt_slot(
    work: WorkDirectory, source: Endpoint, follow: FollowOptions, filters: Path | None = None
) -> FollowOptions:
    """Make an existing slot this work directory's own capture, unless it has one already.

    Returns the options as the capture has them. The slot is not dropped by ``stream cleanup``,
    because this migration did not create it. Raises as :func:`find_slot` does.
    """
    header = work.header()
    selected = effective_filters(work, filters)
    if header is not None and header.consistent_point is not None:
        return settle(work, follow)
    found = find_slot(source, follow, selected)
    _refuse_past(found.slot, follow.endpos)
    with work.store() as store:
        write_header(
            store,
            replace(
                read_header(store) or RunHeader(run_id=uuid.uuid4().hex),
                source=identify(found.facts),
                source_timeline=found.facts.timeline,
                plugin=found.plugin.value,
                streaming=follow.streaming is Streaming.ON,
                slot_name=follow.slot_name,
                publication=follow.publication,
                origin=follow.origin,
                consistent_point=found.slot.confirmed_flush,
            ),
        )
        write_fact(store, CAPTURE_FACT, found.capture)
        create_sentinel(store, found.slot.confirmed_flush, follow.endpos or 0)
    keep_filters(work, filters, found.capture.filters)
    log.info(
        'adopted replication slot "%s" (%s), which stands at %s',
        follow.slot_name,
        found.plugin,
        format_lsn(found.slot.confirmed_flush),
    )
    return replace(follow, plugin=found.plugin)


def _refuse_past(slot: Slot, endpos: int | None) -> None:
    """Raise StateError when the slot has given away what ends at ``endpos`` already."""
    if endpos and endpos < slot.confirmed_flush:
        raise StateError(
            f'source: replication slot "{slot.name}" stands at {format_lsn(slot.confirmed_flush)},'
            f" beyond endpos {format_lsn(endpos)}: changes up to there were taken from it before",
            hint="give a later --endpos, or the --dir that these changes were stored in",
        )
