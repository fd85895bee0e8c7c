"""``stream receive``: a slot's changes into the work directory, or as JSON lines on stdout.

On stdout come whole transactions only: one is kept until its COMMIT, on disk when it is large, and
then written at once. Nothing is kept here afterwards, so nothing is confirmed to the slot, unless
a target says by its durable origin what it has (ruling 9).
"""

import logging
import os
import select
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import psycopg
from msgspec import Struct
from msgspec.structs import replace

from pgcopydb.cdc.adopt import FoundSlot, adopt_slot, find_slot
from pgcopydb.cdc.capture import (
    identify,
    read_capture,
    refuse_other_server,
    refuse_other_source,
)
from pgcopydb.cdc.follow import set_endpos_from, settle
from pgcopydb.cdc.patience import Patience
from pgcopydb.cdc.receive import ReceiveTask, receive
from pgcopydb.cdc.source_setup import create_capture
from pgcopydb.cdc.streams import StreamedTransaction, StreamedTransactions, name_way_out
from pgcopydb.cdc.text.lines import Spool
from pgcopydb.cdc.text.notes import CompleteNote, Note, SourceNote, as_message, is_reserved
from pgcopydb.cdc.text.progress import applied_position
from pgcopydb.cdc.text.projection import Projection
from pgcopydb.cdc.watch import SourceWatch
from pgcopydb.decoding import MESSAGE_HEADER, make_decoder, plugin_options
from pgcopydb.decoding.jsonlines import JsonLinesEncoder
from pgcopydb.errors import Interrupted, PgcopydbError, ProtocolError, StateError, UsageError
from pgcopydb.lsn import format_lsn
from pgcopydb.model.changes import Begin, Change, Commit, Message
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import Filters
from pgcopydb.model.options import FollowOptions, NoIdentity, Streaming
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.replication import ReplicationStream, parse_keepalive
from pgcopydb.postgres.slot import read_slot, refuse_advanced, require_slot
from pgcopydb.runtime import signals
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.filters import effective_filters
from pgcopydb.workdir.sentinel import read_sentinel
from pgcopydb.workdir.store import RunHeader, note_confirmed

log = logging.getLogger(__name__)

_XLOG_DATA: Final = 0x77
_KEEPALIVE: Final = 0x6B

_WAIT: Final = 0.1
_STANDSTILL: Final = 5.0
"""Seconds for which a reader that takes nothing keeps a command from stopping."""
_STATUS_EVERY: Final = 1.0
"""Seconds between unsolicited status messages; far below any sane wal_sender_timeout."""

_FREE_SLOT_WITHIN: Final = 5.0

_FLUSH_BYTES: Final = 1 << 16


def receive_command(
    work: WorkDirectory | None,
    source: Endpoint,
    target: Endpoint | None,
    follow: FollowOptions,
    *,
    to_stdout: bool,
    filters: Path | None = None,
) -> None:
    """Receive until endpos or a signal, what ``filters`` or those of an earlier command take.

    Into ``work``: as ``cdc.receive.receive``, after adopting the slot where no capture was set up.
    With ``to_stdout``, where ``work`` need not be: print JSON lines, and return when a signal asks
    to stop. Raises StateError, ConfigurationError or the source's error.
    """
    if to_stdout:
        _print_changes(work, source, target, follow, filters)
        return
    assert work is not None
    options = _set_up(work, source, follow, filters)
    set_endpos_from(work, options)
    task = ReceiveTask(
        work=work,
        source=source,
        plugin=options.plugin,
        slot_name=options.slot_name,
        max_segment_bytes=options.max_segment_bytes,
        max_store_bytes=options.max_store_bytes,
        streaming=options.streaming,
    )
    with signals.stop_on_signals(), SourceWatch(work, source):
        receive(task)


def _set_up(
    work: WorkDirectory, source: Endpoint, follow: FollowOptions, filters: Path | None
) -> FollowOptions:
    header = work.header()
    if follow.create_slot and (header is None or header.consistent_point is None):
        with create_capture(work, source, follow, filters):
            return follow
    options = adopt_slot(work, source, follow, filters)
    refuse_other_source(work, source)
    return options


def _print_changes(
    work: WorkDirectory | None,
    source: Endpoint,
    target: Endpoint | None,
    follow: FollowOptions,
    filters: Path | None,
) -> None:
    if follow.create_slot:
        raise UsageError(
            "--create-slot contradicts --to-stdout: the slot must be made with its snapshot",
            hint="make it with snapshot --follow or stream setup --create-slot",
        )
    sys.stdout.flush()
    with signals.stop_on_signals(), ExitStack() as stack:
        found, options = _find(work, source, follow, effective_filters(work, filters))
        confirmed = (
            stack.enter_context(_Confirmed.of(target, options.origin, work))
            if target
            else _Nothing()
        )
        applied = _with_what_was_heard(work, confirmed())
        start = max(found.slot.confirmed_flush, _refuse_gap(found, applied))
        if options.endpos is not None and options.endpos < start:
            raise StateError(
                f"endpos {format_lsn(options.endpos)} is in the past: the slot's changes begin at"
                f" {format_lsn(start)}",
                hint="give a later --endpos",
            )
        output = Output(sys.stdout.fileno())
        printer = _Printer(_Printing(source, found, options, confirmed, start), output)
        if found.facts.system_identifier is not None:
            printer.note(SourceNote(identify(found.facts)))
        _keep_printing(printer)


def _find(
    work: WorkDirectory | None, source: Endpoint, follow: FollowOptions, filters: Filters
) -> tuple[FoundSlot, FollowOptions]:
    """Return the slot; a migration in ``work`` knows its name, its plugin and its tables."""
    header = work.header() if work is not None else None
    if work is None or header is None or header.consistent_point is None:
        return find_slot(source, follow, filters), follow
    refuse_other_source(work, source)
    options = settle(work, follow)
    # which tables are without identity was settled when the migration was begun
    found = find_slot(
        source,
        replace(options, given=options.given | {"plugin"}, no_identity=NoIdentity.INSERT_ONLY),
        filters,
    )
    return replace(found, capture=read_capture(work)), options


def _with_what_was_heard(work: WorkDirectory | None, applied: int) -> int:
    """Return how far a target is that has applied up to ``applied``.

    Behind its last commit the log of an idle source goes on, and a follow lets the slot go with it.
    Every transaction up to ``received_lsn`` was stored in ``work`` (ruling 10): a target that has
    the last of these has everything up to there.
    """
    if work is None or not applied:
        return applied
    with work.store() as store:
        sentinel = read_sentinel(store)
    if sentinel is None or applied < sentinel.flush_lsn:
        return applied
    return max(applied, sentinel.received_lsn)


def _refuse_gap(found: FoundSlot, applied: int) -> int:
    """Return ``applied``; raise StateError when the slot no longer has what comes after it."""
    if 0 < applied < found.slot.confirmed_flush:
        raise StateError(
            f'source: replication slot "{found.slot.name}" stands at'
            f" {format_lsn(found.slot.confirmed_flush)}, beyond {format_lsn(applied)}, up to which"
            " the target has applied",
            hint="something else has read from it, so changes are missing: clone again",
        )
    return applied


def _keep_printing(printer: "_Printer") -> None:
    """Print over as many connections as it takes, as ``cdc.receive.receive`` stores."""
    patience = Patience()
    while True:
        try:
            with printer:
                printer.run()
            return
        except PgcopydbError as error:
            if not isinstance(error, Interrupted):
                printer.flush()
            if printer.heard_anything:
                patience.renew()
            name_way_out(error, printer.streaming)
            patience.bear(error)
        if signals.stop_requested():
            return
        patience.pause()


class Output:
    """A descriptor to write to, without ever waiting for its reader in silence.

    A reader that is slow, or not there yet, must not end the replication stream: while the pipe is
    full ``idle`` is called several times a second (ruling 5).
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        # so much a pipe takes at once when it says that it takes anything
        self._step = select.PIPE_BUF if is_pipe else _FLUSH_BYTES
        self._waiting: list[bytes] = []
        self._bytes = 0
        self.idle: Callable[[], None] = lambda: None

    def write(self, data: bytes) -> None:
        """Write ``data``, soon."""
        self._waiting.append(data)
        self._bytes += len(data)
        if self._bytes >= _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write everything that was given; raises BrokenPipeError when nobody reads any more."""
        if not self._waiting:
            return
        view = memoryview(b"".join(self._waiting))
        self._waiting = []
        self._bytes = 0
        while view:
            self._wait_for_room()
            view = view[os.write(self._descriptor, view[: self._step]) :]

    def _wait_for_room(self) -> None:
        """Wait for the reader; raises Interrupted when it stands still and a signal says stop."""
        given_up: float | None = None
        while not self._poll.poll(_WAIT * 1000):
            self.idle()
            if given_up is None and signals.stop_requested():
                given_up = time.monotonic() + _STANDSTILL
            if given_up is not None and time.monotonic() > given_up:
                signals.raise_if_stopped()


class _Nothing:
    """Confirms nothing."""

    def __call__(self) -> int:
        return 0


@dataclass(slots=True)
class _Confirmed:
    """What the target has durably applied, asked once in a while.

    It is written down in ``work`` before it is confirmed to the slot.
    """

    connection: psycopg.Connection[Any]
    target: Endpoint
    origin: str
    work: WorkDirectory | None
    position: int = 0
    next_question: float = 0.0

    @classmethod
    @contextmanager
    def of(cls, target: Endpoint, origin: str, work: WorkDirectory | None) -> Iterator[Self]:
        """Open a session on the target for the length of the block."""
        with connect(target, purpose="receive progress") as connection:
            yield cls(connection, target, origin, work)

    def __call__(self) -> int:
        """Return the position; raises the target's error."""
        if time.monotonic() >= self.next_question:
            self.next_question = time.monotonic() + _STATUS_EVERY
            self.position = applied_position(self.connection, self.target, self.origin)
            if self.work is not None:
                with self.work.store() as store:
                    note_confirmed(store, self.position)
        return self.position


class _Printing(Struct, frozen=True):
    """What to print: the changes of a slot after ``start``, confirmed as ``confirmed`` says."""

    source: Endpoint
    found: FoundSlot
    follow: FollowOptions
    confirmed: Callable[[], int]
    start: int


class _Printer:
    """Prints a slot's transactions; entered once for every connection."""

    def __init__(self, task: _Printing, output: Output) -> None:
        self._source = task.source
        self._found = found = task.found
        self._slot_name = task.follow.slot_name
        self.streaming = task.follow.streaming
        self._streams: StreamedTransactions | None = None
        self._endpos = task.follow.endpos or 0
        self._output = output
        self._confirmed = task.confirmed
        self._has_target = isinstance(task.confirmed, _Confirmed)
        self._project = Projection(found.capture)
        self._spool = Spool()
        self._printed = self._received = self._source_lsn = task.start
        self.heard_anything = False

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._spool)
            if self.streaming is Streaming.ON:
                directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                self._streams = stack.enter_context(StreamedTransactions(directory / "streams"))
            self._stream = stack.enter_context(self._start())
            self._close = stack.pop_all()
        capture = self._found.capture
        self._decoder = make_decoder(self._found.plugin, capture.identities(), capture.encoding)
        self._encoder = JsonLinesEncoder()
        self._xid = 0
        self._begin = b""
        self._past_endpos = False
        self._next_status = self._next_question = 0.0
        self._failure: PgcopydbError | None = None
        self.heard_anything = False
        self._output.idle = self._stay_alive
        return self

    def __exit__(self, *exc: object) -> None:
        self._output.idle = lambda: None
        self._close.close()

    def _start(self) -> ReplicationStream:
        _wait_until_free(self._source, self._slot_name)
        self._refuse_another_history()
        log.info(
            'printing changes of slot "%s" from %s', self._slot_name, format_lsn(self._printed)
        )
        return ReplicationStream.start(
            self._source,
            slot_name=self._slot_name,
            start=self._printed,
            options=dict(
                plugin_options(
                    self._found.plugin,
                    server_version_num=self._found.facts.version_num,
                    publications=self._found.publications,
                    streaming=self.streaming,
                )
            ),
            filters=self._found.capture.filters,
        )

    def _refuse_another_history(self) -> None:
        """Raise StateError when the server or its slot is not what it was at the beginning."""
        facts = self._found.facts
        began = RunHeader(run_id="", source=identify(facts), source_timeline=facts.timeline)
        with connect(self._source, purpose="receive check") as connection:
            refuse_other_server(connection, self._source, began, stored=self._received)
            slot = require_slot(connection, self._source, self._slot_name, self._found.plugin.value)
            refuse_advanced(slot, self._received)

    def note(self, note: Note) -> None:
        """Print a note."""
        lsn = note.lsn if isinstance(note, CompleteNote) else 0
        self._output.write(JsonLinesEncoder().encode(as_message(note), lsn))

    def flush(self) -> None:
        """Write what is complete, though the connection is gone."""
        self._output.flush()

    def run(self) -> None:
        """Print until endpos is reached, or until a signal asks to stop."""
        while True:
            self._read_available()
            self._output.flush()
            if self._failure is not None:
                raise self._failure
            if self._endpos:
                self._ask()
            else:
                self._send_status()
            if self._reached_endpos():
                self.note(CompleteNote(self._endpos))
                self._output.flush()
                return
            if signals.stop_requested():
                log.info("stopped on request, after %s", format_lsn(self._printed))
                return
            self._stream.wait(_WAIT)

    def _read_available(self) -> None:
        for message in self._stream.messages():
            if self._past_endpos:
                return
            self.heard_anything = True
            if message[0] == _XLOG_DATA:
                if len(message) <= MESSAGE_HEADER:
                    raise ProtocolError("an XLogData message without a payload")
                self._take(message)
            elif message[0] == _KEEPALIVE:
                self._keepalive(message)
            else:
                raise ProtocolError(f"an unknown replication message of type {message[0]:#x}")

    def _keepalive(self, message: bytes) -> None:
        wal_end, wants_reply = parse_keepalive(message)
        self._source_lsn = max(self._source_lsn, wal_end)
        in_block = self._streams is not None and self._streams.in_block
        if not (self._xid or in_block):
            # everything that committed before wal_end has been sent
            self._received = max(self._received, wal_end)
        if wants_reply:
            self._send_status(now=True)
            self._let_source_stop(wal_end)

    def _let_source_stop(self, wal_end: int) -> None:
        """Leave a source that is shutting down: it would wait for a confirmation that never comes.

        A status is sent every second, so only a walsender that wants to end asks for one. What the
        target has applied does not reach the end of WAL while nothing is written for it.
        """
        if self._has_target and not self._xid and self._confirmed() < wal_end:
            raise self._source.error(
                "source: the server asks for a confirmation, as it does when it shuts down",
                retryable=True,
            )

    def _take(self, message: bytes) -> None:
        if self._streams is None:
            self._frame(int.from_bytes(message[1:9]), message[MESSAGE_HEADER:])
            return
        for part in self._streams.take([message]):
            for one in part.messages() if isinstance(part, StreamedTransaction) else part:
                self._frame(int.from_bytes(one[1:9]), one[MESSAGE_HEADER:])
                if self._past_endpos:
                    return
                self._send_status()  # there may be a large transaction to go through

    def _frame(self, wal_start: int, payload: bytes) -> None:
        change = self._decoder.decode(payload, wal_start)
        if change is None:
            return
        if isinstance(change, Begin):
            self._begin_transaction(change, wal_start)
        elif isinstance(change, Commit):
            self._commit(change, wal_start)
        elif self._xid:
            for written in self._project(change):
                self._append(written, wal_start)
        elif isinstance(change, Message) and not is_reserved(change):
            self._output.write(self._encoder.encode(change, wal_start))

    def _begin_transaction(self, begin: Begin, wal_start: int) -> None:
        self._xid = begin.xid
        self._begin = self._encoder.encode(begin, wal_start)
        # a commit record that starts at endpos ends beyond it
        self._past_endpos = bool(self._endpos) and begin.lsn >= self._endpos

    def _append(self, change: Change, wal_start: int) -> None:
        if self._begin:
            self._spool.append(self._begin)
            self._begin = b""
        self._spool.append(self._encoder.encode(change, wal_start))

    def _commit(self, commit: Commit, wal_start: int) -> None:
        """Print the transaction, unless it ends beyond endpos or has changed nothing."""
        end = commit.end_lsn
        is_empty = bool(self._begin)
        self._xid, self._begin = 0, b""
        if self._endpos and end > self._endpos:
            self._past_endpos = True
            self._spool.clear()
            return
        if end <= self._printed:
            self._spool.clear()  # sent again
            return
        if not is_empty:
            for piece in self._spool.take():
                self._output.write(piece)
            self._output.write(self._encoder.encode(commit, wal_start))
        self._printed = end
        self._received = max(self._received, end)
        self._source_lsn = max(self._source_lsn, end)

    def _stay_alive(self) -> None:
        """Answer for this process while it waits for the reader of its output.

        A failure waits until the output is written: half a line would be no use to anybody.
        """
        if self._failure is None:
            try:
                self._send_status()
            except PgcopydbError as error:
                self._failure = error

    def _ask(self) -> None:
        """Ask how far the server has read, but not again at once: its answer ends the wait."""
        if time.monotonic() >= self._next_question:
            self._next_question = time.monotonic() + _WAIT
            self._send_status(now=True, reply=True)

    def _send_status(self, *, now: bool = False, reply: bool = False) -> None:
        if not now and time.monotonic() < self._next_status:
            return
        self._next_status = time.monotonic() + _STATUS_EVERY
        # never beyond what the server has written, which it would believe (correctness M6)
        durable = min(self._confirmed(), self._source_lsn)
        self._stream.feedback(
            write=max(self._source_lsn, durable), flush=durable, apply=durable, reply=reply
        )

    def _reached_endpos(self) -> bool:
        return bool(self._endpos) and (self._past_endpos or self._received >= self._endpos)


def _wait_until_free(source: Endpoint, slot_name: str) -> None:
    """Wait for the walsender of a receive that has just ended.

    Raises StateError when somebody else streams from the slot.
    """
    deadline = time.monotonic() + _FREE_SLOT_WITHIN
    with connect(source, purpose="receive check") as connection:
        while (slot := read_slot(connection, source, slot_name)) and slot.active_pid is not None:
            if time.monotonic() > deadline:
                raise StateError(
                    f'source: replication slot "{slot_name}" is in use by process'
                    f" {slot.active_pid}",
                    hint="stop what reads from it, or choose another with --slot-name",
                )
            time.sleep(0.1)
