"""The SQLite catalogue of a work directory: opening it, and what every command keeps in it.

SQLite is the only state that the processes of a run share. Connections are opened with
``synchronous=FULL``: a commit here is on disk when it returns, which is what allows a position
to be confirmed to the source afterwards.
"""

import shutil
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pgcopydb.errors import StateError
from pgcopydb.model.capture import OwnPublication
from pgcopydb.workdir.jobs import JOBS_SCHEMA
from pgcopydb.workdir.schema import schema_difference
from pgcopydb.workdir.sentinel import SENTINEL_SCHEMA, read_sentinel
from pgcopydb.workdir.transaction import transaction
from pgcopydb.workdir.waiting import LOOK_EVERY, WaitingConnection

LARGE_OBJECTS_COPIED = "large objects copied"
"""The fact that tells a follow whether the copy was to bring the large objects."""

_SCHEMA_VERSION = 9

_SCHEMA = """
create table if not exists header (
  id integer primary key check (id = 1),
  content blob not null,
  checksum integer not null
) strict;
create table if not exists command_run (
  id integer primary key,
  role text not null,
  command text not null,
  pid integer not null,
  started text not null default (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
  finished text,
  outcome text
) strict;
create table if not exists fact (
  name text primary key,
  content blob not null,
  checksum integer not null
) strict;
create table if not exists conflict (
  lsn integer not null,
  ordinal integer not null,
  xid integer not null,
  schema_name text not null,
  table_name text not null,
  kind text not null,
  key text not null,
  reason text not null,
  action text not null,
  primary key (lsn, ordinal)
) strict, without rowid;
"""

_WHOLE_SCHEMA = _SCHEMA + JOBS_SCHEMA + SENTINEL_SCHEMA


class RunHeader(Struct, frozen=True, kw_only=True):
    """What one migration is about; once a field is set it does not change.

    ``source`` and ``target`` identify a database: system identifier and database oid, as
    ``"7612.../16384"``. LSNs are integers.
    """

    run_id: str
    source: str | None = None
    source_timeline: int | None = None
    target: str | None = None
    snapshot: str | None = None
    plugin: str | None = None
    streaming: bool = False
    """Whether large transactions are received in progress, as the last receive was told to."""
    slot_name: str | None = None
    slot_created: bool = False
    slot_dropped: bool = False
    """Whether a copy that failed took its slot along: what is stored of it fits no other copy."""
    publication: str | None = None
    publication_created: bool = False
    publications: tuple[OwnPublication, ...] = ()
    """Those that were created; one that was found ready made is not among them."""
    origin: str | None = None
    progress: str | None = None
    """How the target records what is applied: ``origin`` or ``table`` (ruling 22)."""
    consistent_point: int | None = None
    confirmed: int = 0
    """Up to where the slot may have been confirmed beside what the sentinel says."""
    target_claimed: bool = False
    """Whether a whole copy was begun into a target that was empty, or may be replaced."""
    copy_finished: bool = False
    constraints_deferred: bool = False
    """Whether foreign keys and triggers are created after the drain (ruling 21)."""
    sequences_synchronized: bool = False
    cleaned_up: bool = False
    """Whether what it had on the servers is removed: nothing can go on with it."""


@contextmanager
def open_store(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the catalogue at ``path``, creating it if need be; autocommit, rows as tuples.

    Raises StateError when the file is not a catalogue of this version of the program.
    """
    try:
        connection = connect_sqlite(path)
        version = connection.execute("pragma user_version").fetchone()[0]
        if version == 0:
            connection.executescript(_WHOLE_SCHEMA)
            connection.execute(f"pragma user_version = {_SCHEMA_VERSION:d}")
        elif version != _SCHEMA_VERSION:
            connection.close()
            raise StateError(
                f"{path} was written by another version of pgcopydb (format {version})",
                hint="finish that migration with the version that began it, or use another --dir",
            )
        else:
            _refuse_other_schema(path, connection)
    except sqlite3.DatabaseError as error:
        refuse_full_disk(path, error)
        if _is_of_damage(error):
            raise _unusable(path, str(error)) from error
        raise StateError(
            f"{path} cannot be opened: {error}",
            hint="look at the rights and the state of that disk, then run it again; nothing is lost"
            " by that",
        ) from error
    except UnicodeDecodeError as error:  # of a message that quotes what it cannot read
        raise _unusable(path, "its schema is damaged") from error
    try:
        yield connection
    except sqlite3.DatabaseError as error:
        refuse_full_disk(path, error)
        if _is_of_damage(error):
            raise _unusable(path, str(error)) from error
        raise
    except msgspec.DecodeError as error:
        raise _unusable(path, f"what it holds cannot be read ({error})") from error
    finally:
        connection.close()


_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
"""The last one is what SQLite says of a table or column that a damaged schema does not have."""


def _is_of_damage(error: sqlite3.Error) -> bool:
    # Text that is no UTF-8 is Python's own finding, and has no code of SQLite's.
    undecodable = isinstance(error, sqlite3.OperationalError) and not _primary_code(error)
    return undecodable or _primary_code(error) in _DAMAGED


def _refuse_other_schema(path: Path, connection: sqlite3.Connection) -> None:
    difference = schema_difference(connection, _WHOLE_SCHEMA)
    if difference is not None:
        connection.close()
        raise _unusable(path, difference)


def refuse_damaged(path: Path, connection: sqlite3.Connection) -> None:
    """Raise StateError when pages or indexes of the catalogue are not what SQLite wrote.

    That reads all of it, so it is done once a command. What rows hold is not looked at.
    """
    (problem,) = connection.execute("pragma integrity_check(1)").fetchone()
    if problem != "ok":
        raise _unusable(path, " ".join(problem.split()))


def _unusable(path: Path, why: str) -> StateError:
    return StateError(
        f"{path} is not usable as the catalogue of a work directory: {why}",
        hint="use another --dir, or start over with --restart",
    )


_LEAST_ROOM: Final = 64 << 10
"""Bytes that are free at least where an I/O error is not one of room: SQLite's index of its log
grows by 32 kB, and that there is none for it is an I/O error to SQLite."""


def refuse_full_disk(path: Path, error: sqlite3.Error, *, needed: int = 0) -> None:
    """Raise StateError when ``error`` means that the disk of ``path`` has no room, or fails.

    ``needed`` is how many bytes were to be written.
    """
    code = _primary_code(error)
    if code not in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
        return
    if code == sqlite3.SQLITE_IOERR and _any_room(path.parent):
        raise StateError(
            f"{path.parent} cannot be read or written ({error})",
            hint="look at that disk, then go on with --resume",
        ) from error
    size = f"{needed / (1 << 20):,.1f} MB more" if needed else "more"
    raise StateError(
        f"{path.parent} has no room for {size} ({error})",
        hint="make room on that disk, then go on with --resume: what could not be stored has not"
        " been confirmed to the source, which keeps it",
    ) from error


def _any_room(directory: Path) -> bool:
    try:
        return shutil.disk_usage(directory).free >= _LEAST_ROOM
    except OSError:  # of a disk that has gone away
        return True


def _primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code, without what the extended one says beside it."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def connect_sqlite(path: Path, *, create: bool = True) -> sqlite3.Connection:
    """Open a SQLite file the way this program does everywhere: WAL, every commit durable.

    Without ``create`` raises sqlite3.OperationalError when there is no such file.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}",
        timeout=LOOK_EVERY,
        isolation_level=None,
        check_same_thread=False,
        uri=True,
        factory=WaitingConnection,
    )
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    return connection


def has_begun(connection: sqlite3.Connection) -> bool:
    """Tell whether the migration kept here owns something on a server, or has copied anything."""
    header = read_header(connection)
    if header is None:
        return False
    copied = connection.execute("select 1 from fact where name like 'copy step: %'").fetchone()
    return header.consistent_point is not None or header.slot_created or copied is not None


def read_header(connection: sqlite3.Connection) -> RunHeader | None:
    """Return the header of the migration that this catalogue belongs to, if one was begun."""
    row = connection.execute("select content, checksum from header").fetchone()
    if row is None:
        return None
    return msgspec.json.decode(_undamaged("header", *row), type=RunHeader)


def read_header_to_clean_up(connection: sqlite3.Connection) -> RunHeader | None:
    """Return the header with all that is known of how far its slot may have been confirmed."""
    header = read_header(connection)
    if header is None:
        return None
    try:
        sentinel = read_sentinel(connection)
    except StateError:  # it is damaged, which is no reason to leave anything else on the servers
        return header
    if sentinel is None:
        return header
    return replace(header, confirmed=max(header.confirmed, sentinel.received_lsn))


def note_confirmed(connection: sqlite3.Connection, position: int) -> None:
    """Write down that the slot may be confirmed up to ``position``, before it is.

    By that a slot is known as the one that was created here; see ``cdc.source_setup``.
    """
    header = read_header(connection)
    if header is not None and position > header.confirmed:
        update_header(connection, confirmed=position)


def write_header(connection: sqlite3.Connection, header: RunHeader) -> None:
    """Store ``header``, replacing what was there."""
    content = msgspec.json.encode(header)
    connection.execute(
        "insert into header (id, content, checksum) values (1, ?, ?) on conflict (id)"
        " do update set content = excluded.content, checksum = excluded.checksum",
        (content, _checksum("header", content)),
    )


def update_header(connection: sqlite3.Connection, **changes: Any) -> RunHeader:
    """Set fields of the stored header and return it as it is now."""
    with transaction(connection):
        header = read_header(connection)
        if header is None:
            raise StateError(
                "the work directory holds no migration yet",
                hint="begin one with clone, or with snapshot --follow",
            )
        header = replace(header, **changes)
        write_header(connection, header)
    return header


_STARTED_OVER: Final = "runs started over"


def read_started_over(connection: sqlite3.Connection) -> tuple[RunHeader, ...]:
    """Return the headers of runs that were removed, whose traces may still be on the servers."""
    found: tuple[RunHeader, ...] | None = read_fact(
        connection, _STARTED_OVER, tuple[RunHeader, ...]
    )
    return found or ()


def write_started_over(connection: sqlite3.Connection, headers: tuple[RunHeader, ...]) -> None:
    """Keep the headers of runs whose traces are still to be removed, instead of those of before."""
    write_fact(connection, _STARTED_OVER, headers)


def read_fact(connection: sqlite3.Connection, name: str, kind: Any) -> Any:
    """Return the value stored as ``name``, decoded as ``kind``, or None when there is none."""
    row = connection.execute(
        "select content, checksum from fact where name = ?", (name,)
    ).fetchone()
    return None if row is None else msgspec.json.decode(_undamaged(name, *row), type=kind)


def write_fact(connection: sqlite3.Connection, name: str, value: object) -> None:
    """Store a value that other commands of the migration will read."""
    content = msgspec.json.encode(value)
    connection.execute(
        "insert into fact (name, content, checksum) values (?, ?, ?) on conflict (name)"
        " do update set content = excluded.content, checksum = excluded.checksum",
        (name, content, _checksum(name, content)),
    )


def _checksum(name: str, content: bytes) -> int:
    """Return the checksum of a row: SQLite does not notice when a byte of its file has changed."""
    return zlib.crc32(content, zlib.crc32(name.encode()))


def _undamaged(name: str, content: bytes, checksum: int) -> bytes:
    """Return the content of a row; raise StateError when it is not what was written."""
    if checksum != _checksum(name, content):
        raise StateError(
            f'what the work directory holds as "{name}" is damaged: its checksum is wrong',
            hint="start over with --restart, or use another --dir",
        )
    return content
