"""``stream transform``: JSON lines, or the changes stored in a work directory, become SQL text.

Whole transactions only: one is written at its COMMIT, so that whatever ends the input or this
process, the output holds nothing that could be taken for a transaction and is not. What lies
between is kept on disk when it is large.
"""

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Literal

from pgcopydb.cdc.capture import read_capture
from pgcopydb.cdc.follow import settle
from pgcopydb.cdc.text.lines import Spool, read_lines
from pgcopydb.cdc.text.notes import CompleteNote, Note, SourceNote, as_json, from_message
from pgcopydb.cdc.text.projection import Projection
from pgcopydb.cdc.transactions import Piece, TransactionReader, Void
from pgcopydb.decoding import make_decoder
from pgcopydb.decoding.timestamps import format_microseconds
from pgcopydb.errors import ConfigurationError, PgcopydbError, ProtocolError, UsageError
from pgcopydb.model.changes import Begin, Change, Commit, Message, Truncate
from pgcopydb.model.options import FollowOptions, Plugin
from pgcopydb.sql.render import (
    PREAMBLE,
    SqlRenderer,
    begin_line,
    commit_line,
    merge_truncates,
    note_line,
    transaction_header,
)
from pgcopydb.workdir.changelog import ChangelogReader, stored_start
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.sentinel import require_sentinel

_STANDARD: Final = "-"


def transform_command(
    work: WorkDirectory | None,
    source: Path | Literal["-"] | None,
    output: Path | None,
    follow: FollowOptions,
) -> None:
    """Write SQL to ``output`` (None: stdout) until the input ends, or endpos.

    ``source`` is a file of JSON lines or "-" for stdin; None takes what ``work`` has stored.
    Raises ProtocolError naming the line for input that is not JSON lines, StateError when nothing
    is stored, UsageError or ConfigurationError for a file that cannot be read or written.
    """
    with _writing(output, endless=source == _STANDARD) as file:
        writer = SqlWriter(file, follow.endpos or 0)
        if source is None:
            assert work is not None
            _transform_stored(work, writer, follow)
        elif source == _STANDARD:
            _transform_lines(sys.stdin.fileno(), "stdin", writer)
        else:
            with reading(source) as descriptor:
                _transform_lines(descriptor, str(source), writer)


class SqlWriter:
    """Writes transactions as SQL, each when it is complete."""

    def __init__(self, file: IO[bytes], endpos: int) -> None:
        self._file = file
        self._endpos = endpos
        self._renderer = SqlRenderer()
        self._spool = Spool()
        self._truncate: Truncate | None = None
        self._is_empty = True
        self.past_endpos = False
        file.writelines(line + b"\n" for line in PREAMBLE)

    def change(self, change: Change) -> None:
        """Add a change to the transaction under way."""
        waiting = self._truncate
        if isinstance(change, Truncate):
            merged = merge_truncates(waiting, change) if waiting is not None else change
            if merged is not None:
                self._truncate = merged
                return
        if waiting is not None:
            self._truncate = change if isinstance(change, Truncate) else None
            self._line(waiting)
        if not isinstance(change, Truncate):
            self._line(change)

    def commit(self, xid: int, end_lsn: int, commit_time: int) -> None:
        """Write the transaction, unless it changes nothing or ends beyond endpos."""
        if self._truncate is not None:
            self._line(self._truncate)
        if self._endpos and end_lsn > self._endpos:
            self.past_endpos = True
        elif not self._is_empty:
            time = format_microseconds(commit_time) if commit_time else None
            header = transaction_header(xid, end_lsn, time)
            self._file.write(begin_line(header))
            self._file.writelines(self._spool.take())
            self._file.write(commit_line(header))
        self.clear()

    def clear(self) -> None:
        """Forget the transaction under way."""
        self._spool.clear()
        self._truncate = None
        self._is_empty = True

    def note(self, note: Note) -> None:
        """Write a note between transactions."""
        self._file.write(note_line(as_json(note)))

    def finish(self, received: int | None = None) -> None:
        """Write up to which position everything is here, where that is known; then flush."""
        if self.past_endpos:
            self.note(CompleteNote(self._endpos))
        elif received is not None:
            self.note(CompleteNote(min(received, self._endpos or received)))
        self.flush()

    def flush(self) -> None:
        """Let a reader see what is written."""
        self._file.flush()

    def _line(self, change: Change) -> None:
        line = self._renderer.line(change)
        if line is not None:
            self._spool.append(line)
            self._is_empty = False


class _LineReader:
    """Feeds JSON lines to a writer, and knows what may follow what."""

    def __init__(self, writer: SqlWriter) -> None:
        self._writer = writer
        self._decoder = make_decoder(Plugin.WAL2JSON)
        self._begin: Begin | None = None

    @property
    def xid(self) -> int | None:
        """The transaction that has begun and is not complete."""
        return None if self._begin is None else self._begin.xid

    def line(self, line: bytes) -> None:
        """Take one line; raises ProtocolError when it is not one, or not in its place."""
        change = self._decoder.decode(line, 0)
        if change is None:
            return
        if isinstance(change, Begin):
            if self._begin is not None:
                raise ProtocolError(f"transaction {self._begin.xid} has no end before the next")
            self._begin = change
        elif isinstance(change, Commit):
            self._commit(change)
        elif isinstance(change, Message):
            note = from_message(change) if self._begin is None else None
            if note is not None:
                self._writer.note(note)
        elif self._begin is None:
            raise ProtocolError("a change outside of a transaction")
        else:
            self._writer.change(change)

    def _commit(self, commit: Commit) -> None:
        if self._begin is None or self._begin.xid != commit.xid:
            raise ProtocolError(f"the end of transaction {commit.xid} without its begin")
        self._writer.commit(
            commit.xid, commit.end_lsn, commit.commit_time or self._begin.commit_time
        )
        self._begin = None


def _transform_lines(descriptor: int, place: str, writer: SqlWriter) -> None:
    reader = _LineReader(writer)
    number = 0
    for line in read_lines(descriptor):
        if line is None:
            writer.flush()
            continue
        number += 1
        if not line.strip():
            continue
        try:
            reader.line(line)
        except PgcopydbError as error:
            error.message = f"{place}, line {number}: {_ours(error.message)}"
            raise
        if writer.past_endpos:
            break
    writer.finish()
    if reader.xid is not None and not writer.past_endpos:
        raise ProtocolError(
            f"{place} ends in the middle of transaction {reader.xid}, which is left out",
            hint="its writer was stopped: run it again, transactions that are applied already are"
            " skipped",
        )


def _ours(message: str) -> str:
    """A line need not come from wal2json, whose format it has."""
    return message.replace("wal2json sent a line that cannot be read", "it is not a JSON line")


def _transform_stored(work: WorkDirectory, writer: SqlWriter, follow: FollowOptions) -> None:
    """Write everything that is stored and was not pruned."""
    capture = read_capture(work)
    options = settle(work, follow)
    header = work.header()
    with work.store() as store:
        received = require_sentinel(store).received_lsn
    if header is not None and header.source and not header.source.startswith("None"):
        writer.note(SourceNote(header.source))
    project = Projection(capture)
    with contextlib.closing(ChangelogReader(work.cdc)) as reader:
        start = stored_start(work.cdc) or capture.start
        pieces = TransactionReader(reader, options.plugin, capture, start)
        for piece in pieces.read():
            _write_piece(piece, writer, project)
            if writer.past_endpos:
                break
    writer.finish(received)


def _write_piece(piece: Piece | Void, writer: SqlWriter, project: Projection) -> None:
    if isinstance(piece, Void):
        writer.clear()
        return
    for change in piece.changes:
        for written in project(change):
            writer.change(written)
    if piece.end_lsn:
        writer.commit(piece.xid, piece.end_lsn, piece.commit_time)


@contextmanager
def reading(path: Path) -> Iterator[int]:
    """Open a file to read; give its descriptor. Raises UsageError when that cannot be done."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise UsageError(f"{path} is a directory")
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _writing(path: Path | None, *, endless: bool) -> Iterator[IO[bytes]]:
    """Open the output, for its owner alone, as the rows in it may be secret.

    A file appears under its name when it is complete; but what comes from a pipe may never be, and
    is written as it comes.
    """
    if path is None:
        yield sys.stdout.buffer
        return
    try:
        if endless or (path.exists() and not path.is_file()):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
                yield file
            return
        with _replacing(path) as file:
            yield file
    except OSError as error:
        if error.filename is None:
            raise
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}", hint="give another OUT"
        ) from error


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
