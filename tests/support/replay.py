"""Schedules run on a real source and replayed in several ways: all targets must be equal.

Each way has a target database of its own. The program's own parts run in this process, because
starting commands would take most of the time; PostgreSQL's own subscription does the same work.
"""

import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

from hypothesis import note
from psycopg import sql

from pgcopydb.cdc import receive as receiving
from pgcopydb.cdc.apply import ApplyTask, apply
from pgcopydb.cdc.chunks import ChunkAssembler
from pgcopydb.cdc.receive import ReceiveTask, receive
from pgcopydb.cdc.setup import enable_apply
from pgcopydb.cdc.source_setup import create_capture
from pgcopydb.cdc.steering import mark_present_end, set_endpos
from pgcopydb.cdc.streams import StreamedTransactions
from pgcopydb.cdc.target_setup import prepare_target
from pgcopydb.model.endpoint import Side
from pgcopydb.model.options import ApplyMode, FollowOptions, Plugin, Streaming, WorkOptions
from pgcopydb.workdir.directory import WorkDirectory, open_directory
from pgcopydb.workdir.store import update_header
from tests.support.schedules import END, SCHEMA, Schedule, Sessions, filling
from tests.support.servers import Connection, Database, Servers, nothing_left

_NATIVE = "native"
_NATIVE_SECONDS = 60.0
_LOG_LINES = 12
_NATIVE_FAILURES = (
    f"select apply_error_count from pg_stat_subscription_stats where subname = '{_NATIVE}'"
)


@dataclass(frozen=True)
class Received:
    """One way in which this program receives what the source did."""

    plugin: Plugin
    streaming: Streaming = Streaming.OFF

    @property
    def name(self) -> str:
        return f"replay_{self.plugin}" + ("_streamed" if self.streaming is Streaming.ON else "")


@dataclass(frozen=True)
class Way:
    """One way in which this program replays what it received."""

    received: Received
    mode: ApplyMode

    @property
    def name(self) -> str:
        return f"{self.received.name} {self.mode}"

    @property
    def origin(self) -> str:
        return f"{self.received.name}_{self.mode}"


_WHOLE = Received(Plugin.PGOUTPUT)
_IN_PROGRESS = Received(Plugin.PGOUTPUT, Streaming.ON)

PGOUTPUT_WAYS = (
    *(Way(_WHOLE, mode) for mode in ApplyMode),
    Way(_IN_PROGRESS, ApplyMode.BATCH),
)
ALL_WAYS = (
    *PGOUTPUT_WAYS,
    *(
        Way(Received(plugin), mode)
        for plugin in (Plugin.TEST_DECODING, Plugin.WAL2JSON)
        for mode in ApplyMode
    ),
)

Rows = Mapping[str, list[str]]


class Replay:
    """Replays schedules between two servers; the databases are made by the caller."""

    def __init__(
        self, source: Database, targets: Mapping[Way, Database], native: Database, directory: Path
    ) -> None:
        self._source = source
        self._targets = targets
        self._native = native
        self._directory = directory
        self._received = list(dict.fromkeys(way.received for way in targets))

    def check(self, schedule: Schedule) -> None:
        """Carry a schedule out, replay it in every way, and assert that all ends are equal."""
        with ExitStack() as stack:
            stack.enter_context(_same_umask())
            stack.callback(self._clean)
            self._make_tables(schedule)
            with Sessions(self._source, schedule) as sessions:
                sessions.carry_out([*filling(schedule.tables), *schedule.before])
                self._copy(schedule)
                works = {one: self._capture(one) for one in self._received}
                self._make_native_slot()
                sessions.carry_out(schedule.steps)
            self._source.execute(f'insert into {SCHEMA}."{END}" values (1)')
            end = mark_present_end(self._source.endpoint(Side.SOURCE))
            stack.enter_context(self._native_subscription())
            expected = _rows(self._source, schedule)
            with _sizes(schedule):
                for received, work in works.items():
                    self._receive(received, work, end)
                conflicts = any(table.kind.may_conflict for table in schedule.tables)
                for way, target in self._targets.items():
                    self._apply(works[way.received], way, target, conflicts=conflicts)
            for way, target in self._targets.items():
                _assert_equal(way.name, _rows(target, schedule), expected)
            self._wait_for_native()
            _assert_equal(_NATIVE, _rows(self._native, schedule), expected)

    def _make_tables(self, schedule: Schedule) -> None:
        self._source.execute(schedule.script(target=False))
        self._native.execute(schedule.script(target=False))
        for target in self._targets.values():
            target.execute(schedule.script(target=True))

    def _copy(self, schedule: Schedule) -> None:
        """Copy the rows that are there before anything is followed."""
        with self._source.connect() as source:
            for database in (*self._targets.values(), self._native):
                with database.connect(options="-c session_replication_role=replica") as target:
                    for table in schedule.tables:
                        names = [*table.given, *(["i"] if table.name == "identity" else [])]
                        columns = sql.SQL(", ").join(map(sql.Identifier, names))
                        read = sql.SQL("copy (select {} from {}) to stdout")
                        write = sql.SQL("copy {} ({}) from stdin")
                        with (
                            source.cursor().copy(read.format(columns, table.identifier)) as rows,
                            target.cursor().copy(write.format(table.identifier, columns)) as copy,
                        ):
                            for data in rows:
                                copy.write(data)

    # -- this program's ways ---------------------------------------------------------------------

    def _capture(self, received: Received) -> WorkDirectory:
        options = WorkOptions(directory=self._directory / received.name)
        follow = FollowOptions(
            plugin=received.plugin,
            streaming=received.streaming,
            slot_name=received.name,
            publication=received.name,
        )
        with (
            open_directory(options, command="stream setup") as work,
            create_capture(work, self._source.endpoint(Side.SOURCE), follow),
        ):
            return work

    def _receive(self, received: Received, work: WorkDirectory, end: int) -> None:
        set_endpos(work, None, end)
        receive(
            ReceiveTask(
                work=work,
                source=self._source.endpoint(Side.SOURCE),
                plugin=received.plugin,
                slot_name=received.name,
                max_segment_bytes=1 << 20,
                streaming=received.streaming,
            )
        )

    def _apply(
        self, received: WorkDirectory, way: Way, target: Database, *, conflicts: bool
    ) -> None:
        """Apply; without ``conflicts`` every batch must come out as it was planned."""
        work = WorkDirectory(self._directory / way.origin)
        shutil.copytree(received.path, work.path)
        with work.store() as store:
            update_header(store, origin=way.origin)
        endpoint = target.endpoint(Side.TARGET)
        prepare_target(work, endpoint)
        enable_apply(work)
        with _failed_batches() as failed:
            apply(ApplyTask(work=work, target=endpoint, plugin=way.received.plugin, mode=way.mode))
        assert not failed or conflicts, f"{way.name}: {failed}"

    # -- PostgreSQL's own ------------------------------------------------------------------------

    def _make_native_slot(self) -> None:
        self._source.execute(f"create publication {_NATIVE} for tables in schema {SCHEMA}")
        self._source.execute(f"select pg_create_logical_replication_slot('{_NATIVE}', 'pgoutput')")

    @contextmanager
    def _native_subscription(self) -> Iterator[None]:
        """Subscribe, with transactions in progress kept in files until they are committed.

        Not in parallel, which is the default since 18. A parallel worker applies each row as it
        comes, also one that the source logged and then refused because its key is there: the worker
        fails on that key before it hears of the rollback to the savepoint, and so it does each time
        it is started again.
        """
        statement = sql.SQL(
            "create subscription {} connection {} publication {} with (create_slot = false,"
            " copy_data = false, synchronous_commit = 'off', streaming = on)"
        )
        name = sql.Identifier(_NATIVE)
        with self._connect_to_native() as connection:
            connection.execute(statement.format(name, self._source.conninfo, name))
            try:
                yield
            finally:
                connection.execute(sql.SQL("drop subscription {}").format(name))

    def _connect_to_native(self) -> Connection:
        """Connect so that no statement waits for ever for a worker that does not end."""
        milliseconds = int(_NATIVE_SECONDS * 1000)
        return self._native.connect(options=f"-c statement_timeout={milliseconds}")

    def _wait_for_native(self) -> None:
        """Wait for the last row; a subscription that fails once would do so again and again."""
        ends = time.monotonic() + _NATIVE_SECONDS
        with self._connect_to_native() as connection:
            while not connection.execute(f'select from {SCHEMA}."{END}"'.encode()).fetchall():
                failures = connection.execute(_NATIVE_FAILURES.encode()).fetchall()
                assert failures == [(0,)], self._native_trouble("failed")
                assert time.monotonic() < ends, self._native_trouble("does not come to its end")
                time.sleep(0.02)

    def _native_trouble(self, what: str) -> str:
        last = "\n".join(self._native.cluster.log.splitlines()[-_LOG_LINES:])
        return f"PostgreSQL's own subscription {what}; the end of its server's log:\n{last}"

    def _clean(self) -> None:
        """Leave the servers as they were, for the next schedule."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._source.execute(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
            " where database = current_database()"
        )
        for (name,) in self._source.rows("select pubname from pg_publication"):
            with self._source.connect() as connection:
                connection.execute(sql.SQL("drop publication {}").format(sql.Identifier(name)))
        for database in self._targets.values():
            database.execute("drop schema if exists pgcopydb cascade")
        self._native.execute(
            "select pg_replication_origin_drop(roname) from pg_replication_origin"
            " where roname like 'replay\\_%'"
        )


@contextmanager
def _same_umask() -> Iterator[None]:
    """Take back what opening a work directory sets for the whole process."""
    before = os.umask(0o022)
    os.umask(before)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _failed_batches() -> Iterator[list[str]]:
    """Collect what is logged of batches that had to be done again row by row."""
    failed: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "row by row" in record.getMessage():
                failed.append(record.getMessage())

    logger, collector = logging.getLogger("pgcopydb.cdc.apply"), Collector()
    level = logger.level
    logger.addHandler(collector)
    logger.setLevel(logging.INFO)
    try:
        yield failed
    finally:
        logger.setLevel(level)
        logger.removeHandler(collector)


@contextmanager
def _sizes(schedule: Schedule) -> Iterator[None]:
    """Cut what is stored and applied into small portions, so that few rows are many of them."""
    assembler = partial(ChunkAssembler, chunk_bytes=schedule.chunk_bytes)
    streams = partial(StreamedTransactions, chunk_bytes=schedule.chunk_bytes)
    with (
        mock.patch.object(receiving, "ChunkAssembler", assembler),
        mock.patch.object(receiving, "StreamedTransactions", streams),
        mock.patch("pgcopydb.cdc.apply._MOST_CHANGES", schedule.most_changes),
        mock.patch("pgcopydb.cdc.sets._SET_FROM", schedule.set_from),
    ):
        yield


def _rows(database: Database, schedule: Schedule) -> Rows:
    """Return the rows of every table as text, in an order of their own."""
    with database.connect() as connection:
        connection.execute("set timezone to 'UTC'; set extra_float_digits to 3")
        found = {}
        for table in schedule.tables:
            generated = [column.split()[0] for column in table.kind.columns]
            columns = sql.SQL(", ").join(map(sql.Identifier, [*table.given, *generated]))
            query = sql.SQL("select row({})::text from {}").format(columns, table.identifier)
            found[table.name] = sorted(row for (row,) in connection.execute(query))
        return found


def _assert_equal(name: str, found: Rows, expected: Rows) -> None:
    for table, rows in expected.items():
        if found[table] != rows:
            note(f"on the source only: {_only(rows, found[table])}")
            note(f"on the target only: {_only(found[table], rows)}")
            raise AssertionError(f"{name}: {table} differs")


def _only(rows: list[str], others: list[str]) -> list[str]:
    return [row[:300] for row in (Counter(rows) - Counter(others)).elements()][:5]


def _stream_early(source: Database, major: int) -> None:
    """Let the source stream every change at once where it can, else from 64 kB of changes on."""
    setting = "debug_logical_replication_streaming to 'immediate'"
    if major < 16:
        setting = "logical_decoding_work_mem to '64kB'"
    source.execute(f"alter database {source.name} set {setting}")


@contextmanager
def open_replay(
    servers: Servers, majors: tuple[int, int], ways: Sequence[Way], directory: Path
) -> Iterator[Replay]:
    """Give a replay between servers of two major versions; its databases are gone at the end."""
    source, target = servers.get(majors[0], "source"), servers.get(majors[1], "target")
    with nothing_left(source), nothing_left(target):
        made = [Database(source, "replayed")]
        made += [Database(target, way.origin) for way in ways]
        made += [Database(target, "replay_native")]
        for database in made:
            database.cluster.create_database(database.name)
        _stream_early(made[0], majors[0])
        yield Replay(
            source=made[0],
            targets=dict(zip(ways, made[1:-1], strict=True)),
            native=made[-1],
            directory=directory / "replay",
        )
