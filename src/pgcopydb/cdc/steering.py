"""Steering a running follow from another shell, through the sentinel."""

import logging
import uuid
from typing import Any

import psycopg

from pgcopydb.cdc.transactions import MARKER_PREFIX
from pgcopydb.errors import StateError, UsageError
from pgcopydb.lsn import format_lsn, parse_lsn
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.sentinel import (
    Sentinel,
    create_sentinel,
    require_sentinel,
    update_sentinel,
)
from pgcopydb.workdir.store import read_header

log = logging.getLogger(__name__)


def setup_sentinel(work: WorkDirectory, start: int, end: int) -> None:
    """Create the sentinel of a capture that begins at ``start`` and ends at ``end`` (0: open)."""
    with work.store() as store:
        create_sentinel(store, start, end)
        update_sentinel(store, startpos=start, endpos=end)


def get_sentinel(work: WorkDirectory) -> Sentinel:
    """Return where the follow in ``work`` is; raise StateError when there is none."""
    with work.store() as store:
        return require_sentinel(store)


def set_endpos(work: WorkDirectory, source: Endpoint | None, lsn: int | None) -> int:
    """Set where the follow ends and return it; without ``lsn`` that is the source's present end.

    Raises StateError for a position that is applied already, or before the capture's beginning.
    """
    if lsn is None:
        if source is None:
            raise UsageError("--current needs the source", hint="give --source")
        lsn = mark_present_end(source)
    with work.store() as store:
        sentinel = require_sentinel(store)
        header = read_header(store)
        begun = 0 if header is None else header.consistent_point or 0
        if 0 < lsn < sentinel.transform_lsn:
            past = f"the target has already applied up to {format_lsn(sentinel.transform_lsn)}"
        elif 0 < lsn < begun:
            past = f"the capture begins at {format_lsn(begun)}"
        else:
            update_sentinel(store, endpos=lsn)
            return lsn
    raise StateError(
        f"endpos {format_lsn(lsn)} is in the past: {past}",
        hint="set a later one: pgcopydb stream sentinel set endpos --current",
    )


def mark_present_end(source: Endpoint) -> int:
    """Commit a marker on the source and return a position at or after everything committed so far.

    The marker is a transactional logical message committed with ``synchronous_commit = on``: its
    flush takes along what was acknowledged under ``synchronous_commit = off``, which the position
    alone would miss (ruling 7). It works while the source is read-only by default.
    """
    with connect(source, purpose="endpos") as connection:
        _refuse_standby(connection, source)
        with reporting(source, "marking the present end of the log"):
            connection.execute("set synchronous_commit to on")
            connection.execute(
                "select pg_catalog.pg_logical_emit_message(true, %s, %s)",
                (MARKER_PREFIX, f"endpos {uuid.uuid4().hex}"),
            )
            row = connection.execute(
                "select pg_catalog.pg_current_wal_flush_lsn()::text"
            ).fetchone()
    assert row is not None
    return parse_lsn(row[0])


def _refuse_standby(connection: psycopg.Connection[Any], source: Endpoint) -> None:
    with reporting(source, "looking whether the source is a standby"):
        row = connection.execute("select pg_catalog.pg_is_in_recovery()").fetchone()
    if row is not None and row[0]:
        raise StateError(
            "source: it is a standby, on which nothing can be committed to mark its end",
            hint="take the position on the primary and give it: stream sentinel set endpos LSN",
        )


def set_startpos(work: WorkDirectory, lsn: int) -> None:
    """Set where receiving starts; raise StateError once changes have been received."""
    with work.store() as store:
        sentinel = require_sentinel(store)
        if sentinel.received_lsn > lsn:
            raise StateError(
                f"changes up to {format_lsn(sentinel.received_lsn)} have been received already",
                hint="the start of a capture cannot change afterwards",
            )
        update_sentinel(store, startpos=lsn)


def set_apply(work: WorkDirectory) -> None:
    """Let a running follow apply what it receives."""
    _switch_apply(work, on=True)


def set_prefetch(work: WorkDirectory) -> None:
    """Let a running follow only receive: apply pauses when what it has begun is written."""
    _switch_apply(work, on=False)


def _switch_apply(work: WorkDirectory, *, on: bool) -> None:
    with work.store() as store:
        require_sentinel(store)
        update_sentinel(store, apply=int(on))
