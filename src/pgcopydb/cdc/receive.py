"""Receiving: frames of the slot go into the changelog as they came, and only then are confirmed.

What is told to the server as flushed is on disk here. While the source is idle the confirmed
position follows the server's own reading of its log (so that it can free WAL), but only after that
position is written down as received, and never into the positions that apply uses (ruling 10).

apply reads what is stored at once; the disk gets it some ten times a second, all that has come
since together. Waiting for the disk with each chunk took 61 % of the time of this process.
"""

import contextlib
import logging
import os
import sqlite3
import struct
import time
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection as Pipe
from operator import itemgetter
from typing import Any, Final, Self

import psycopg
from msgspec import Struct

from pgcopydb.cdc.capture import read_capture, refuse_other_server
from pgcopydb.cdc.chunks import CHUNK_BYTES, ChunkAssembler, Cut
from pgcopydb.cdc.patience import Patience
from pgcopydb.cdc.room import Backlog, Room, segment_bytes
from pgcopydb.cdc.source_setup import publications
from pgcopydb.cdc.streams import StreamedTransaction, StreamedTransactions, name_way_out
from pgcopydb.decoding import MESSAGE_HEADER
from pgcopydb.decoding.plugin_options import plugin_options
from pgcopydb.errors import PgcopydbError, ProtocolError, StateError
from pgcopydb.lsn import format_lsn
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import Plugin, Streaming
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.replication import (
    POSTGRES_EPOCH_OFFSET,
    ReplicationStream,
    parse_keepalive,
)
from pgcopydb.postgres.slot import refuse_advanced, require_slot
from pgcopydb.runtime import signals
from pgcopydb.workdir.changelog import ChangelogWriter, stored_end
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.sentinel import require_sentinel, update_sentinel
from pgcopydb.workdir.store import note_confirmed, refuse_full_disk, update_header

log = logging.getLogger(__name__)

_XLOG_DATA: Final = 0x77
_KEEPALIVE: Final = 0x6B
_TYPE: Final = itemgetter(0)
_WAL_START: Final = struct.Struct(">Q").unpack_from

_LOOK_AROUND: Final = 0.05
"""Seconds between looks at the sentinel: ``set endpos`` is to be noticed within half a second."""

_ASK_EVERY: Final = 0.1
"""Seconds between questions to the server how far it is, while endpos has not come."""

_WRITE_EVERY: Final = 0.1
"""Seconds after which what was stored is made durable, and the position written down."""

_WRITING_SHARE: Final = 0.1
_LONGEST_UNWRITTEN: Final = 1.0
"""On a slow disk less often, so that it takes a tenth of the time; but at least every second."""

_STATUS_EVERY: Final = 1.0
"""Seconds between unsolicited status messages; far below any sane wal_sender_timeout."""

_READS_BETWEEN_LOOKS: Final = 64

_MUCH: Final = 8 << 10
"""Bytes from which on what comes at once is a backlog, or a source with many clients."""

_COLLECT_WITHIN: Final = 0.005
"""Seconds after which it is stored: a chunk a read would cost as much as reading it."""

_FREE_SLOT_WITHIN: Final = 15.0

_LOOKS_FOR_A_NAME: Final = 5
"""How often the user of the slot may have no name before it must be another role's."""

_PGOUTPUT_COMMIT_BYTES: Final = 26


class ReceiveTask(Struct, frozen=True):
    """What a receive process is to do; ``wake`` is a pipe whose other end apply waits on."""

    work: WorkDirectory
    source: Endpoint
    plugin: Plugin
    slot_name: str
    max_segment_bytes: int
    max_store_bytes: int | None = None
    streaming: Streaming = Streaming.OFF
    wake: Pipe | None = None


def receive(task: ReceiveTask) -> None:
    """Store changes until endpos, over as many connections as it takes.

    Returns when every transaction that committed at or before endpos is stored and durable.
    Raises Interrupted on a signal, StateError when the slot cannot be used, the source's error
    when it stays away.
    """
    patience = Patience()
    while True:
        receiver: _Receiver | None = None
        try:
            with _Receiver(task) as receiver:
                if receiver.run():
                    return
            log.info("endpos was moved on; receiving further")
            continue
        except sqlite3.Error as error:
            refuse_full_disk(task.work.catalogue, error)
            raise
        except PgcopydbError as error:
            if receiver is not None and receiver.heard_anything:
                patience.renew()
            name_way_out(error, task.streaming)
            patience.bear(error)
        signals.raise_if_stopped()
        patience.pause()


def distrust_lost(work: WorkDirectory) -> None:
    """Take back what the sentinel says was received when part of it is no longer stored.

    Files that were removed or lost are not made good by a position: the stream has to go on from
    what is left, if the slot still has it, and nobody may take the old position for a proof. To be
    called while nobody receives.
    """
    with work.store() as store:
        sentinel = require_sentinel(store)
        left = max(stored_end(work.cdc), sentinel.startpos)  # before which nothing was to be stored
        if left >= sentinel.flush_lsn:
            return
        log.warning(
            "changes were stored up to %s, but those after %s are gone",
            format_lsn(sentinel.flush_lsn),
            format_lsn(left),
        )
        note_confirmed(store, sentinel.received_lsn)
        update_sentinel(store, write_lsn=left, flush_lsn=left, received_lsn=left)


class _Receiver:
    """One walsender session: from connecting to the end of the stream or to endpos."""

    def __init__(self, task: ReceiveTask) -> None:
        self._task = task
        self.heard_anything = False

    def __enter__(self) -> Self:
        task = self._task
        with ExitStack() as stack:
            self._store = stack.enter_context(task.work.store())
            sentinel = require_sentinel(self._store)
            most = segment_bytes(task.max_segment_bytes, task.max_store_bytes)
            self._writer = ChangelogWriter(task.work.cdc, max_segment_bytes=most)
            self._store_from = min(most, CHUNK_BYTES)  # a segment is no smaller than its chunks
            self._room = Room(task.work.cdc, task.max_store_bytes)
            stack.callback(self._writer.close)
            self._streams: StreamedTransactions | None = None
            if task.streaming is Streaming.ON:
                self._streams = stack.enter_context(StreamedTransactions(task.work.streams))
            self._stored = max(self._writer.stored_end, sentinel.startpos)
            self._received = max(self._stored, sentinel.received_lsn)
            self._stream = stack.enter_context(self._start())
            self._close = stack.pop_all()
        self._assembler = ChunkAssembler(self._task.plugin)
        self._assembler.endpos = sentinel.endpos
        self._replayed = sentinel.replay_lsn
        self._source_lsn = self._received
        self._commit_time = sentinel.received_commit_time
        self._caught_up = sentinel.caught_up_time
        self._next_status = self._next_question = self._next_look = self._next_write = 0.0
        self._written_down = (0, 0, False)
        return self

    def __exit__(self, *exc: object) -> None:
        self._close.close()

    def _start(self) -> ReplicationStream:
        task = self._task
        header = task.work.header()
        capture = read_capture(task.work)
        assert header is not None
        purpose = f"receive {header.run_id[:8]}"
        with connect(task.source, purpose="receive check") as connection:
            refuse_other_server(connection, task.source, header, stored=self._received)
            slot = require_slot(connection, task.source, task.slot_name, task.plugin.value)
            refuse_advanced(slot, self._received)
            free_slot(connection, task.source, task.slot_name, purpose)
            version = connection.info.server_version
        options = plugin_options(
            task.plugin,
            server_version_num=version,
            publications=publications(header, capture),
            streaming=task.streaming,
        )
        if header.streaming != (task.streaming is Streaming.ON):
            update_header(self._store, streaming=not header.streaming)
        log.info('receiving from slot "%s" from %s', task.slot_name, format_lsn(self._stored))
        return ReplicationStream.start(
            task.source,
            slot_name=task.slot_name,
            start=self._stored,
            purpose=purpose,
            options=dict(options),
            filters=capture.filters,
        )

    def run(self) -> bool:
        """Receive until endpos is reached; what has come when a signal asks to stop is stored.

        Returns False when endpos was moved on after this session had left out what came beyond
        it: only a new session gets that again.
        """
        while True:
            if not self._room.is_full:
                self._read_available()
            self._look_around()
            if self._reached_endpos():
                self._write_down()
                self._send_status()
                endpos = require_sentinel(self._store).endpos
                return 0 < endpos <= self._received
            if signals.stop_requested():
                self._write_down()
                self._send_status()
                signals.raise_if_stopped()
            if self._room.is_full:
                time.sleep(_LOOK_AROUND)  # what has come waits in the socket
            else:
                self._stream.wait(_LOOK_AROUND)

    def _read_available(self) -> None:
        """Take what has come, then store every complete transaction.

        Where much comes at once, what follows within milliseconds is stored together with it.
        """
        deadline = time.monotonic() + _COLLECT_WITHIN
        for _ in range(_READS_BETWEEN_LOOKS):
            messages = self._stream.messages()
            if messages:
                self.heard_anything = True
                self._take(messages)
            remaining = deadline - time.monotonic()
            if self._assembler.past_endpos or remaining <= 0:
                break
            wait = remaining if self._assembler.size >= _MUCH else 0
            if not (messages or wait) or not self._stream.wait(wait):
                break
        self._store_complete()

    def _take(self, messages: list[bytes]) -> None:
        """Take messages of the stream, and store when there is enough."""
        if bytes(map(_TYPE, messages)).strip(b"w") or min(map(len, messages)) <= MESSAGE_HEADER:
            self._take_one_by_one(messages)
        else:
            self._add(messages)

    def _take_one_by_one(self, messages: list[bytes]) -> None:
        for message in messages:
            if message[0] == _KEEPALIVE:
                self._keepalive(message)
            elif message[0] != _XLOG_DATA:
                raise ProtocolError(f"an unknown replication message of type {message[0]:#x}")
            elif len(message) <= MESSAGE_HEADER:
                raise ProtocolError("an XLogData message without a payload")
            else:
                self._add([message])
            if self._assembler.past_endpos:
                return

    def _add(self, messages: list[bytes]) -> None:
        if self._streams is None:
            self._add_whole(messages)
            return
        for part in self._streams.take(messages):
            if isinstance(part, StreamedTransaction):
                self._store_streamed(part)
            else:
                self._add_whole(part)
            if self._assembler.past_endpos:
                return

    def _add_whole(self, messages: Sequence[bytes]) -> None:
        """Take messages of transactions that come whole, one after the other."""
        self._assembler.add(messages)
        if self._assembler.is_full or self._assembler.size >= self._store_from:
            self._store_complete()
        if self._assembler.past_endpos:
            self._pass_endpos()

    def _pass_endpos(self) -> None:
        self._store_complete()
        # commits come in order; whoever moves endpos now moves another one
        self._received = max(self._received, self._assembler.endpos)

    def _store_streamed(self, transaction: StreamedTransaction) -> None:
        """Store a transaction that has come in progress, after those that committed before it.

        It may be large: meanwhile the server hears of this process, and a signal ends it, at which
        what is stored of the transaction is void.
        """
        if 0 < self._assembler.endpos < transaction.end_lsn:
            self._assembler.past_endpos = True
            self._pass_endpos()
            return
        self._store_complete()
        for cut in transaction.cuts():
            self._append(cut)
            self._look_around()
            if not cut.final:
                signals.raise_if_stopped()

    def _keepalive(self, message: bytes) -> None:
        wal_end, wants_reply = parse_keepalive(message)
        self._source_lsn = max(self._source_lsn, wal_end)
        self._store_complete()
        in_block = self._streams is not None and self._streams.in_block
        if not (self._assembler.in_transaction or in_block):
            # everything that committed before wal_end has been sent, and is stored
            self._received = max(self._received, wal_end)
            self._caught_up = _now()
        if wants_reply:
            self._send_status()

    def _store_complete(self) -> None:
        while (cut := self._assembler.cut()) is not None:
            self._append(cut)

    def _append(self, cut: Cut) -> None:
        commit_time = _commit_time(self._task.plugin, cut.last_commit)
        self._writer.append(
            cut.frames,
            slice_number=cut.slice_number,
            final=cut.final,
            end_lsn=cut.end_lsn,
            commit_time=commit_time,
            transactions=cut.transactions,
            relation_frames=cut.relations,
        )
        if cut.final:
            self._stored = cut.end_lsn
            self._received = max(self._received, cut.end_lsn)
            self._commit_time = commit_time or self._commit_time
        wake(self._task.wake)

    def _look_around(self) -> None:
        """Read the sentinel, write down positions, and keep the server informed; now and then."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_AROUND
        sentinel = require_sentinel(self._store)
        self._assembler.endpos = sentinel.endpos
        self._replayed = sentinel.replay_lsn
        if now >= self._next_write:
            self._write_down()
            took = time.monotonic() - now
            self._next_write = now + min(
                max(_WRITE_EVERY, took / _WRITING_SHARE), _LONGEST_UNWRITTEN
            )
        full = self._room.look(Backlog(self._stored, sentinel.transform_lsn))
        asks = bool(sentinel.endpos) and not full
        if now >= (self._next_question if asks else self._next_status):
            # an answer wakes this process at once, so it is not asked for again at once
            self._next_question = now + _ASK_EVERY
            self._send_status(reply=asks)

    def _write_down(self) -> None:
        """Make the received position durable; only then may it be confirmed."""
        state = (self._received, self._source_lsn, self._caught_up >= self._commit_time)
        if self._written_down == state:
            return
        self._writer.make_durable()
        update_sentinel(
            self._store,
            write_lsn=self._stored,
            flush_lsn=self._stored,
            received_lsn=self._received,
            source_lsn=max(self._source_lsn, self._received),
            received_commit_time=self._commit_time,
            caught_up_time=self._caught_up,
        )
        self._written_down = state
        wake(self._task.wake)

    def _send_status(self, *, reply: bool = False) -> None:
        durable = self._written_down[0]
        self._stream.feedback(
            write=durable, flush=durable, apply=min(self._replayed, durable), reply=reply
        )
        self._next_status = time.monotonic() + _STATUS_EVERY

    def _reached_endpos(self) -> bool:
        return self._assembler.past_endpos or 0 < self._assembler.endpos <= self._received


def wake(pipe: Pipe | None) -> None:
    """Wake the process that waits at the other end; a byte more or less carries nothing."""
    if pipe is None:
        return
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        os.write(pipe.fileno(), b"\0")


def free_slot(
    connection: psycopg.Connection[Any], source: Endpoint, name: str, purpose: str
) -> None:
    """Make sure that nobody streams from the slot, ending a stale session of this run's.

    A receive that was killed leaves a walsender that takes a while to notice; ``purpose`` tells
    its session. Raises StateError naming the process when it is somebody else's.
    """
    deadline = time.monotonic() + _FREE_SLOT_WITHIN
    looks_without_name = 0
    while True:
        with reporting(source, "looking for a user of the slot"):
            row = connection.execute(
                "select s.active_pid, a.application_name from pg_catalog.pg_replication_slots as s"
                " left join pg_catalog.pg_stat_activity as a on a.pid = s.active_pid"
                " where s.slot_name = %s and s.active_pid is not null",
                (name,),
            ).fetchone()
        if row is None:
            return
        pid, application = row
        if application is None and looks_without_name < _LOOKS_FOR_A_NAME:
            looks_without_name += 1  # it may have ended between the two halves of the query
            time.sleep(0.1)
            continue
        if application != f"pgcopydb {purpose}" or time.monotonic() > deadline:
            raise StateError(
                f'source: replication slot "{name}" is in use by process {pid}'
                f" ({application or 'of another user'})",
                hint="stop what reads from it, or choose another with --slot-name",
            )
        log.warning("source: ending session %s of an earlier receive", pid)
        with reporting(source, "ending a stale session"):
            connection.execute("select pg_catalog.pg_terminate_backend(%s)", (pid,))
        time.sleep(0.1)


def _commit_time(plugin: Plugin, commit: bytes) -> int:
    """Return the time in a pgoutput COMMIT, in microseconds since 1970.

    The texts of other plugins are not read here; theirs is the time when the commit came.
    """
    if plugin is not Plugin.PGOUTPUT or len(commit) < _PGOUTPUT_COMMIT_BYTES:
        return _now()
    return int(_WAL_START(commit, 18)[0]) + POSTGRES_EPOCH_OFFSET


def _now() -> int:
    return time.time_ns() // 1000
