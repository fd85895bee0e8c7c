"""Telling, when everything up to endpos is applied, that the source was written to after it.

What commits after endpos is not on the target, by the user's own word. But an application that was
forgotten at the cut-over writes to a database that nobody will look at again, so it is said.
"""

import logging
import time
from typing import Any, Final

import psycopg
from psycopg import sql

from pgcopydb.cdc.capture import read_capture
from pgcopydb.cdc.selected import FollowedChanges
from pgcopydb.cdc.source_setup import publications
from pgcopydb.decoding import make_decoder, plugin_options
from pgcopydb.errors import Interrupted, PgcopydbError
from pgcopydb.lsn import format_lsn, parse_lsn
from pgcopydb.model.capture import Capture
from pgcopydb.model.changes import Begin, Commit, Delete, Insert, Truncate, Update
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import Plugin
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.sentinel import require_sentinel

log = logging.getLogger(__name__)

_ENOUGH: Final = 1000
"""Changes after which the server stops decoding, at the end of a transaction."""

_WITHIN: Final = "set statement_timeout to '5s'"
"""A source that went on for long has much to decode, and the end waits for the answer."""

_SLOT_IS_FREE_WITHIN: Final = 3.0
"""Seconds that the walsender of a receive that has ended may hold the slot."""

_Rows = list[tuple[str, bytes]]


def tell_late_writers(work: WorkDirectory, source: Endpoint) -> None:
    """Warn when a transaction that changed a followed table committed after endpos.

    Where that is not known nothing is said: nothing rests on it.
    """
    late = first_late_commit(work, source)
    if late:
        log.warning(
            "source: followed tables were changed after the end position, by transactions of"
            " which the first ends at %s: they are not on the target; does somebody still write"
            " there?",
            format_lsn(late),
        )


def first_late_commit(work: WorkDirectory, source: Endpoint) -> int | None:
    """Return where the first transaction ends that changed a followed table after endpos.

    0 when there is none, None when it is not known. The slot is only looked into.
    """
    with work.store() as store:
        endpos = require_sentinel(store).endpos
    header = work.header()
    if not endpos or header is None or header.slot_name is None:
        return None
    capture = read_capture(work)
    plugin = Plugin(header.plugin or Plugin.PGOUTPUT.value)
    try:
        with connect(source, purpose="final check") as connection:
            options = plugin_options(
                plugin,
                server_version_num=connection.info.server_version,
                publications=publications(header, capture),
            )
            with reporting(source, "looking for transactions after endpos"):
                rows = _peek(
                    connection, header.slot_name, [part for one in options for part in one]
                )
        late = _first_commit(rows, endpos, plugin, capture)
    except Interrupted:
        raise
    except PgcopydbError as error:
        log.debug("whether the source was written to after endpos is not known: %s", error.message)
        return None
    return late if late or len(rows) < _ENOUGH else None


def _peek(connection: psycopg.Connection[Any], slot: str, options: list[str]) -> _Rows:
    """Return the first changes that nobody has confirmed yet, as the plugin prints them."""
    connection.execute(_WITHIN)
    query = sql.SQL(
        "select lsn::text, data from pg_catalog.pg_logical_slot_peek_binary_changes("
        "{}, null, {}, variadic {}::text[])"
    ).format(slot, _ENOUGH, options)
    deadline = time.monotonic() + _SLOT_IS_FREE_WITHIN
    while True:
        try:
            return connection.execute(query).fetchall()
        except psycopg.errors.ObjectInUse:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _first_commit(rows: _Rows, endpos: int, plugin: Plugin, capture: Capture) -> int:
    """Return where the first transaction beyond endpos ends that changed what is followed, or 0."""
    decode = make_decoder(plugin, capture.identities(), capture.encoding).decode
    followed = FollowedChanges(capture, published=plugin is Plugin.PGOUTPUT)
    changed = False
    for lsn, data in rows:
        match decode(bytes(data), parse_lsn(lsn)):
            case Begin():
                changed = False
            case Commit(end_lsn=end):
                if changed and end > endpos:
                    return end
            case Insert() | Update() | Delete() as change:
                changed = changed or followed.takes(change)
            case Truncate() as change:
                changed = changed or followed.truncated(change) is not None
    return 0
