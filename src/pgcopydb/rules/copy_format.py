"""Which tables travel in COPY's binary format.

Binary saves the servers the work of printing and reading values, and loses nothing where a type's
binary form means the same on every server. That is not so for what holds oids (``regclass``, rows,
arrays of users' types), nor known of the types of extensions. An enumerated value is sent as its
label in both formats (``enum_send`` in PostgreSQL's enum.c).

CPU seconds of both servers for the same rows, text and binary (16 and 18, best of two; a million
rows unless said): timestamps, dates and floats 1.30 and 0.37, two uuids 1.09 and 0.29, 100,000
bytea of a kilobyte 0.69 and 0.19, texts 0.56 and 0.35, pgbench's accounts 0.76 and 0.64; but
numerics 0.44 and 0.40, 300,000 jsonb 0.41 and 0.38, integers 0.53 and 0.52 with twice the bytes.
"""

from collections.abc import Iterable
from typing import Final

from pgcopydb.model.objects import Column

_NO_FASTER: Final = frozenset({"bool", "int2", "int4", "int8", "numeric", "oid", "json", "jsonb"})

_FASTER: Final = frozenset(
    {
        *("text", "varchar", "bpchar", "char", "name", "bytea", "uuid", "bit", "varbit", "money"),
        *("float4", "float8", "date", "time", "timetz", "timestamp", "timestamptz", "interval"),
        *("inet", "cidr", "macaddr", "macaddr8"),
        *("point", "line", "lseg", "box", "path", "polygon", "circle"),
    }
)

_FIT: Final = frozenset(
    f"pg_catalog.{prefix}{name}" for name in _FASTER | _NO_FASTER for prefix in ("", "_")
)
_GAINING: Final = _FIT - {f"pg_catalog.{name}" for name in _NO_FASTER}


def is_fit_for_binary(columns: Iterable[Column]) -> bool:
    """Tell whether every value of ``columns`` has a binary form that any server understands.

    The target's columns must have the same types.
    """
    return all(column.enumerated or not _FIT.isdisjoint(column.type_names) for column in columns)


def is_faster_in_binary(columns: Iterable[Column]) -> bool:
    """Tell whether ``columns`` are fit for the binary format, and some of them gain by it."""
    listed = list(columns)
    gains = any(not _GAINING.isdisjoint(column.type_names) for column in listed)
    return gains and is_fit_for_binary(listed)
