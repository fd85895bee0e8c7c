"""The sentinel: one row through which a running follow is steered, and tells where it is.

Written by any shell (``stream sentinel set …``) and by the receive and apply processes; read by
all of them several times a second. Positions are integers; 0 stands for "not set".

What is confirmed to the source, and taken for the end, rests on this row. So it has a checksum,
because SQLite does not notice when a byte of its file has changed.
"""

import sqlite3
import zlib
from contextlib import nullcontext

from msgspec import Struct
from msgspec.structs import fields

from pgcopydb.errors import StateError
from pgcopydb.workdir.transaction import transaction

SENTINEL_SCHEMA = """
create table if not exists sentinel (
  id integer primary key check (id = 1),
  startpos integer not null default 0,
  endpos integer not null default 0,
  apply integer not null default 0,
  write_lsn integer not null default 0,
  flush_lsn integer not null default 0,
  transform_lsn integer not null default 0,
  replay_lsn integer not null default 0,
  received_lsn integer not null default 0,
  source_lsn integer not null default 0,
  received_commit_time integer not null default 0,
  replay_commit_time integer not null default 0,
  caught_up_time integer not null default 0,
  reported_time integer not null default 0,
  transactions integer not null default 0,
  changes integer not null default 0,
  transaction_rate integer not null default 0,
  change_rate integer not null default 0,
  checksum integer not null
) strict;
"""


class Sentinel(Struct, frozen=True):
    """Where a follow is, and what it has been told.

    ``received_lsn`` is a proof: every transaction that committed at or before it is stored here,
    durably. Unlike ``flush_lsn`` it also moves while the source is idle. ``source_lsn`` is the
    end of the source's WAL as last heard.

    Times are microseconds since 1970 (UTC). ``received_commit_time`` is that of the last commit
    stored (by the source's clock; by ours when it came, where the plugin does not tell it early),
    ``replay_commit_time`` that of the last one applied. ``caught_up_time`` is when the source was
    first heard to have no more than what is stored, ``reported_time`` when apply last reported;
    its rates are counts a second.
    """

    startpos: int = 0
    endpos: int = 0
    apply: bool = False
    write_lsn: int = 0
    flush_lsn: int = 0
    transform_lsn: int = 0
    replay_lsn: int = 0
    received_lsn: int = 0
    source_lsn: int = 0
    received_commit_time: int = 0
    replay_commit_time: int = 0
    caught_up_time: int = 0
    reported_time: int = 0
    transactions: int = 0
    changes: int = 0
    transaction_rate: int = 0
    change_rate: int = 0


_FIELDS = tuple(field.name for field in fields(Sentinel))
_SELECT = f"select {', '.join(_FIELDS)}, checksum from sentinel"
_INSERT = (
    f"insert into sentinel (id, {', '.join(_FIELDS)}, checksum)"
    f" values (1, {', '.join('?' * len(_FIELDS))}, ?) on conflict (id) do nothing"
)


def read_sentinel(connection: sqlite3.Connection) -> Sentinel | None:
    """Return the sentinel, or None when no change capture has been set up here.

    Raises StateError when it is not what was written.
    """
    row = connection.execute(_SELECT).fetchone()
    if row is None:
        return None
    *values, checksum = row
    if checksum != _checksum(values):
        raise StateError(
            "the sentinel of this work directory is damaged: its checksum is wrong",
            hint="its positions cannot be trusted any more: start over with --restart",
        )
    named = dict(zip(_FIELDS, values, strict=True))
    return Sentinel(**{**named, "apply": bool(named["apply"])})


def _checksum(values: list[int]) -> int:
    """Return the checksum of the fields' values, in their order."""
    return zlib.crc32(repr(values).encode())


def require_sentinel(connection: sqlite3.Connection) -> Sentinel:
    """Return the sentinel; raise StateError when no change capture has been set up here."""
    sentinel = read_sentinel(connection)
    if sentinel is None:
        raise StateError(
            "no change capture has been set up in this work directory",
            hint="set one up with clone --follow, snapshot --follow or stream setup",
        )
    return sentinel


def create_sentinel(connection: sqlite3.Connection, startpos: int, endpos: int = 0) -> None:
    """Create the sentinel of a new capture that starts at ``startpos``; keep one that exists."""
    values = [{"startpos": startpos, "endpos": endpos}.get(name, 0) for name in _FIELDS]
    connection.execute(_INSERT, (*values, _checksum(values)))


def update_sentinel(connection: sqlite3.Connection, **values: int) -> None:
    """Set fields of the sentinel, each given by its name."""
    unknown = values.keys() - set(_FIELDS)
    if unknown:
        raise ValueError(f"the sentinel has no {', '.join(sorted(unknown))}")
    # as a part of the one under way where there is one
    alone = nullcontext() if connection.in_transaction else transaction(connection)
    with alone:
        found = read_sentinel(connection)
        if found is None:
            return
        after = [int(values.get(name, getattr(found, name))) for name in _FIELDS]
        assignments = ", ".join(f"{name} = :{name}" for name in values)
        connection.execute(
            f"update sentinel set {assignments}, checksum = :checksum",
            {**values, "checksum": _checksum(after)},
        )
