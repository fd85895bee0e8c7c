"""The schema dump of a copy, made while the source is looked at and the copy is planned.

Neither needs the other, and all take seconds where tables are many.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

from msgspec import Struct

from pgcopydb.clone import schema_dump
from pgcopydb.clone.beside import wait_for
from pgcopydb.model.results import StepSummary
from pgcopydb.pgtools.find import Tools
from pgcopydb.postgres.children import child_environment
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.snapshot import HeldSnapshot, count_lockable
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.steps import begin_step, finish_step


class SchemaDump(Struct, frozen=True):
    """A schema dump that is being made."""

    future: Future[StepSummary]

    def wait(self, look: Callable[[], None]) -> StepSummary:
        """Wait until it is done, calling ``look`` meanwhile; return how long it took.

        Raises what ``look`` or the dump raised.
        """
        return wait_for(self.future, look)


@contextmanager
def dumping(
    work: WorkDirectory,
    held: HeldSnapshot,
    tools: Tools,
    *,
    major: int,
    exclude_tables: Iterable[tuple[str, str]] = (),
) -> Iterator[SchemaDump]:
    """Dump the schema that the snapshot shows; leaving the block before it is done ends pg_dump.

    The source is of version ``major``. The thread waits for nothing else: what asks the server is
    done before, where a signal ends it.
    """
    left = Event()
    with reporting(held.endpoint, "counting tables"):
        tables = count_lockable(held.connection)
    with (
        child_environment(held.endpoint, work.path) as access,
        ThreadPoolExecutor(1, "schema dump") as threads,
    ):

        def dump() -> StepSummary:
            with work.store() as store:
                step = begin_step(store, "dump schema")
            schema_dump.write_dump(
                work,
                tools,
                access,
                held.id,
                major=major,
                tables=tables,
                exclude_tables=exclude_tables,
                stopping=left.is_set,
            )
            with work.store() as store:
                return finish_step(store, step)

        try:
            yield SchemaDump(threads.submit(dump))
        finally:
            left.set()
