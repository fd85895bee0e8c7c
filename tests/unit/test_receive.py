"""Receiving against a stream that is made up: what a server may send at which moment."""

import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from pgcopydb.cdc import receive as module
from pgcopydb.cdc.follow import Following
from pgcopydb.cdc.receive import ReceiveTask, receive
from pgcopydb.errors import StateError
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.options import FollowOptions, Plugin
from pgcopydb.postgres.replication import ReplicationStream
from pgcopydb.rules.filters import parse_filters
from pgcopydb.workdir.changelog import ChangelogReader, stored_end
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.sentinel import create_sentinel, require_sentinel, update_sentinel
from pgcopydb.workdir.store import write_fact

SOURCE = Endpoint(Side.SOURCE, "dbname=nowhere")
TARGET = Endpoint(Side.TARGET, "dbname=nowhere")


def data(lsn: int, payload: bytes) -> bytes:
    return b"w" + struct.pack(">QQq", lsn, lsn, 0) + payload


def keepalive(lsn: int) -> bytes:
    return b"k" + struct.pack(">QqB", lsn, 0, 0)


def transaction(end: int) -> list[bytes]:
    """Return test_decoding's frames of a transaction; a COMMIT's own position is its end."""
    return [
        data(end - 5, b"BEGIN 7"),
        data(end - 4, b"table public.t: INSERT: id[integer]:%d" % end),
        data(end, b"COMMIT 7"),
    ]


class Stream:
    """Gives messages, or None for a pause; a function among them is called at its place."""

    def __init__(self, messages: "list[bytes | Callable[[], None] | None]") -> None:
        self._messages = deque(messages)
        self.answered: list[tuple[int, bool]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def messages(self) -> list[bytes]:
        found: list[bytes] = []
        while self._messages and not found:
            message = self._messages.popleft()
            if message is None:
                break
            if isinstance(message, bytes):
                found.append(message)
            else:
                message()
        return found

    def wait(self, timeout: float) -> bool:
        if not self._messages:
            time.sleep(timeout)
        return bool(self._messages)

    def feedback(self, *, write: int, flush: int, apply: int, reply: bool = False) -> None:
        self.answered.append((flush, reply))


@pytest.fixture
def work(tmp_path: Path) -> WorkDirectory:
    """A work directory in which a capture begins at 100."""
    work = WorkDirectory(path=tmp_path)
    work.cdc.mkdir()
    with work.store() as store:
        create_sentinel(store, 100)
    return work


def receive_from(
    work: WorkDirectory, monkeypatch: pytest.MonkeyPatch, *streams: Stream
) -> list[int]:
    """Receive until endpos, each connection giving the next of ``streams``; return what is stored.

    That is the end of each chunk.
    """
    given = iter(streams)
    monkeypatch.setattr(module._Receiver, "_start", lambda _self: next(given))
    receive(ReceiveTask(work, SOURCE, Plugin.TEST_DECODING, "slot", 1 << 30))
    reader = ChangelogReader(work.cdc)
    ends = []
    while (chunk := reader.read()) is not None:
        ends.append(chunk.end_lsn)
    reader.close()
    return ends


def set_endpos(work: WorkDirectory, lsn: int) -> Callable[[], None]:
    def set_it() -> None:
        with work.store() as store:
            update_sentinel(store, endpos=lsn)

    return set_it


def a_while() -> None:
    """Let pass what may lie between two looks at the sentinel."""
    time.sleep(2 * module._LOOK_AROUND)


@pytest.mark.parametrize("moved_to", [400, 0], ids=["on", "away"])
def test_what_was_left_out_beyond_an_old_endpos_is_got_again(
    work: WorkDirectory, monkeypatch: pytest.MonkeyPatch, moved_to: int
) -> None:
    """The moment between leaving a transaction out and looking at the sentinel again."""
    set_endpos(work, 200)()
    *rows, commit = transaction(300)
    first = Stream([*transaction(150), *rows, set_endpos(work, moved_to), commit])
    again = Stream([*transaction(300), set_endpos(work, 400), a_while, None, *transaction(500)])
    ends = receive_from(work, monkeypatch, first, again)
    assert ends == [150, 300]
    with work.store() as store:
        sentinel = require_sentinel(store)
    assert (sentinel.flush_lsn, sentinel.received_lsn) == (300, 400)
    assert max(flush for flush, _ in first.answered) <= 200


def test_the_server_is_asked_for_its_position_now_and_then(
    work: WorkDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it has nothing up to endpos, each answer wakes receive at once."""
    set_endpos(work, 200)()
    stream = Stream([])
    started = time.monotonic()

    def wait(_timeout: float) -> bool:
        if time.monotonic() - started > 0.5:
            stream._messages.append(keepalive(200))
        return bool(stream._messages)

    stream.wait = wait  # type: ignore[assignment,method-assign]
    assert receive_from(work, monkeypatch, stream) == []
    assert len(stream.answered) < 10


def test_a_change_that_the_plugin_leaves_out_stops_before_its_commit() -> None:
    """wal2json warns of it, and then sends the rest of the transaction."""
    stream = ReplicationStream.__new__(ReplicationStream)

    def get(async_: int) -> tuple[int, memoryview]:
        stream._lost_change = 'no tuple identifier for UPDATE in table "public"."t"'
        return 8, memoryview(b"a commit")

    stream._lost_change = None
    stream._has_ended = False
    stream._get = get
    with pytest.raises(StateError, match="left out a change"):
        stream.messages()


@pytest.mark.parametrize(
    ("table", "concerns"),
    [
        ('"public"."kept"', True),
        ('"public"."gone"', False),
        ('"a"."b"."gone"', True),
        ('"a"."b"."c"', False),
        ("in other words", True),
    ],
)
def test_what_is_left_out_of_a_table_that_is_not_followed_is_no_loss(
    table: str, concerns: bool
) -> None:
    filters = parse_filters('[exclude-table]\npublic.gone\na.~/c$/\n"a"".""b".c\n', origin="f.ini")
    stream = ReplicationStream.__new__(ReplicationStream)
    stream._filters = filters
    stream._lost_change = None
    stream._notice(Warned(f"no tuple identifier for DELETE in table {table}"))  # type: ignore[arg-type]
    assert (stream._lost_change is not None) == concerns


@dataclass
class Warned:
    """What a server warns of."""

    message_primary: str


def test_lost_files_take_the_proof_with_them(
    work: WorkDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_endpos(work, 150)()
    receive_from(work, monkeypatch, Stream([*transaction(150)]))
    for path in work.cdc.iterdir():
        path.unlink()
    module.distrust_lost(work)
    with work.store() as store:
        sentinel = require_sentinel(store)
    assert sentinel.received_lsn == sentinel.startpos == 100
    assert stored_end(work.cdc) == 0


def test_a_process_that_came_to_an_old_endpos_goes_on(
    work: WorkDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    with Following(work, SOURCE, TARGET, FollowOptions()) as following:
        monkeypatch.setattr(following._group, "start", lambda worker: started.append(worker.name))
        following.start_receive()
        following.start_apply()
        with work.store() as store:
            update_sentinel(store, endpos=200, received_lsn=200)
            write_fact(store, "drained", 200)
        assert not following._goes_on()
        with work.store() as store:
            update_sentinel(store, endpos=300)
        assert following._goes_on()
        with work.store() as store:
            update_sentinel(store, received_lsn=300)
        assert following._goes_on()
        with work.store() as store:
            write_fact(store, "drained", 300)
        assert not following._goes_on()
    assert started == ["receive", "apply", "receive", "apply"]
