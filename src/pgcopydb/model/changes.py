"""What a decoder makes of the bytes of an output plugin: changes, in commit order.

All three plugins give these same values for the same work on the source. Column values are
PostgreSQL's text form as UTF-8 bytes, exactly as the source printed them: no number, date or
boolean is ever parsed. These are msgspec structs rather than dataclasses because some hundred
thousand of them are made a second: one costs 0.1 us instead of the 1 us of a frozen dataclass.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final, Literal, Protocol, TypeAlias

from msgspec import Struct


class _Unchanged(Enum):
    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = _Unchanged.UNCHANGED
"""A TOASTed value that the change did not touch, so that the source did not send it."""

Value: TypeAlias = bytes | Literal[_Unchanged.UNCHANGED] | None
"""A column's value: text bytes, NULL, or not sent because unchanged."""

Row: TypeAlias = tuple[Value, ...]
"""Values in the order of the relation's columns."""


class Relation(Struct, frozen=True):
    """A table as a change describes it.

    ``types`` are SQL type names without modifiers ("" where the plugin does not say), and
    ``modifiers`` those of built-in types (-1: none; None: not told; empty: the plugin tells none).
    ``key`` holds the positions in ``columns`` of the replica identity's columns (empty when there
    is none or the change does not tell); with ``full`` the identity is the whole old row.
    """

    schema: str
    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    key: tuple[int, ...] = ()
    full: bool = False
    modifiers: tuple[int | None, ...] = ()


class Begin(Struct, frozen=True):
    """A transaction that has committed on the source starts here.

    ``lsn`` is the position of its commit where the plugin tells it at this point, else 0.
    ``commit_time`` is microseconds since 1970-01-01 UTC, 0 when the plugin does not tell.
    """

    xid: int
    lsn: int = 0
    commit_time: int = 0


class Commit(Struct, frozen=True):
    """The transaction is complete; ``end_lsn`` is the first byte *after* its commit record.

    That end position is what a replication origin stores and what feedback confirms: starting
    again from it sends the next transaction only (measured for each plugin, correctness M9).
    """

    xid: int
    end_lsn: int
    commit_time: int = 0


class Insert(Struct, frozen=True):
    """A new row."""

    relation: Relation
    new: Row


class Update(Struct, frozen=True):
    """A row changed. ``old`` is its identity before, or None when the identity did not change.

    With an identity by key only the positions in ``relation.key`` of ``old`` mean anything (the
    others are None); with identity FULL ``old`` is always the whole row. ``new`` may hold
    UNCHANGED values.
    """

    relation: Relation
    old: Row | None
    new: Row


class Delete(Struct, frozen=True):
    """A row went. ``old`` is its identity, as in Update."""

    relation: Relation
    old: Row


class Truncate(Struct, frozen=True):
    """One TRUNCATE statement over all of ``relations``."""

    relations: tuple[Relation, ...]
    cascade: bool = False
    restart_identity: bool = False


class Message(Struct, frozen=True):
    """A logical message that an application, or this program, wrote into the log."""

    transactional: bool
    prefix: str
    content: bytes


Change: TypeAlias = Begin | Commit | Insert | Update | Delete | Truncate | Message
"""One step of the stream of committed work."""


class RowSink(Protocol):
    """Takes whole rows of one relation, in the order of the stream, without a change for each."""

    @property
    def insert(self) -> Callable[[Row], None]:
        """What takes a new row."""
        ...

    @property
    def update(self) -> Callable[[Row], None]:
        """What takes the new values of a row whose identity did not change, none UNCHANGED."""
        ...

    @property
    def update_partly(self) -> Callable[[Row], None]:
        """The same for a row some of whose values are UNCHANGED."""
        ...


class Completed(Struct, frozen=True):
    """What came with stored messages of whole transactions; the end is that of the last one."""

    end_lsn: int
    commit_time: int
    transactions: int
    rows: int


class Identity(Struct, frozen=True):
    """Which columns name a row of a table: read from the source's catalogue, for plugins that
    do not say it themselves (test_decoding never, wal2json not for inserts).
    """

    columns: tuple[str, ...]
    full: bool = False


Identities: TypeAlias = dict[tuple[str, str], Identity]
"""Replica identities by (schema, table)."""
