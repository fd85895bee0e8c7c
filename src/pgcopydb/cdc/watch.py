"""Looking at the source while it is followed: has it changed its tables, can it lose the slot?

A thread of the supervising process asks every ten seconds and warns, once of each thing. It never
ends the follow: whatever it cannot ask is decided where it matters, by receive when it connects
and by the comparison at the end.
"""

import logging
import threading
from contextlib import ExitStack
from typing import Any, Final, Self

import psycopg

from pgcopydb.cdc.capture import read_capture
from pgcopydb.cdc.drift import find_drift
from pgcopydb.errors import PgcopydbError
from pgcopydb.model.capture import Capture
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.slot import retained_wal
from pgcopydb.workdir.directory import WorkDirectory

log = logging.getLogger(__name__)

_EVERY: Final = 10.0

_LOCK_TIMEOUT: Final = "set lock_timeout to '2s'"
"""Sizes of tables wait for a lock that an ALTER TABLE may hold for hours."""


class SourceWatch:
    """Watches the source as long as its block runs."""

    def __init__(self, work: WorkDirectory, source: Endpoint) -> None:
        self._work = work
        self._source = source
        self._stop = threading.Event()
        self._told: set[str] = set()
        self._capture: Capture | None = None
        self._thread = threading.Thread(target=self._run, name="source watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._watch()
            except PgcopydbError as error:
                log.debug("the source could not be looked at: %s", error.message)
                self._stop.wait(_EVERY)

    def _watch(self) -> None:
        """Look again and again over one connection; raises what goes wrong with it."""
        with ExitStack() as stack:
            connection = stack.enter_context(connect(self._source, purpose="watch"))
            with reporting(self._source, "setting up the watch"):
                connection.execute(_LOCK_TIMEOUT)
            while not self._stop.wait(_EVERY):
                self._look_at_slot(connection)
                self._look_at_tables(connection)

    def _look_at_tables(self, connection: psycopg.Connection[Any]) -> None:
        header = self._work.header()
        if header is None:
            return
        self._capture = self._capture or read_capture(self._work)
        found = find_drift(connection, self._source, header, self._capture)
        for name, reason in found.items():
            text = f"source: {'.'.join(name)} {reason}"
            self._warn_once(
                text,
                f"{text}; the stream does not carry that: at the end the table must be the same on"
                " the target",
            )

    def _look_at_slot(self, connection: psycopg.Connection[Any]) -> None:
        header = self._work.header()
        if header is None or header.slot_name is None:
            return
        wal = retained_wal(connection, self._source, header.slot_name)
        if wal is None:
            return
        slot = f'source: replication slot "{header.slot_name}"'
        if wal.status == "lost":
            self._warn_once("lost", f"{slot} is lost: the source removed WAL that it needed")
        elif wal.status == "unreserved" or (wal.limit and wal.held_back > wal.limit / 2):
            self._warn_once(
                "half",
                f"{slot} holds back {wal.held_back >> 20:,} MB of WAL, more than half of"
                f" max_slot_wal_keep_size ({wal.limit >> 20:,} MB), beyond which it is lost: raise"
                " the setting, or see what keeps changes from being received",
            )
        else:
            self._told.discard("half")

    def _warn_once(self, subject: str, text: str) -> None:
        if subject not in self._told:
            self._told.add(subject)
            log.warning("%s", text)
