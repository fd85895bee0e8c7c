"""The schema dump of a copy, made while the copy is planned.

Neither needs the other, and both take seconds where tables are many: one waits for pg_dump, the
other for the definitions of indexes.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from threading import Event
from typing import Final

from pgcopydb.clone import schema
from pgcopydb.clone.context import Copying
from pgcopydb.postgres.snapshot import LockedSnapshot
from pgcopydb.rules.selection import Selection
from pgcopydb.workdir.steps import begin_step, finish_step

_LOOK_EVERY: Final = 0.02

WaitForDump = Callable[[Callable[[], None]], None]
"""Waits until the schema is dumped, calling its argument meanwhile; raises what the dump raised."""


@contextmanager
def dumping(copying: Copying, held: LockedSnapshot, selection: Selection) -> Iterator[WaitForDump]:
    """Dump the schema that the snapshot shows; leaving the block before it is done ends pg_dump."""
    left = Event()
    with ThreadPoolExecutor(1, "schema dump") as threads:
        dump = threads.submit(_dump, copying, held, selection, left.is_set)

        def wait_for_it(look: Callable[[], None]) -> None:
            _wait(dump, look)

        try:
            yield wait_for_it
        finally:
            left.set()


def _wait(dump: Future[None], look: Callable[[], None]) -> None:
    while wait([dump], _LOOK_EVERY).not_done:
        look()
    dump.result()


def _dump(
    copying: Copying, held: LockedSnapshot, selection: Selection, stopping: Callable[[], bool]
) -> None:
    with copying.work.store() as store:
        step = begin_step(store, "dump schema")
    schema.dump(
        copying.work,
        copying.source,
        held.facts,
        copying.tools,
        held.id,
        selection=selection,
        stopping=stopping,
    )
    with copying.work.store() as store:
        copying.steps.append(finish_step(store, step))
