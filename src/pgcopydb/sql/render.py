"""Changes as SQL text: a line a statement, for a person to read and for psql or apply to run.

A line is self-contained: values are literals in the source's own text, control characters are
escaped, so that nothing in a name or a value can end the line or be taken for something else::

    BEGIN; -- {"xid":734,"lsn":"0/1D98718","timestamp":"2026-11-23 18:15:41.667696+00"}
    INSERT INTO "public"."t" ("id", "note") OVERRIDING SYSTEM VALUE VALUES ('1', E'two\\nlines');
    UPDATE ONLY "public"."t" SET "note" = NULL WHERE "id" = '1';
    COMMIT; -- {"xid":734,"lsn":"0/1D98718","timestamp":"2026-11-23 18:15:41.667696+00"}

``lsn`` is the end of the source's commit record in both lines: what a replication origin stores.
Nothing is asked of a target here. Where its catalogue would decide, the text takes what is right
whatever it is: with identity FULL, values are compared as they print.
"""

import re
from collections.abc import Callable
from typing import Final

from pgcopydb.errors import ProtocolError, StateError
from pgcopydb.lsn import format_lsn
from pgcopydb.model.changes import (
    UNCHANGED,
    Change,
    Delete,
    Insert,
    Relation,
    Row,
    Truncate,
    Update,
    Value,
)
from pgcopydb.sql.statements import is_exact

PREAMBLE: Final[tuple[bytes, ...]] = (
    b"SET client_encoding = 'UTF8';",
    b"SET standard_conforming_strings = on;",
    b"SET search_path = '';",
    b"SET DateStyle = 'ISO, MDY';",
    b"SET IntervalStyle = 'postgres';",
    b"SET TimeZone = 'UTC';",
    b"SET extra_float_digits = 3;",
    b"SET bytea_output = 'hex';",
    b"SET lc_monetary = 'C';",
)
"""The settings under which the statements mean what the source meant, a line each."""

_BEGIN: Final = b"BEGIN; -- "
_COMMIT: Final = b"COMMIT; -- "

_SPECIAL = re.compile(rb"[\x00-\x1f\x7f'\\]")
_ESCAPES: Final[dict[bytes, bytes]] = {
    **{bytes([code]): b"\\x%02x" % code for code in (*range(1, 32), 127)},
    b"\b": b"\\b",
    b"\t": b"\\t",
    b"\n": b"\\n",
    b"\f": b"\\f",
    b"\r": b"\\r",
    b"\\": b"\\\\",
    b"'": b"''",
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_COLLATABLE: Final = frozenset(("text", "character varying", "character"))
"""Types whose ``=`` depends on a collation that is not known here; "C" compares the bytes."""

_RELATIONS_KEPT: Final = 10_000


def literal(value: bytes | None) -> bytes:
    """Return ``value`` as an SQL literal on one line, whatever the session's settings are.

    Raises ProtocolError for a NUL, which no server can hold.
    """
    if value is None:
        return b"NULL"
    if _SPECIAL.search(value) is None:
        return b"'%b'" % value
    try:
        escaped = _SPECIAL.sub(lambda found: _ESCAPES[found[0]], value)
    except KeyError:
        raise ProtocolError("a value holds a NUL character, which no server can store") from None
    return b"E'%b'" % escaped if b"\\" in escaped else b"'%b'" % escaped


def identifier(name: str) -> bytes:
    """Return ``name`` as a quoted identifier on one line.

    Raises ProtocolError for an empty name or one with a NUL.
    """
    if not name or "\x00" in name:
        raise ProtocolError(f"{name!r} cannot be the name of anything on a server")
    quoted = name.replace('"', '""')
    if _CONTROL.search(name) is None:
        return f'"{quoted}"'.encode()
    escaped = quoted.replace("\\", "\\\\")
    return ('U&"' + _CONTROL.sub(lambda found: f"\\{ord(found[0]):04x}", escaped) + '"').encode()


def begin_line(header: bytes) -> bytes:
    """Return the line that begins a transaction; see :func:`transaction_header`."""
    return _BEGIN + header + b"\n"


def commit_line(header: bytes) -> bytes:
    """Return the line that ends a transaction; see :func:`transaction_header`."""
    return _COMMIT + header + b"\n"


def transaction_header(xid: int, end_lsn: int, timestamp: str | None) -> bytes:
    """Return what both lines say of a transaction: a JSON object.

    ``timestamp`` is the commit time as PostgreSQL prints it in UTC, None where it is not known.
    """
    time = "null" if timestamp is None else f'"{timestamp}"'
    return f'{{"xid":{xid},"lsn":"{format_lsn(end_lsn)}","timestamp":{time}}}'.encode()


def header_of(line: bytes) -> tuple[bool, bytes] | None:
    """Return (whether it begins the transaction, the header) of a BEGIN or COMMIT line.

    None for any other line.
    """
    if line.startswith(_BEGIN):
        return True, line[len(_BEGIN) :]
    if line.startswith(_COMMIT):
        return False, line[len(_COMMIT) :]
    return None


def note_line(note: bytes) -> bytes:
    """Return a comment of this program's own, a JSON object, as a line."""
    return b"-- %b\n" % note


class SqlRenderer:
    """Turns changes into statements; keeps what it made of each relation."""

    def __init__(self) -> None:
        self._tables: dict[int, _Table] = {}

    def line(self, change: Change) -> bytes | None:
        """Return the statement of a change on rows, with its newline; None where nothing is to do.

        Begin, Commit and Message have no statement. Raises StateError for an UPDATE or DELETE that
        does not say which row, and ProtocolError for a value that was not sent or cannot be.
        """
        if isinstance(change, Insert):
            return self._table(change.relation).insert(change.new)
        if isinstance(change, Update):
            return self._table(change.relation).update(change.old, change.new)
        if isinstance(change, Delete):
            return self._table(change.relation).delete(change.old)
        if isinstance(change, Truncate):
            return _truncate(change)
        return None

    def _table(self, relation: Relation) -> "_Table":
        known = self._tables.get(id(relation))
        if known is None or known.relation is not relation:
            if len(self._tables) >= _RELATIONS_KEPT:
                self._tables.clear()
            known = self._tables[id(relation)] = _Table(relation)
        return known


def merge_truncates(first: Truncate, second: Truncate) -> Truncate | None:
    """Return one statement for two that follow each other; None where their flags differ.

    wal2json tells one TRUNCATE over several tables as several: apart, a foreign key between the
    tables would refuse them.
    """
    if (first.cascade, first.restart_identity) != (second.cascade, second.restart_identity):
        return None
    return Truncate(first.relations + second.relations, first.cascade, first.restart_identity)


class _Table:
    """The statements of one relation."""

    def __init__(self, relation: Relation) -> None:
        self.relation = relation
        self._name = _qualified(relation)
        self._columns = [identifier(name) for name in relation.columns]
        self._tests = [_test(type_name) for type_name in relation.types]
        self._insert = b"INSERT INTO %b (%b) OVERRIDING SYSTEM VALUE VALUES (" % (
            self._name,
            b", ".join(self._columns),
        )

    def insert(self, new: Row) -> bytes:
        """Return the INSERT of a row."""
        if not new:
            return b"INSERT INTO %b DEFAULT VALUES;\n" % self._name
        return b"%b%b);\n" % (self._insert, b", ".join([literal(self._sent(v)) for v in new]))

    def update(self, old: Row | None, new: Row) -> bytes | None:
        """Return the UPDATE of a row; None when no value changes."""
        changed = self._changed(old, new)
        if not changed:
            return None
        assignments = b", ".join(
            [b"%b = %b" % (self._columns[n], literal(self._sent(new[n]))) for n in changed]
        )
        where = self._where(new if old is None else old)
        return b"UPDATE ONLY %b SET %b WHERE %b;\n" % (self._name, assignments, where)

    def delete(self, old: Row) -> bytes:
        """Return the DELETE of a row."""
        return b"DELETE FROM ONLY %b WHERE %b;\n" % (self._name, self._where(old))

    def _changed(self, old: Row | None, new: Row) -> list[int]:
        """Return the columns to set: with the whole old row at hand, those that differ."""
        sent = [n for n, value in enumerate(new) if value is not UNCHANGED]
        if old is None:
            return [n for n in sent if n not in self.relation.key]
        if self.relation.full:
            return [n for n in sent if new[n] != old[n]]
        return sent

    def _where(self, row: Row) -> bytes:
        if self.relation.full:
            tests = [
                _is(column, test, self._sent(value))
                for column, test, value in zip(self._columns, self._tests, row, strict=True)
            ]
            # there may be several rows alike, of which the source changed one
            return b"ctid = (SELECT ctid FROM ONLY %b WHERE %b LIMIT 1)" % (
                self._name,
                b" AND ".join(tests) or b"true",
            )
        if not self.relation.key:
            relation = self.relation
            raise StateError(
                f"table {relation.schema}.{relation.name} has no replica identity, so that its"
                " updates and deletes cannot be carried",
                hint="give it a primary key or REPLICA IDENTITY FULL on the source and clone again",
            )
        return b" AND ".join(
            [_is(self._columns[n], _equal, self._sent(row[n])) for n in self.relation.key]
        )

    def _sent(self, value: Value) -> bytes | None:
        if value is UNCHANGED:
            raise ProtocolError(
                f"a value of table {self.relation.schema}.{self.relation.name} that is needed"
                " to find or to store a row was not sent"
            )
        return value


def _truncate(change: Truncate) -> bytes:
    names = dict.fromkeys(b"ONLY " + _qualified(relation) for relation in change.relations)
    return b"TRUNCATE %b%b%b;\n" % (
        b", ".join(names),
        b" RESTART IDENTITY" if change.restart_identity else b"",
        b" CASCADE" if change.cascade else b"",
    )


def _qualified(relation: Relation) -> bytes:
    return identifier(relation.schema) + b"." + identifier(relation.name)


_Test = Callable[[bytes, bytes], bytes]


def _is(column: bytes, test: _Test, value: bytes | None) -> bytes:
    return b"%b IS NULL" % column if value is None else test(column, literal(value))


def _equal(column: bytes, value: bytes) -> bytes:
    return b"%b = %b" % (column, value)


def _same_bytes(column: bytes, value: bytes) -> bytes:
    return b'%b COLLATE pg_catalog."C" = %b' % (column, value)


def _prints_as(column: bytes, value: bytes) -> bytes:
    """Compare what the type prints. A cast to text would not do: it is another text for inet,
    boolean and character than what the source sent.
    """
    return b"pg_catalog.format('%%s', %b) COLLATE pg_catalog.\"C\" = %b" % (column, value)


def _test(type_name: str) -> _Test:
    """Return how to find exactly one value of a type, by its name without modifiers."""
    if type_name in _COLLATABLE:
        return _same_bytes
    if type_name == "bit" or is_exact(type_name, None):
        return _equal
    return _prints_as
