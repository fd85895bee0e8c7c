"""Decode test_decoding, the text output plugin of PostgreSQL's contrib.

The format is meant for people and nowhere documented; it is what version 15 prints::

    BEGIN 731
    table public.t: INSERT: id[integer]:1 name[text]:'it''s' note[text]:null
    table public.t: UPDATE: old-key: id[integer]:1 new-tuple: id[integer]:3 name[text]:'x' ...
    table public.t: DELETE: id[integer]:3
    table public.a, public.b: TRUNCATE: restart_seqs cascade
    message: transactional: 1 prefix: p, sz: 3 content:abc
    COMMIT 731 (at 2026-11-23 17:52:40.519701+00)

Names and types are SQL's, quoted where needed, so that they may hold every byte of the syntax
around them. In a quoted value only the quote is doubled; a backslash is a backslash. Numbers, true
and false are bare, bit strings are ``B'0101'``. A DELETE and an ``old-key`` leave out NULLs, so
that a row of NULLs is printed as nothing at all. The position of the COMMIT frame is the end of
the transaction (correctness M9).

A line does not say which columns are the identity, so ``Identities`` must; only where an old row
lacks some of those, what it has is taken for the identity that the table was given since. The
columns of a relation are known once a line of its printed them all; the reader of a line compares
it with what the table's last line looked like, and takes it apart only when it differs.
"""

import re
from typing import Final, NoReturn

from pgcopydb.decoding.encodings import python_encoding
from pgcopydb.decoding.timestamps import TimestampReader
from pgcopydb.errors import ProtocolError, StateError
from pgcopydb.model.changes import (
    UNCHANGED,
    Begin,
    Change,
    Commit,
    Delete,
    Identities,
    Identity,
    Insert,
    Message,
    Relation,
    Row,
    Truncate,
    Update,
    Value,
)

_NAME = rb'(?:"(?:[^"]|"")*"|[^". ,:\[]+)'
_TABLE = re.compile(rb"(%s)\.(%s)" % (_NAME, _NAME))
_COLUMN = re.compile(rb' (%s)\[((?:"(?:[^"]|"")*"|\[\]|[^"\[\]])*)\]:' % _NAME)
_COMMIT = re.compile(rb"COMMIT (\d+)(?: \(at ([^()]*)\))?")
_BEGIN = re.compile(rb"BEGIN (\d+)")
_MESSAGE = re.compile(rb"message: transactional: ([01]) prefix: ")
_SIZE = re.compile(rb", sz: (\d+) content:")
_FLAGS = {
    b"(no-flags)": (False, False),
    b"restart_seqs": (False, True),
    b"cascade": (True, False),
    b"restart_seqs cascade": (True, True),
}
_QUOTE = b"'"[0]
_BIT_STRING = b"B'"
_WORDS: Final[dict[bytes, Value]] = {
    b"null": None,
    b"true": b"t",
    b"false": b"f",
    b"unchanged-toast-datum": UNCHANGED,
}
_OLD_KEY = b" old-key:"
_NEW_TUPLE = b" new-tuple:"
_NO_TUPLE = b" (no-tuple-data)"
_INSERT, _UPDATE, _DELETE = b" INSERT:", b" UPDATE:", b" DELETE:"
_TRUNCATE = b" TRUNCATE: "


class _Shape:
    """How the rows of one table look: what stands before each value, and what that means."""

    __slots__ = ("prefixes", "relation")

    def __init__(self, prefixes: tuple[bytes, ...], relation: Relation) -> None:
        self.prefixes = prefixes
        self.relation = relation


class _Table:
    """A table as its lines showed it so far."""

    __slots__ = ("_naming", "identity", "key_shape", "name", "row_shape", "schema")

    def __init__(self, schema: str, name: str, identity: Identity | None) -> None:
        self.schema = schema
        self.name = name
        self.identity = identity
        self.row_shape: _Shape | None = None
        self.key_shape: _Shape | None = None
        self._naming: tuple[bytes, ...] | None = None

    def is_named_by(self, prefixes: tuple[bytes, ...]) -> bool:
        """Tell whether the old columns of a line hold the identity, as far as that is known.

        They do not when the table was given another identity, whose columns these are, meanwhile.
        """
        if self.identity is None:
            return False
        if self.identity.full or prefixes == self._naming:
            return True
        names, _ = _names_and_types(prefixes)
        if not set(self.identity.columns) <= set(names):
            return False
        self._naming = prefixes
        return True


_Parsed = tuple[tuple[bytes, ...], Row, int]


class TestDecodingDecoder:
    """Turn test_decoding's lines into changes, one payload at a time.

    ``identities`` says which columns each table's identity has. Without it, the identity is the
    columns that an UPDATE or DELETE prints, and no FULL row is known as such.
    ``encoding`` is the server's.
    """

    __slots__ = ("_encoding", "_identities", "_tables", "_times")

    def __init__(self, identities: Identities | None = None, encoding: str = "utf-8") -> None:
        self._identities = identities or {}
        self._encoding = python_encoding(encoding)
        self._tables: dict[bytes, _Table] = {}
        self._times = TimestampReader()

    def decode(self, payload: bytes, wal_start: int) -> Change | None:
        """Return the change in one line; ``wal_start`` is the frame's position.

        Raise ProtocolError for anything that is not such a line.
        """
        try:
            if payload.startswith(b"message: "):
                return self._message(payload)
            if self._encoding is not None:
                payload = payload.decode(self._encoding).encode()
            if payload.startswith(b"table "):
                return self._table_change(payload)
            if payload.startswith(b"BEGIN "):
                return _begin(payload)
            return self._commit(payload, wal_start)
        except (IndexError, ValueError, OverflowError) as error:
            raise ProtocolError(
                f"test_decoding sent a line that cannot be read: {payload[:60]!r}, {error}"
            ) from error

    def _table_change(self, line: bytes) -> Change:
        end = line.index(b":", 6)
        if line.find(b'"', 6, end) >= 0 or line.find(b",", 6, end) >= 0:
            end = _end_of_names(line)
        names = line[6:end]
        start = end + 9  # the actions on rows are equally long: " INSERT:"
        action = line[end + 1 : start]
        if action == _INSERT:
            return self._insert(self._table(names), line, start)
        if action == _UPDATE:
            return self._update(self._table(names), line, start)
        if action == _DELETE:
            return self._delete(self._table(names), line, start)
        if line.startswith(_TRUNCATE, end + 1):
            cascade, restart = _flags(line[end + 1 + len(_TRUNCATE) :])
            return Truncate(self._truncated(names), cascade, restart)
        return _reject(f"an unknown action {action!r}")

    def _table(self, names: bytes) -> _Table:
        table = self._tables.get(names)
        if table is None:
            match = _TABLE.fullmatch(names)
            if match is None:
                _reject(f"a table's name {names!r}")
            schema, name = _identifier(match[1]), _identifier(match[2])
            table = _Table(schema, name, self._identities.get((schema, name)))
            self._tables[names] = table
        return table

    def _insert(self, table: _Table, line: bytes, at: int) -> Insert:
        shape, new = _read_row(table, line, at)
        return Insert(shape.relation, new)

    def _update(self, table: _Table, line: bytes, at: int) -> Update:
        if not line.startswith(_OLD_KEY, at):
            shape, new = _read_row(table, line, at)
            if shape.relation.full:
                raise _no_longer_full(table)
            return Update(shape.relation, None, new)
        prefixes, values, at = _read_columns(line, at + len(_OLD_KEY))
        if not line.startswith(_NEW_TUPLE, at):
            _reject("an UPDATE without its new row")
        shape, new = _read_row(table, line, at + len(_NEW_TUPLE))
        relation = shape.relation
        if not table.is_named_by(prefixes):
            relation = _with_key(relation, prefixes, shape.prefixes)
        return Update(relation, _placed(prefixes, values, shape.prefixes), new)

    def _delete(self, table: _Table, line: bytes, at: int) -> Delete:
        if line[at:] == _NO_TUPLE:
            return Delete(Relation(table.schema, table.name, (), ()), ())
        shape = table.key_shape
        if shape is not None:
            row = _fast_row(line, at, shape.prefixes)
            if row is not None:
                return Delete(shape.relation, row)
        prefixes, row, end = _read_columns(line, at)
        if end != len(line):
            _reject("more than a row in a DELETE")
        return _slow_delete(table, prefixes, row)

    def _commit(self, line: bytes, wal_start: int) -> Commit:
        match = _COMMIT.fullmatch(line)
        if match is None:
            _reject("neither a change nor the end of a transaction")
        time = self._times.microseconds(match[2].decode()) if match[2] is not None else 0
        return Commit(int(match[1]), wal_start, time)

    def _message(self, payload: bytes) -> Message:
        """Read a message; its size is the only thing that tells its prefix from its content."""
        match = _MESSAGE.match(payload)
        if match is None:
            _reject("a message that cannot be read")
        start = match.end()
        for size in _SIZE.finditer(payload, start):
            if len(payload) - size.end() == int(size[1]):
                prefix = payload[start : size.start()].decode(self._encoding or "utf-8")
                return Message(match[1] == b"1", prefix, payload[size.end() :])
        return _reject("a message with a wrong length")

    def _truncated(self, names: bytes) -> tuple[Relation, ...]:
        relations: list[Relation] = []
        at = 0
        while at < len(names):
            match = _TABLE.match(names, at)
            if match is None:
                _reject(f"tables' names {names!r}")
            table = self._table(match[0])
            full = table.identity is not None and table.identity.full
            relations.append(Relation(table.schema, table.name, (), (), (), full))
            at = match.end() + 2  # ", "
        return tuple(relations)


def _begin(line: bytes) -> Begin:
    match = _BEGIN.fullmatch(line)
    if match is None:
        _reject("a BEGIN that cannot be read")
    return Begin(int(match[1]))


def _end_of_names(line: bytes) -> int:
    """Return where the names of the tables end: at the colon after the last one."""
    at = 6
    while True:
        match = _TABLE.match(line, at)
        if match is None:
            _reject("a table without a name")
        at = match.end()
        if line.startswith(b", ", at):
            at += 2
        elif line.startswith(b":", at):
            return at
        else:
            _reject("a table's name without its end")


def _read_row(table: _Table, line: bytes, at: int) -> tuple[_Shape, Row]:
    """Read a whole row, which ends the line."""
    shape = table.row_shape
    if shape is not None:
        row = _fast_row(line, at, shape.prefixes)
        if row is not None:
            return shape, row
    prefixes, row, end = _read_columns(line, at)
    if end != len(line):
        _reject("more than a row")
    shape = _Shape(prefixes, _relation(table, prefixes))
    table.row_shape = shape
    return shape, row


def _fast_row(line: bytes, at: int, prefixes: tuple[bytes, ...]) -> Row | None:
    """Read values that stand after exactly these prefixes up to the line's end; else None."""
    values: list[Value] = []
    append = values.append
    for prefix in prefixes:
        if not line.startswith(prefix, at):
            return None
        at += len(prefix)
        if line.startswith(b"'", at):
            start = at + 1
            at = line.index(b"'", start) + 1
            if line.startswith(b"'", at):
                doubled, at = _doubled(line, start)
                append(doubled)
            else:
                append(line[start : at - 1])
        else:
            value, at = _bare(line, at)
            append(value)
    return tuple(values) if at == len(line) else None


def _read_columns(line: bytes, at: int) -> _Parsed:
    """Take apart a row as it comes: its columns' prefixes, its values, and where it ends."""
    prefixes: list[bytes] = []
    values: list[Value] = []
    while at < len(line) and not line.startswith(_NEW_TUPLE, at):
        match = _COLUMN.match(line, at)
        if match is None:
            _reject("a column that cannot be read")
        prefixes.append(match[0])
        value, at = _value(line, match.end())
        values.append(value)
    return tuple(prefixes), tuple(values), at


def _value(line: bytes, at: int) -> tuple[Value, int]:
    if line.startswith(b"'", at):
        return _doubled(line, at + 1)
    return _bare(line, at)


def _doubled(line: bytes, start: int) -> tuple[bytes, int]:
    """Read a value from after its quote; return it and the position after its closing one."""
    at = line.index(b"'", start)
    while line.startswith(b"'", at + 1):
        at = line.index(b"'", at + 2)
    return line[start:at].replace(b"''", b"'"), at + 1


def _bare(line: bytes, at: int) -> tuple[Value, int]:
    """Read a value without quotes: a number, a word, or a bit string."""
    end = line.find(b" ", at)
    if end < 0:
        end = len(line)
    value = line[at:end]
    if value in _WORDS:
        return _WORDS[value], end
    if value.startswith(_BIT_STRING):
        if not value.endswith(b"'") or len(value) == len(_BIT_STRING):
            _reject("a bit string without its end")
        return value[2:-1], end
    if not value:
        _reject("a column without a value")
    return value, end


def _relation(table: _Table, prefixes: tuple[bytes, ...]) -> Relation:
    names, types = _names_and_types(prefixes)
    identity = table.identity
    if identity is None:
        return Relation(table.schema, table.name, names, types)
    key = () if identity.full else _positions(identity.columns, names)
    return Relation(table.schema, table.name, names, types, key, identity.full)


def _slow_delete(table: _Table, prefixes: tuple[bytes, ...], row: Row) -> Delete:
    """Give a deleted row its place in the table, and remember how it looked.

    With identity FULL the NULLs of the old row are not printed: they are the table's other
    columns, as far as a line before showed them or the catalogue's identity names them.
    """
    identity = table.identity
    if identity is None or not table.is_named_by(prefixes):
        names, types = _names_and_types(prefixes)
        key = tuple(range(len(names)))
        table.key_shape = _Shape(prefixes, Relation(table.schema, table.name, names, types, key))
        return Delete(table.key_shape.relation, row)
    if not identity.full:
        table.key_shape = _Shape(prefixes, _relation(table, prefixes))
        return Delete(table.key_shape.relation, row)
    return _full_delete(table, identity, prefixes, row)


def _full_delete(
    table: _Table, identity: Identity, prefixes: tuple[bytes, ...], row: Row
) -> Delete:
    names, types = _names_and_types(prefixes)
    values = dict(zip(names, row, strict=True))
    relation = table.row_shape.relation if table.row_shape is not None else None
    if relation is None or not values.keys() <= set(relation.columns):
        typed = dict(zip(names, types, strict=True))
        columns = identity.columns if values.keys() <= set(identity.columns) else names
        relation = Relation(
            schema=table.schema,
            name=table.name,
            columns=columns,
            types=tuple(typed.get(name, "") for name in columns),
            full=True,
        )
    return Delete(relation, tuple([values.get(name) for name in relation.columns]))


def _with_key(relation: Relation, key: tuple[bytes, ...], prefixes: tuple[bytes, ...]) -> Relation:
    """Return ``relation`` with the columns that a line printed as old as its identity."""
    positions = tuple(position for position, prefix in enumerate(prefixes) if prefix in key)
    return Relation(relation.schema, relation.name, relation.columns, relation.types, positions)


def _placed(key: tuple[bytes, ...], values: Row, prefixes: tuple[bytes, ...]) -> Row:
    """Return old values at their columns' positions, None elsewhere."""
    if key == prefixes:
        return values
    old = dict(zip(key, values, strict=True))
    if not old.keys() <= set(prefixes):
        _reject("an old row with columns that the new one has not")
    return tuple([old.get(prefix) for prefix in prefixes])


def _positions(key: tuple[str, ...], names: tuple[str, ...]) -> tuple[int, ...]:
    for name in key:
        if name not in names:
            _reject(f'a row without the identity\'s column "{name}"')
    return tuple(position for position, name in enumerate(names) if name in key)


def _names_and_types(prefixes: tuple[bytes, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    matches = [_COLUMN.fullmatch(prefix) for prefix in prefixes]
    names = tuple(_identifier(match[1]) for match in matches if match is not None)
    types = tuple(match[2].decode() for match in matches if match is not None)
    return names, types


def _identifier(printed: bytes) -> str:
    name = printed.decode()
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _flags(printed: bytes) -> tuple[bool, bool]:
    if printed not in _FLAGS:
        _reject(f"a TRUNCATE with unknown flags {printed[:40]!r}")
    return _FLAGS[printed]


def _no_longer_full(table: _Table) -> StateError:
    return StateError(
        f"source: table {table.schema}.{table.name} has another replica identity than when the"
        " change capture began, and test_decoding does not tell which",
        hint="everything before that is applied; clone again, or use the plugin pgoutput, which"
        " tells it",
    )


def _reject(what: str) -> NoReturn:
    raise ProtocolError(f"test_decoding sent {what}")
