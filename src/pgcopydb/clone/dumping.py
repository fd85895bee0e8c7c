"""The schema dump of a copy, made while the copy is planned.

Neither needs the other, and both take seconds where tables are many: one waits for pg_dump, the
other for the definitions of indexes.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import Final

from pgcopydb.clone import schema
from pgcopydb.clone.context import Copying
from pgcopydb.postgres.children import child_environment
from pgcopydb.postgres.snapshot import LockedSnapshot
from pgcopydb.rules.selection import Selection
from pgcopydb.workdir.steps import begin_step, finish_step

_LOOK_EVERY: Final = 0.02

WaitForDump = Callable[[Callable[[], None]], None]
"""Waits until the schema is dumped, calling its argument meanwhile; raises what the dump raised."""


@contextmanager
def dumping(copying: Copying, held: LockedSnapshot, selection: Selection) -> Iterator[WaitForDump]:
    """Dump the schema that the snapshot shows; leaving the block before it is done ends pg_dump.

    The thread waits for nothing else: what asks the server is done before, where a signal ends it.
    """
    left = Event()
    found = schema.read_dumpable(copying.work, copying.source, held.id)
    with (
        child_environment(copying.source, copying.work.path) as access,
        ThreadPoolExecutor(1, "schema dump") as threads,
    ):
        write = partial(
            schema.write_dump,
            copying.work,
            held.facts,
            copying.tools,
            access,
            found,
            selection=selection,
            stopping=left.is_set,
        )
        dump = threads.submit(_as_a_step, copying, write)
        try:
            yield partial(_wait, dump)
        finally:
            left.set()


def _wait(dump: Future[None], look: Callable[[], None]) -> None:
    while wait([dump], _LOOK_EVERY).not_done:
        look()
    look()  # a terminal's Ctrl-C ends pg_dump as well, which is then no failure of its own
    dump.result()


def _as_a_step(copying: Copying, write: Callable[[], None]) -> None:
    with copying.work.store() as store:
        step = begin_step(store, "dump schema")
    write()
    with copying.work.store() as store:
        copying.steps.append(finish_step(store, step))
