"""Decode wal2json format-version 2, and the JSON lines of this program, which extend it.

Each payload is one JSON object. ``value`` stays raw JSON text: a number keeps the digits that the
server printed. What the plugin does, seen in version 2.5:

* A number, true, false or null is bare; NaN and infinities are bare ``null`` too, unless the
  plugin knows ``numeric-data-types-as-string``. Values of domains are always strings.
* bytea comes without its ``\\x``; arrays of bytea and domains over it keep theirs.
* ``identity`` is in every UPDATE, also when it did not change; a column that is an unchanged
  TOASTed value is left out of ``columns``. NULLs in it are printed as null.
* Types carry their modifiers: ``numeric(10,2)``. A type that needs quotes is printed without
  JSON's own (``"type":"Odd"."t"``), which is no JSON.
* TRUNCATE is one object a table, without CASCADE or RESTART IDENTITY.
* The content of a message ends at its first zero byte and need not be UTF-8.

This program's lines add, for what wal2json does not say: ``full`` and ``key`` (the identity),
``relations``, ``cascade``, ``restart_identity`` and ``continued`` (TRUNCATE), ``content_hex``.
"""

import json
import re
from typing import Final

import msgspec
from msgspec import Raw, Struct

from pgcopydb.decoding.encodings import python_encoding
from pgcopydb.decoding.timestamps import TimestampReader
from pgcopydb.errors import ProtocolError
from pgcopydb.lsn import parse_lsn
from pgcopydb.model.changes import (
    UNCHANGED,
    Begin,
    Change,
    Commit,
    Delete,
    Identities,
    Insert,
    Message,
    Relation,
    Row,
    Truncate,
    Update,
    Value,
)


class _Column(Struct, gc=False):
    name: str
    value: Raw
    type: str = ""


class _Table(Struct, gc=False):
    schema: str
    table: str


class _Line(Struct, gc=False, tag_field="action"):
    pass


class _BeginLine(_Line, gc=False, tag="B"):
    xid: int
    timestamp: str | None = None
    lsn: str | None = None


class _CommitLine(_Line, gc=False, tag="C"):
    xid: int
    timestamp: str | None = None
    nextlsn: str | None = None


class _InsertLine(_Line, gc=False, tag="I"):
    schema: str
    table: str
    columns: list[_Column]
    key: tuple[str, ...] | None = None
    full: bool = False


class _UpdateLine(_Line, gc=False, tag="U"):
    schema: str
    table: str
    columns: list[_Column]
    identity: list[_Column]
    full: bool | None = None


class _DeleteLine(_Line, gc=False, tag="D"):
    schema: str
    table: str
    identity: list[_Column]
    full: bool | None = None


class _TruncateLine(_Line, gc=False, tag="T"):
    schema: str
    table: str
    relations: list[_Table] | None = None
    cascade: bool = False
    restart_identity: bool = False
    continued: bool = False


class _MessageLine(_Line, gc=False, tag="M"):
    prefix: Raw  # not text yet: nothing says that a message is in any encoding
    content: Raw
    transactional: bool
    content_hex: str | None = None


_AnyLine = (
    _InsertLine
    | _UpdateLine
    | _DeleteLine
    | _BeginLine
    | _CommitLine
    | _TruncateLine
    | _MessageLine
)

_decode_line: Final = msgspec.json.Decoder(_AnyLine).decode
_decode_string: Final = msgspec.json.Decoder(str).decode
_MODIFIER = re.compile(r"\([^()\"]*\)")
_PART = rb'(?:"(?:[^"]|"")*"|[a-z_][a-z0-9_]*)'
# A type name that wal2json printed with SQL's quotes where JSON's belong. Inside a JSON string the
# quotes of `,"type":` would have backslashes, so that no value can look like this.
_RAW_TYPE = re.compile(rb',"type":(%s(?:\.%s)?)(?=,"value":)' % (_PART, _PART))
_MESSAGE_START = b'{"action":"M"'
_RELATIONS_KEPT = 10_000  # each set of unchanged TOASTed columns of a table has one of its own
_QUOTE = b'"'[0]
_NUMBER_STARTS = frozenset(b"-0123456789")
_WORDS: Final[dict[bytes, bytes | None]] = {b"null": None, b"true": b"t", b"false": b"f"}

_Shape = tuple[str, str, tuple[str, ...], tuple[str, ...], tuple[str, ...] | None, bool]


class Wal2jsonDecoder:
    """Turn wal2json objects into changes, one payload at a time.

    ``identities`` says which columns each table's identity has; without it, the identity is what
    UPDATE and DELETE print (in an UPDATE, all columns: FULL), and an INSERT tells none.
    ``encoding`` is the server's.
    """

    __slots__ = ("_encoding", "_identities", "_relations", "_times")

    def __init__(self, identities: Identities | None = None, encoding: str = "utf-8") -> None:
        self._identities = identities or {}
        self._encoding = python_encoding(encoding)
        self._relations: dict[_Shape, Relation] = {}
        self._times = TimestampReader()

    def decode(self, payload: bytes, wal_start: int) -> Change | None:
        """Return the change in one object; None for the rest of a TRUNCATE already given.

        ``wal_start`` stands in for a position that the object does not carry.
        Raise ProtocolError for anything that is not such an object.
        """
        try:
            if self._encoding is not None and not payload.startswith(_MESSAGE_START):
                payload = payload.decode(self._encoding).encode()
            try:
                line = _decode_line(payload)
            except msgspec.DecodeError:  # which may be that of a type's name
                line = _decode_line(_repaired(payload))
            return self._change(line, wal_start)
        except (msgspec.MsgspecError, ValueError, OverflowError) as error:
            raise ProtocolError(f"wal2json sent a line that cannot be read: {error}") from error
        except RecursionError as error:
            raise ProtocolError("wal2json sent a line that is nested too deeply") from error

    def _change(self, line: _AnyLine, wal_start: int) -> Change | None:  # noqa: PLR0911 - one a kind
        if isinstance(line, _InsertLine):
            return self._insert(line)
        if isinstance(line, _UpdateLine):
            return self._update(line)
        if isinstance(line, _DeleteLine):
            return self._delete(line)
        if isinstance(line, _BeginLine):
            lsn = 0 if line.lsn is None else parse_lsn(line.lsn)
            return Begin(line.xid, lsn, self._time(line.timestamp))
        if isinstance(line, _CommitLine):
            end = wal_start if line.nextlsn is None else parse_lsn(line.nextlsn)
            if not end:
                raise ValueError("a COMMIT without its position (nextlsn)")
            return Commit(line.xid, end, self._time(line.timestamp))
        if isinstance(line, _TruncateLine):
            return self._truncate(line)
        return self._message(line)

    def _insert(self, line: _InsertLine) -> Insert:
        names, types, new = _row(line.columns)
        known = self._identities.get((line.schema, line.table))
        if known is not None:
            relation = self._relation(line, names, types, known.columns, known.full)
        else:
            relation = self._relation(line, names, types, line.key or (), line.full)
        return Insert(relation, new)

    def _update(self, line: _UpdateLine) -> Update:
        names, types, new = _row(line.columns)
        key, key_types, old = _row(line.identity)
        unsent = tuple([name for name in key if name not in names])
        if unsent:
            names, types, new = _with_unchanged(names, types, new, key, key_types)
        full = self._full(line, key, len(key) == len(names))
        relation = self._relation(line, names, types, key, full)
        if full:
            return Update(relation, _placed(relation, key, old), new)
        positions = relation.key
        if tuple([new[position] for position in positions]) == old:
            return Update(relation, None, new)
        return Update(relation, _placed(relation, key, old), new)

    def _delete(self, line: _DeleteLine) -> Delete:
        key, types, old = _row(line.identity)
        full = self._full(line, key, None in old)
        return Delete(self._relation(line, key, types, key, full), old)

    def _full(self, line: _UpdateLine | _DeleteLine, key: tuple[str, ...], guess: bool) -> bool:
        """Whether the identity is the whole row: as known, as the line says, else as it looks."""
        known = self._identities.get((line.schema, line.table))
        if known is not None:
            return known.full
        return (guess and bool(key)) if line.full is None else line.full

    def _relation(
        self,
        line: _InsertLine | _UpdateLine | _DeleteLine,
        names: tuple[str, ...],
        types: tuple[str, ...],
        key: tuple[str, ...],
        full: bool,
    ) -> Relation:
        """Return the relation of these columns: one object as long as they stay the same."""
        shape = (line.schema, line.table, names, types, key, full)
        relation = self._relations.get(shape)
        if relation is None:
            relation = Relation(
                schema=line.schema,
                name=line.table,
                columns=names,
                types=tuple(_without_modifiers(name) for name in types),
                key=() if full else _positions(key, names),
                full=full,
            )
            if len(self._relations) >= _RELATIONS_KEPT:
                self._relations.clear()
            self._relations[shape] = relation
        return relation

    def _truncate(self, line: _TruncateLine) -> Truncate | None:
        if line.continued:
            return None
        tables = line.relations or [_Table(line.schema, line.table)]
        relations = tuple([self._truncated(table) for table in tables])
        return Truncate(relations, line.cascade, line.restart_identity)

    def _truncated(self, table: _Table) -> Relation:
        known = self._identities.get((table.schema, table.table))
        return Relation(table.schema, table.table, (), (), (), known is not None and known.full)

    def _message(self, line: _MessageLine) -> Message:
        prefix = _string(line.prefix).decode(self._encoding or "utf-8")
        content = _string(line.content)
        if line.content_hex is not None:
            content = bytes.fromhex(line.content_hex)
        return Message(line.transactional, prefix, content)

    def _time(self, text: str | None) -> int:
        return 0 if text is None else self._times.microseconds(text)


def _positions(key: tuple[str, ...], names: tuple[str, ...]) -> tuple[int, ...]:
    for name in key:
        if name not in names:
            raise ValueError(f'the identity\'s column "{name}" is not in the row')
    return tuple(sorted(names.index(name) for name in key))


_Columns = tuple[tuple[str, ...], tuple[str, ...], Row]


def _row(columns: list[_Column]) -> _Columns:
    """Return the names, types and values of ``columns``."""
    values: list[Value] = []
    append = values.append
    for column in columns:
        raw = bytes(column.value)
        first = raw[0]
        if first == _QUOTE:
            value = _unescaped(raw) if b"\\" in raw else raw[1:-1]
            if column.type == "bytea" and not value.startswith(b"\\x"):
                value = b"\\x" + value
            append(value)
        elif first in _NUMBER_STARTS:
            append(raw)
        elif raw in _WORDS:
            append(_WORDS[raw])
        else:
            raise ValueError(f'column "{column.name}" has a value that is no scalar')
    names = tuple([column.name for column in columns])
    types = tuple([column.type for column in columns])
    return names, types, tuple(values)


def _string(raw: Raw) -> bytes:
    """Return the bytes of a JSON value that must be a string."""
    text = bytes(raw)
    if not text.startswith(b'"'):
        raise ValueError("a message whose prefix or content is no string")
    return _unescaped(text)


def _unescaped(raw: bytes) -> bytes:
    """Return the text of a JSON string; bytes that are not UTF-8 (SQL_ASCII) stay as they are."""
    try:
        return _decode_string(raw).encode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = json.loads(raw.decode("utf-8", "surrogateescape"), strict=False)
        return str(text).encode("utf-8", "surrogateescape")


def _with_unchanged(
    names: tuple[str, ...],
    types: tuple[str, ...],
    new: Row,
    key: tuple[str, ...],
    key_types: tuple[str, ...],
) -> _Columns:
    """Add to a new row the identity's columns that it leaves out because they are unchanged."""
    sent = dict(zip(names, zip(types, new, strict=True), strict=True))
    told = dict(zip(key, key_types, strict=True))
    order = key if sent.keys() <= told.keys() else (*names, *(n for n in key if n not in sent))
    columns = [(name, *sent.get(name, (told.get(name, ""), UNCHANGED))) for name in order]
    return tuple(c[0] for c in columns), tuple(c[1] for c in columns), tuple(c[2] for c in columns)


def _placed(relation: Relation, key: tuple[str, ...], old: Row) -> Row:
    """Return the identity's values at their columns' positions, None elsewhere."""
    if key == relation.columns:
        return old
    values = dict(zip(key, old, strict=True))
    return tuple([values.get(name) for name in relation.columns])


def _without_modifiers(name: str) -> str:
    """``numeric(10,2)`` is ``numeric``, ``timestamp(3) with time zone`` likewise."""
    return name if '"' in name and name != '"char"' else _MODIFIER.sub("", name)


def _repaired(payload: bytes) -> bytes:
    """Return a line in which the type names that wal2json did not quote as JSON are."""
    return _RAW_TYPE.sub(lambda found: b',"type":' + _as_json(found[1]), payload)


def _as_json(name: bytes) -> bytes:
    if name.count(b'"') == 2 and name.startswith(b'"') and name.endswith(b'"'):
        return name  # one plain identifier in quotes is JSON already
    return msgspec.json.encode(name.decode())
