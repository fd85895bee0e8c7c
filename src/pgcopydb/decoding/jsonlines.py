"""Changes of any plugin as JSON lines: wal2json format-version 2 objects, a line each.

``wal2json.Wal2jsonDecoder`` reads them back. What wal2json does not say, and a reader of wal2json's
own output ignores, stands in fields of our own at the end of a line:

* ``key`` (INSERT): the names of the identity's columns; ``full``: the identity is the whole row,
  or, false, is a key although it has every column.
* ``relations``, ``cascade``, ``restart_identity``: on the first line of a TRUNCATE, which has one
  line a table like wal2json's; ``continued`` on its other lines.
* ``content_hex``: the content of a message that is not text.

Numbers of numeric types are bare, with all digits, when JSON can write them; NaN and infinities
are strings as with wal2json's ``numeric-data-types-as-string``.
"""

import re
from typing import Final

import msgspec

from pgcopydb.decoding.timestamps import format_microseconds
from pgcopydb.errors import ProtocolError
from pgcopydb.lsn import format_lsn
from pgcopydb.model.changes import (
    UNCHANGED,
    Begin,
    Change,
    Commit,
    Delete,
    Insert,
    Message,
    Relation,
    Row,
    Truncate,
    Update,
    Value,
)

_json: Final = msgspec.json.encode
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z")
_NUMERIC_TYPES = frozenset(
    ("smallint", "integer", "bigint", "oid", "real", "double precision", "numeric")
)
_BOOLEANS: Final = {b"t": b"true", b"f": b"false"}


class JsonLinesEncoder:
    """Write the changes of one stream as lines; remembers the transaction they are in."""

    __slots__ = ("_columns", "_commit_lsn", "_transaction")

    def __init__(self) -> None:
        self._transaction = b'"xid":null,"timestamp":null'
        self._commit_lsn = 0
        self._columns: dict[int, tuple[Relation, tuple[bytes, ...]]] = {}

    def encode(self, change: Change, wal_start: int) -> bytes:
        """Return ``change`` as one line with its newline; a TRUNCATE as a line a table.

        ``wal_start`` is the position of its frame. Raise ProtocolError for a change that JSON
        cannot carry: text that is not UTF-8, or an identity that was not sent.
        """
        try:
            return self._line(change, wal_start)
        except UnicodeDecodeError as error:
            raise ProtocolError(
                f"a change at {format_lsn(wal_start)} has text that is not UTF-8, which JSON cannot"
                f" carry: {error.reason}",
                hint="'pgcopydb follow' carries the bytes of a SQL_ASCII database to another one",
            ) from error
        except OverflowError as error:
            raise ProtocolError(
                f"a change at {format_lsn(wal_start)} cannot be written as JSON: {error}"
            ) from error

    def _line(self, change: Change, wal_start: int) -> bytes:  # noqa: PLR0911 - one a kind
        if isinstance(change, Insert):
            return self._insert(change, wal_start)
        if isinstance(change, Update):
            return self._update(change, wal_start)
        if isinstance(change, Delete):
            return self._delete(change, wal_start)
        if isinstance(change, Begin):
            return self._begin(change, wal_start)
        if isinstance(change, Commit):
            return self._commit(change)
        if isinstance(change, Truncate):
            return self._truncate(change, wal_start)
        return self._message(change, wal_start)

    def _begin(self, change: Begin, wal_start: int) -> bytes:
        self._transaction = b'"xid":%d,"timestamp":%b' % (change.xid, _time(change.commit_time))
        self._commit_lsn = change.lsn
        return b'{"action":"B",%b,"lsn":%b}\n' % (self._transaction, _lsn(change.lsn or wal_start))

    def _commit(self, change: Commit) -> bytes:
        end = _lsn(change.end_lsn)
        start = _lsn(self._commit_lsn) if self._commit_lsn else end
        line = b'{"action":"C","xid":%d,"timestamp":%b,"lsn":%b,"nextlsn":%b}\n'
        return line % (change.xid, _time(change.commit_time), start, end)

    def _insert(self, change: Insert, wal_start: int) -> bytes:
        relation = change.relation
        key = [relation.columns[position] for position in relation.key]
        extra = b',"key":%b' % _json(key) if key else b',"full":true' if relation.full else b""
        columns = self._row(relation, change.new)
        return b'%b,"columns":[%b]%b}\n' % (
            self._start(b"I", relation, wal_start),
            columns,
            extra,
        )

    def _update(self, change: Update, wal_start: int) -> bytes:
        relation = change.relation
        return b'%b,"columns":[%b],"identity":[%b]%b}\n' % (
            self._start(b"U", relation, wal_start),
            self._row(relation, change.new),
            self._identity(relation, change.new if change.old is None else change.old),
            _fullness(relation),
        )

    def _delete(self, change: Delete, wal_start: int) -> bytes:
        return b'%b,"identity":[%b]%b}\n' % (
            self._start(b"D", change.relation, wal_start),
            self._identity(change.relation, change.old),
            _fullness(change.relation),
        )

    def _truncate(self, change: Truncate, wal_start: int) -> bytes:
        tables = [{"schema": r.schema, "table": r.name} for r in change.relations]
        first = b',"relations":%b,"cascade":%b,"restart_identity":%b' % (
            _json(tables),
            _json(change.cascade),
            _json(change.restart_identity),
        )
        extras = [first] + [b',"continued":true'] * (len(change.relations) - 1)
        return b"".join(
            b"%b%b}\n" % (self._start(b"T", relation, wal_start), extra)
            for relation, extra in zip(change.relations, extras, strict=True)
        )

    def _message(self, change: Message, wal_start: int) -> bytes:
        transaction = self._transaction if change.transactional else b'"xid":null,"timestamp":null'
        return b'{"action":"M",%b,"lsn":%b,"transactional":%b,"prefix":%b,%b}\n' % (
            transaction,
            _lsn(wal_start),
            _json(change.transactional),
            _json(change.prefix),
            _content(change.content),
        )

    def _start(self, action: bytes, relation: Relation, wal_start: int) -> bytes:
        return b'{"action":"%b",%b,"lsn":%b,"schema":%b,"table":%b' % (
            action,
            self._transaction,
            _lsn(wal_start),
            _json(relation.schema),
            _json(relation.name),
        )

    def _row(self, relation: Relation, row: Row) -> bytes:
        """Write the columns that have a value; those that are unchanged are left out."""
        starts = self._starts(relation)
        return b",".join(
            [
                b"%b%b}" % (start, _value(value, type_name))
                for start, value, type_name in zip(starts, row, relation.types, strict=True)
                if value is not UNCHANGED
            ]
        )

    def _identity(self, relation: Relation, row: Row) -> bytes:
        if relation.full:
            return self._row(relation, row)
        starts = self._starts(relation)
        return b",".join(
            [
                b"%b%b}" % (starts[position], _known(relation, position, row[position]))
                for position in relation.key
            ]
        )

    def _starts(self, relation: Relation) -> tuple[bytes, ...]:
        """Return what stands before each column's value, made once a relation."""
        known = self._columns.get(id(relation))
        if known is None or known[0] is not relation:
            starts = tuple(
                b'{"name":%b,"type":%b,"value":' % (_json(name), _json(type_name))
                for name, type_name in zip(relation.columns, relation.types, strict=True)
            )
            if len(self._columns) >= _RELATIONS_KEPT:
                self._columns.clear()
            known = self._columns[id(relation)] = (relation, starts)
        return known[1]


_RELATIONS_KEPT = 10_000


def _known(relation: Relation, position: int, value: Value) -> bytes:
    if value is UNCHANGED:
        raise ProtocolError(
            f'the key column "{relation.columns[position]}" of table'
            f' "{relation.schema}"."{relation.name}" was not sent'
        )
    return _value(value, relation.types[position])


def _value(value: Value, type_name: str) -> bytes:
    if value is None or value is UNCHANGED:
        return b"null"
    if type_name in _NUMERIC_TYPES:
        if _NUMBER.match(value):
            return value
    elif type_name == "boolean":
        if value in _BOOLEANS:
            return _BOOLEANS[value]
    elif type_name == "bytea" and value.startswith(b"\\x"):
        value = value[2:]
    return _json(value.decode())


def _fullness(relation: Relation) -> bytes:
    """Say whether the identity is the whole row where its columns do not."""
    if relation.full:
        return b',"full":true'
    return b',"full":false' if relation.key else b""


def _content(content: bytes) -> bytes:
    try:
        return b'"content":%b' % _json(content.decode())
    except UnicodeDecodeError:
        text = content.decode("utf-8", "replace")
        return b'"content":%b,"content_hex":"%b"' % (_json(text), content.hex().encode())


def _lsn(lsn: int) -> bytes:
    return b'"%b"' % format_lsn(lsn).encode()


def _time(microseconds: int) -> bytes:
    return b'"%b"' % format_microseconds(microseconds).encode() if microseconds else b"null"
