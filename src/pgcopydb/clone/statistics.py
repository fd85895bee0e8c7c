"""The source's planner statistics, given to the tables that need no ANALYZE for them."""

import logging
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection

from pgcopydb.clone.context import Copying
from pgcopydb.errors import PgcopydbError, first_line
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.optimizer_statistics import (
    Statistics,
    read_statistics,
    set_sizes,
    set_statistics,
    text_order,
)
from pgcopydb.rules.optimizer_statistics import sort_alike

log = logging.getLogger(__name__)

Session = Connection[tuple[Any, ...]]


class SourceStatistics:
    """Takes statistics over for all threads that build, by one session on the source.

    Nothing that fails here fails the copy: ANALYZE does what is left. A source that did not answer
    once is not asked again.
    """

    def __init__(self, copying: Copying) -> None:
        self._copying = copying
        self._asking = threading.Lock()
        self._session: Session | None = None
        self._same_order = False
        self._given_up = False

    def close(self) -> None:
        """End the session on the source."""
        self._given_up = True
        session = self._session
        if session is not None:
            session.close()

    def take_over(self, target: Session, tables: Mapping[int, bool]) -> Collection[int]:
        """Return which of ``tables``, by their oids on the source, have its statistics now.

        The values say of which VACUUM has counted rows and pages. ``target`` is a session in
        autocommit mode.
        """
        found = self._read(target, tables)
        if not found:
            return ()
        try:
            version = self._copying.source_facts.version_num
            whole = set_statistics(target, found, version_num=version)
            uncounted = [found[oid] for oid in whole if not tables[oid]]
            if uncounted:
                set_sizes(target, uncounted)
        except psycopg.Error as error:
            log.debug("target: statistics cannot be set: %s", first_line(error))
            return ()
        return whole

    def _read(self, target: Session, tables: Collection[int]) -> dict[int, Statistics]:
        with self._asking:
            if self._given_up:
                return {}
            try:
                session = self._session or self._open(target)
                return read_statistics(session, tables, same_order=self._same_order)
            # Text that is not what its database says it is cannot be decoded.
            except (PgcopydbError, psycopg.Error, UnicodeError) as error:
                if not self._given_up:  # closed meanwhile
                    log.info("statistics are not taken over from the source: %s", first_line(error))
                self.close()
                return {}

    def _open(self, target: Session) -> Session:
        copying = self._copying
        self._session = connect(copying.source, purpose="statistics")
        self._same_order = sort_alike(
            text_order(self._session, copying.source_facts),
            text_order(target, copying.target_facts),
        )
        return self._session


@contextmanager
def source_statistics(copying: Copying) -> Iterator[SourceStatistics]:
    """Give what takes statistics over; its session opens when first needed, and ends here."""
    statistics = SourceStatistics(copying)
    try:
        yield statistics
    finally:
        statistics.close()
