"""What large objects hold, as numbers, and in which of them two databases differ."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import psycopg
from msgspec import Struct

from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.ahead import ReadAhead
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.queries import query
from pgcopydb.rules.merge import merge_ordered

Session = psycopg.Connection[Any]

_AT_ONCE: Final = 1000
"""Large objects that one statement reads."""


class LargeObjectDigest(Struct, frozen=True):
    """A large object: its size in bytes, and the sum of the hashes of its megabytes."""

    oid: int
    size: int
    digest: int


Pair = tuple[LargeObjectDigest | None, LargeObjectDigest | None]


def paired_large_objects(
    ours: Session,
    source: Endpoint,
    theirs: Session,
    target: Endpoint,
    look: Callable[[], None] = lambda: None,
) -> Iterator[Pair]:
    """Yield every large object with the one of the same oid on the other side, None for none.

    Both sides are read at once, a batch ahead. The sessions should show one snapshot each, and are
    not free for anything else meanwhile. ``look`` is called between batches, and may raise.
    """
    with ThreadPoolExecutor(2) as readers:
        here = ReadAhead(readers, _Batches(ours, source))
        there = ReadAhead(readers, _Batches(theirs, target))
        pairs = merge_ordered(here, there, _oid)
        for number, pair in enumerate(pairs):
            if number % _AT_ONCE == 0:
                look()
            yield pair


def _oid(one: LargeObjectDigest) -> int:
    return one.oid


class _Batches:
    """Gives the next large objects of one side each time it is called."""

    def __init__(self, connection: Session, endpoint: Endpoint) -> None:
        self._connection = connection
        self._endpoint = endpoint
        self._last = 0

    def __call__(self) -> list[LargeObjectDigest]:
        with reporting(self._endpoint, "reading large objects"):
            rows = self._connection.execute(
                query("large_object_digests"), {"after": self._last, "most": _AT_ONCE}
            ).fetchall()
        if rows:
            self._last = rows[-1][0]
        return [LargeObjectDigest(oid, size, int(total)) for oid, size, total in rows]
