"""What this program tells itself inside its own text streams, beside the changes.

Two notes travel from ``stream receive --to-stdout`` to ``stream apply``: which database the changes
are from, so that a target's origin is never compared with another database's positions, and up to
which position everything has been given, so that an end at endpos differs from a broken pipe.

In JSON lines they are non-transactional messages under prefixes of this program's own, which
readers of wal2json's format pass over; in SQL they are comments with a JSON object.
"""

from typing import Final

import msgspec
from msgspec import Struct

from pgcopydb.errors import ProtocolError
from pgcopydb.lsn import format_lsn, parse_lsn
from pgcopydb.model.changes import Message

_SOURCE: Final = "pgcopydb.source"
_COMPLETE: Final = "pgcopydb.complete"


class SourceNote(Struct, frozen=True):
    """The changes that follow are of this database: system identifier and database oid."""

    source: str


class CompleteNote(Struct, frozen=True):
    """Everything that committed at or before ``lsn`` has been given."""

    lsn: int


Note = SourceNote | CompleteNote


class _Json(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    source: str | None = None
    complete: str | None = None


def as_message(note: Note) -> Message:
    """Return the note as a message to be written as a JSON line."""
    if isinstance(note, SourceNote):
        return Message(False, _SOURCE, note.source.encode())
    return Message(False, _COMPLETE, format_lsn(note.lsn).encode())


def is_reserved(message: Message) -> bool:
    """Tell whether a message would be taken for a note; the source's own must not pass as one."""
    return not message.transactional and message.prefix in {_SOURCE, _COMPLETE}


def from_message(message: Message) -> Note | None:
    """Return the note in a message, None when it is an application's.

    Raises ProtocolError for one that is damaged.
    """
    if not is_reserved(message):
        return None
    try:
        text = message.content.decode()
        if message.prefix == _SOURCE:
            return SourceNote(text)
        return CompleteNote(parse_lsn(text))
    except ValueError as error:
        raise ProtocolError(f"a damaged note under the prefix {message.prefix}") from error


def as_json(note: Note) -> bytes:
    """Return the note as the JSON object of an SQL comment."""
    if isinstance(note, SourceNote):
        return msgspec.json.encode(_Json(source=note.source))
    return msgspec.json.encode(_Json(complete=format_lsn(note.lsn)))


def from_comment(line: bytes) -> Note | None:
    """Return the note in a comment line, None for a comment of somebody else."""
    try:
        found = msgspec.json.decode(line.removeprefix(b"--").strip(), type=_Json)
        if found.source is not None:
            return SourceNote(found.source)
        return None if found.complete is None else CompleteNote(parse_lsn(found.complete))
    except (msgspec.MsgspecError, ValueError):
        return None
