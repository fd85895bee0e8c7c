"""What large objects hold, as numbers, and in which of them two databases differ."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import psycopg

from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.queries import query
from pgcopydb.rules.merge import merge_ordered

Session = psycopg.Connection[Any]

_AT_ONCE: Final = 1000
"""Large objects that one statement reads."""


@dataclass(frozen=True, slots=True)
class LargeObjectDigest:
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
        here = _Batches(readers, ours, source)
        there = _Batches(readers, theirs, target)
        yield from merge_ordered(_digests(here, look), _digests(there, look), _oid)


class _Batches:
    """The batches of one side; the next is read while one is looked at."""

    def __init__(self, readers: ThreadPoolExecutor, connection: Session, endpoint: Endpoint):
        self._readers = readers
        self._read = partial(_batch, connection, endpoint)
        self._coming: Future[list[LargeObjectDigest]] | None = self._begin(0)

    def _begin(self, after: int) -> Future[list[LargeObjectDigest]]:
        return self._readers.submit(self._read, after)

    def __iter__(self) -> Iterator[list[LargeObjectDigest]]:
        while self._coming is not None:
            batch = self._coming.result()
            self._coming = self._begin(batch[-1].oid) if len(batch) == _AT_ONCE else None
            yield batch


def _digests(batches: _Batches, look: Callable[[], None]) -> Iterator[LargeObjectDigest]:
    for batch in batches:
        look()
        yield from batch


def _oid(one: LargeObjectDigest) -> int:
    return one.oid


def _batch(connection: Session, endpoint: Endpoint, after: int) -> list[LargeObjectDigest]:
    with reporting(endpoint, "reading large objects"):
        rows = connection.execute(
            query("large_object_digests"), {"after": after, "most": _AT_ONCE}
        ).fetchall()
    return [LargeObjectDigest(oid, size, int(total)) for oid, size, total in rows]
