"""Brings the target's sequences to where the source's stand.

A sequence is not transactional and no stream carries it, so it is read and set: at the end of the
base copy, and again when writers have stopped, which is when the reading is exact (ruling 15).
"""

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from msgspec import Struct
from psycopg import Connection, sql

from pgcopydb.errors import ConfigurationError, some_of
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import EVERYTHING, Filters
from pgcopydb.model.objects import Sequence, SequenceValue
from pgcopydb.postgres import discover
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.short_sessions import short_session

Session = Connection[tuple[Any, ...]]

_SET_AT_ONCE: Final = 200


class SequencesSynchronized(Struct, frozen=True):
    """What was done: how many were ``set``, which the target has ``ahead``, which it ``lacks``.

    The names are ``schema.name``.
    """

    set: int
    ahead: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


class _Standing(Struct, frozen=True):
    sequence: Sequence
    value: SequenceValue


def synchronize_sequences(
    source: Endpoint, target: Endpoint, filters: Filters = EVERYTHING
) -> SequencesSynchronized:
    """Set every sequence that both sides have to the source's last_value and is_called, exactly.

    Those that ``filters`` leave out are not looked at.

    One that the target has already used past the source's place stays where it is: handing out a
    value twice is worse than a gap. A cycling one has no such order and is set in any case. Raises
    the side's error, or ConfigurationError for sequences that one of the roles may not read.
    """
    with (
        short_session(source, purpose="sequences") as connection,
        reporting(source, "reading sequences"),
    ):
        wanted = _standings(source, connection, filters)
    with short_session(target, purpose="sequences") as connection:
        with reporting(target, "reading sequences"):
            present = _standings(target, connection, filters)
        to_set = [
            wanted[name]
            for name in wanted
            if name in present and _is_behind(present[name], wanted[name])
        ]
        with reporting(target, "setting sequences"):
            _set(connection, to_set)
    ahead = tuple(
        ".".join(name)
        for name in wanted
        if name in present and _is_ahead(present[name], wanted[name])
    )
    lacks = tuple(".".join(name) for name in wanted if name not in present)
    return SequencesSynchronized(len(to_set), ahead, lacks)


def _standings(
    endpoint: Endpoint, connection: Session, filters: Filters
) -> dict[tuple[str, str], _Standing]:
    sequences = [
        one
        for one in discover.list_sequences(connection)
        if filters.selects_table(one.schema, one.name)
    ]
    unreadable = [f"{one.schema}.{one.name}" for one in sequences if not one.readable]
    if unreadable:
        raise ConfigurationError(
            f"the {endpoint.side} role may not read the sequences {some_of(unreadable)}",
            hint="GRANT USAGE on the schema and SELECT on the sequence to it, on both sides",
        )
    values = discover.sequence_values(connection, sequences)
    by_oid = {value.oid: value for value in values}
    return {(one.schema, one.name): _Standing(one, by_oid[one.oid]) for one in sequences}


def _is_behind(present: _Standing, wanted: _Standing) -> bool:
    """Tell whether the target's sequence must be set."""
    if _place(present.value) == _place(wanted.value):
        return False
    return not _is_ahead(present, wanted)


def _is_ahead(present: _Standing, wanted: _Standing) -> bool:
    """Tell whether the target has handed out values past the source's place.

    A sequence that was never called stands at its START, which may be beyond where the source was
    set to; nothing was handed out, so it is not ahead.
    """
    if not present.value.is_called or wanted.sequence.cycles:
        return False
    direction = 1 if wanted.sequence.increment > 0 else -1
    return _ordered(present.value, direction) > _ordered(wanted.value, direction)


def _place(value: SequenceValue) -> tuple[int, bool]:
    return value.last_value, value.is_called


def _ordered(value: SequenceValue, direction: int) -> tuple[int, bool]:
    return value.last_value * direction, value.is_called


def _set(connection: Session, standings: Iterable[_Standing]) -> None:
    remaining = iter(standings)
    while batch := list(islice(remaining, _SET_AT_ONCE)):
        calls = (
            sql.SQL("pg_catalog.setval({}::pg_catalog.regclass, {}, {})").format(
                sql.Identifier(one.sequence.schema, one.sequence.name).as_string(connection),
                one.value.last_value,
                one.value.is_called,
            )
            for one in batch
        )
        connection.execute(sql.SQL("select {}").format(sql.SQL(", ").join(calls)))
