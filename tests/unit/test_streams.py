"""Transactions received in progress end as if they had come whole, whatever came between."""

import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgcopydb.cdc import patience
from pgcopydb.cdc import receive as receiving
from pgcopydb.cdc.receive import ReceiveTask, receive
from pgcopydb.cdc.streams import StreamedTransaction, StreamedTransactions
from pgcopydb.cdc.transactions import TransactionReader, Void
from pgcopydb.errors import ProtocolError, SourceError, StateError
from pgcopydb.model.capture import Capture, FollowedTable
from pgcopydb.model.changes import Insert
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.options import Plugin, Streaming
from pgcopydb.workdir.changelog import ChangelogReader
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.sentinel import create_sentinel, require_sentinel
from pgcopydb.workdir.streams import StreamStore

START = 100
TABLES = 3
SHARED = TABLES
"""The last table is written by every transaction, and never altered."""


def message(payload: bytes) -> bytes:
    return b"w" + struct.pack(">QQq", 1, 1, 0) + payload


def keepalive(lsn: int) -> bytes:
    return b"k" + struct.pack(">QqB", lsn, 0, 0)


def relation(table: int, columns: int, xid: bytes) -> bytes:
    described = b"".join(
        b"\1" + b"c%d" % number + b"\0" + struct.pack(">Ii", 25, -1) for number in range(columns)
    )
    name = b"public\0t%d\0d" % table
    return message(
        b"R" + xid + struct.pack(">I", table + 1) + name + struct.pack(">H", columns) + described
    )


def insert(table: int, columns: int, value: int, xid: bytes) -> bytes:
    text = b"%d" % value
    row = (b"t" + struct.pack(">I", len(text)) + text) * columns
    head = b"I" + xid + struct.pack(">I", table + 1) + b"N" + struct.pack(">H", columns)
    return message(head + row)


Rows = list[tuple[str, tuple[bytes, ...]]]


@dataclass
class Written:
    """A row that a transaction wrote under one of its ids."""

    xid: int
    table: int
    columns: int
    value: int


@dataclass
class Transaction:
    """A transaction of the source that has not ended: what of it was sent, and what was not."""

    xid: int
    table: int
    columns: int
    open: list[list[int]]
    """The ids of each open subtransaction, with those released into it; the first is the top's."""
    saved: list[int] = field(default_factory=list)
    rows: list[Written] = field(default_factory=list)
    pending: list[Written] = field(default_factory=list)
    streamed: set[int] = field(default_factory=set)
    """The ids under which something was sent in this session."""
    is_streamed: bool = False
    described: dict[int, int] = field(default_factory=dict)


class Source:
    """A server that decodes what random steps do, as PostgreSQL's reorder buffer would.

    ``sessions`` are the messages of each connection, ``committed`` what they must come to.
    """

    def __init__(self) -> None:
        self.sessions: list[list[bytes]] = [[]]
        self.committed: list[tuple[int, int, Rows]] = []
        self._columns = [1] * TABLES + [1]
        self._open: dict[int, Transaction] = {}
        self._described: dict[int, int] = {}
        self._number = 700
        self._lsn = START

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _send(self, *messages: bytes) -> None:
        self.sessions[-1] += messages

    def transaction(self, place: int) -> Transaction:
        """Return the transaction that is open at a place, or begin one."""
        if place not in self._open:
            xid = self._next()
            self._open[place] = Transaction(xid, place, self._columns[place], [[xid]])
        return self._open[place]

    def step(self, verb: str, place: int) -> None:
        """Do something in the transaction at ``place``."""
        one = self.transaction(place)
        match verb:
            case "row" | "shared row":
                shared = verb == "shared row"
                columns = 1 if shared else one.columns
                table = SHARED if shared else one.table
                row = Written(one.open[-1][0], table, columns, self._next())
                one.rows.append(row)
                one.pending.append(row)
            case "savepoint":
                one.open.append([self._next()])
                one.saved.append(one.columns)
            case "release" if len(one.open) > 1:
                released = one.open.pop()
                one.open[-1] += released
                one.saved.pop()
            case "roll back to" if len(one.open) > 1:
                self._roll_back(one)
            case "alter":
                one.columns += 1
                self._described.pop(one.table, None)
                one.described.pop(one.table, None)
            case "stream":
                self._stream(one)
            case "commit" | "abort":
                del self._open[place]
                self._end(one, commits=verb == "commit")
            case "reconnect":
                self._reconnect()

    def _roll_back(self, one: Transaction) -> None:
        void = set(one.open.pop())
        columns = one.saved.pop()
        if columns != one.columns:
            self._described.pop(one.table, None)
        one.columns = columns
        one.rows = [row for row in one.rows if row.xid not in void]
        one.pending = [row for row in one.pending if row.xid not in void]
        for xid in sorted(void & one.streamed):
            self._send(message(b"A" + struct.pack(">II", one.xid, xid)))
            one.described.clear()

    def _stream(self, one: Transaction) -> None:
        self._send(message(b"S" + struct.pack(">IB", one.xid, not one.is_streamed)))
        if one.pending:
            self._send(message(b"O" + bytes(8) + b"origin\0"))
        for row in one.pending:
            self._row(row, one.described, struct.pack(">I", row.xid))
            one.streamed.add(row.xid)
        self._send(message(b"E"))
        one.is_streamed = True
        one.pending = []

    def _row(self, row: Written, described: dict[int, int], xid: bytes) -> None:
        if described.get(row.table) != row.columns:
            described[row.table] = row.columns
            self._send(relation(row.table, row.columns, xid))
        self._send(insert(row.table, row.columns, row.value, xid))

    def _end(self, one: Transaction, *, commits: bool) -> None:
        if not commits:
            self._described.pop(one.table, None)
            if one.is_streamed:
                self._send(message(b"A" + struct.pack(">II", one.xid, one.xid)))
            return
        self._columns[one.table] = one.columns
        lsn, self._lsn = self._lsn + 5, self._lsn + 10
        if one.is_streamed:
            if one.pending:
                self._stream(one)
            self._described |= one.described
            self._send(message(b"c" + struct.pack(">IBQQq", one.xid, 0, lsn, self._lsn, 7)))
        else:
            self._send(message(b"B" + struct.pack(">QqI", lsn, 7, one.xid)))
            for row in one.pending:
                self._row(row, self._described, b"")
            self._send(message(b"C" + struct.pack(">BQQq", 0, lsn, self._lsn, 7)))
        rows = [(f"t{row.table}", (b"%d" % row.value,) * row.columns) for row in one.rows]
        self.committed.append((one.xid, self._lsn, rows))

    def _reconnect(self) -> None:
        """Begin another session, in which unfinished transactions come from their beginning."""
        self.sessions.append([])
        self._described = {}
        for one in self._open.values():
            one.pending = list(one.rows)
            one.streamed, one.described, one.is_streamed = set(), {}, False

    @property
    def end(self) -> int:
        return self._lsn


class Stream:
    """A replication stream that gives its messages in portions, and then breaks off or waits."""

    def __init__(self, batches: list[list[bytes]], *, breaks: bool) -> None:
        self._batches: deque[list[bytes]] = deque([*batches, []])
        self._breaks = breaks

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def messages(self) -> list[bytes]:
        if self._batches:
            return self._batches.popleft()
        if self._breaks:
            raise SourceError("the connection was lost", retryable=True)
        return []

    def wait(self, _timeout: float) -> bool:
        return bool(self._batches)

    def feedback(self, **_positions: int) -> None:
        pass


def split(messages: list[bytes], sizes: list[int]) -> Iterator[list[bytes]]:
    at = number = 0
    while at < len(messages):
        size = sizes[number % len(sizes)]
        yield messages[at : at + size]
        at, number = at + size, number + 1


def new_work(directory: Path, endpos: int) -> WorkDirectory:
    work = WorkDirectory(path=directory)
    work.cdc.mkdir()
    with work.store() as store:
        create_sentinel(store, START, endpos)
    return work


def receive_all(work: WorkDirectory, streams: list[Stream], *, chunk_bytes: int) -> None:

    def take(directory: Path) -> StreamedTransactions:
        return StreamedTransactions(directory, chunk_bytes=chunk_bytes)

    with (
        mock.patch.object(receiving._Receiver, "_start", side_effect=streams),
        mock.patch.object(receiving, "StreamedTransactions", take),
        mock.patch.object(patience, "_FIRST_PAUSE", 0),
        mock.patch.object(receiving, "_COLLECT_WITHIN", 0),
    ):
        source = Endpoint(Side.SOURCE, "dbname=nowhere")
        task = ReceiveTask(work, source, Plugin.PGOUTPUT, "slot", 20_000, streaming=Streaming.ON)
        receive(task)


def followed(name: str) -> FollowedTable:
    return FollowedTable(
        schema="public", name=name, columns=(), identity=("c0",), full=False, keyless=False,
        filenode=1,
    )  # fmt: skip


CAPTURE = Capture(
    start=START,
    encoding="UTF8",
    version_num=160000,
    tables=tuple(followed(f"t{number}") for number in range(TABLES + 1)),
)


def stored(work: WorkDirectory, position: int = START) -> list[tuple[int, int, Rows]]:
    """Return the transactions that an apply would find after a position."""
    reader = ChangelogReader(work.cdc)
    found: list[tuple[int, int, Rows]] = []
    rows: Rows = []
    for piece in TransactionReader(reader, Plugin.PGOUTPUT, CAPTURE, position).read():
        if isinstance(piece, Void):
            rows = []
            continue
        for change in piece.changes:
            assert isinstance(change, Insert)
            assert all(isinstance(value, bytes) for value in change.new)
            rows.append((change.relation.name, change.new))  # type: ignore[arg-type]
        if piece.end_lsn:
            found.append((piece.xid, piece.end_lsn, rows))
            rows = []
    reader.close()
    return found


WEIGHTS = {
    "row": 10, "shared row": 4, "savepoint": 4, "release": 1, "roll back to": 3, "alter": 0.7,
    "stream": 4, "commit": 1.3, "abort": 0.5, "reconnect": 0.15,
}  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1 << 32), chunk_bytes=st.sampled_from([1, 200, 1 << 20]))
def test_what_is_stored_is_what_committed(seed: int, chunk_bytes: int) -> None:
    """Random work on the source; hypothesis alone would hardly ever draw as much of it."""
    random = Random(seed)
    source = Source()
    for verb in random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=random.randint(50, 600)):
        source.step(verb, random.randrange(TABLES))
    endpos = random.choice([source.end, source.end, random.randint(START + 1, source.end + 3)])
    endpos = max(endpos, START + 1)
    sizes = [random.randint(1, random.choice([2, 20, 200])) for _ in range(20)]
    source.sessions[-1].append(keepalive(max(source.end, endpos)))
    streams = [
        Stream(list(split(messages, sizes)), breaks=messages is not source.sessions[-1])
        for messages in source.sessions
    ]
    with TemporaryDirectory() as directory:
        work = new_work(Path(directory), endpos)
        receive_all(work, streams, chunk_bytes=chunk_bytes)
        expected = [one for one in source.committed if one[1] <= endpos]
        assert stored(work) == expected
        position = random.choice([START, *(end for _, end, _ in expected)])
        assert stored(work, position) == [one for one in expected if one[1] > position]
        with work.store() as store:
            sentinel = require_sentinel(store)
        assert sentinel.flush_lsn == max([START, *(end for _, end, _ in expected)])
        assert sentinel.received_lsn >= endpos
        assert not work.streams.exists()


def opened(directory: Path) -> StreamedTransactions:
    return StreamedTransactions(directory / "streams")


START_7 = message(b"S" + struct.pack(">IB", 7, 1))
MORE_OF_7 = message(b"S" + struct.pack(">IB", 7, 0))
COMMIT_7 = message(b"c" + struct.pack(">IBQQq", 7, 0, 1, 2, 3))
STOP = message(b"E")
ROW_OF_7 = insert(0, 1, 5, struct.pack(">I", 7))


@pytest.mark.parametrize(
    "messages",
    [
        [STOP],
        [START_7, START_7],
        [START_7, COMMIT_7],
        [START_7, message(b"B" + struct.pack(">QqI", 1, 2, 7))],
        [START_7, message(b"I\0\0")],
        [MORE_OF_7],
        [COMMIT_7],
        [START_7, STOP, COMMIT_7[:-1]],
        [START_7[:-1]],
        [START_7, message(b"E\0")],
        [message(b"A\0\0\0\7")],
    ],
)
def test_what_cannot_be_there_is_an_error_of_the_protocol(
    tmp_path: Path, messages: list[bytes]
) -> None:
    with opened(tmp_path) as streams, pytest.raises(ProtocolError):
        list(streams.take(messages))


def test_an_abort_of_what_never_came_is_none_of_our_business(tmp_path: Path) -> None:
    with opened(tmp_path) as streams:
        assert not list(streams.take([message(b"A" + struct.pack(">II", 7, 8))]))


def test_aborted_transactions_take_no_room(tmp_path: Path) -> None:
    with opened(tmp_path) as streams:
        list(streams.take([START_7, ROW_OF_7, STOP]))
        assert list((tmp_path / "streams").iterdir())
        list(streams.take([message(b"A" + struct.pack(">II", 7, 7))]))
        assert not list((tmp_path / "streams").iterdir())
    assert not (tmp_path / "streams").exists()


def test_files_are_removed_while_a_large_transaction_is_taken(tmp_path: Path) -> None:
    small_files = partial(StreamStore, file_bytes=1)
    with (
        mock.patch("pgcopydb.cdc.streams.StreamStore", small_files),
        StreamedTransactions(tmp_path / "streams", chunk_bytes=1) as streams,
    ):
        list(streams.take([START_7, ROW_OF_7, STOP] + [MORE_OF_7, ROW_OF_7, STOP] * 4))
        transaction = committed(streams)
        left = [len(list((tmp_path / "streams").iterdir())) for _ in transaction.cuts()]
    assert left == [5, 5, 4, 3, 2, 1, 0]


def committed(streams: StreamedTransactions) -> StreamedTransaction:
    (transaction,) = streams.take([COMMIT_7])
    assert isinstance(transaction, StreamedTransaction)
    return transaction


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def cut_head(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3])


@pytest.mark.parametrize("spoil", [damage, cut_off, cut_head])
def test_a_file_that_changed_meanwhile_is_not_believed(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    with opened(tmp_path) as streams:
        list(streams.take([START_7, ROW_OF_7, STOP]))
        (path,) = (tmp_path / "streams").iterdir()
        spoil(path)
        transaction = committed(streams)
        with pytest.raises(StateError, match="checksum"):
            list(transaction.cuts())


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    store = StreamStore(tmp_path / "streams")
    (tmp_path / "streams").mkdir()
    (tmp_path / "streams" / "7.0").write_bytes(b"old")
    StreamStore(tmp_path / "streams")
    assert not (tmp_path / "streams").exists()
    with store:
        pass
