"""What holds values outside of tables: sequences and large objects."""

from collections.abc import Iterable, Iterator
from typing import Any

import psycopg

from pgcopydb.errors import ConfigurationError, some_of
from pgcopydb.model.comparison import Found, ObjectDifference, ValueDifference
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.filters import Filters
from pgcopydb.model.objects import Sequence, SequenceValue
from pgcopydb.postgres import discover
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.large_object_digests import LargeObjectDigest

Session = psycopg.Connection[Any]


def read_sequences(
    connection: Session, endpoint: Endpoint, filters: Filters
) -> dict[tuple[str, str], SequenceValue]:
    """Return where the selected sequences of one side stand.

    Raises ConfigurationError naming those that the role may not read.
    """
    with reporting(endpoint, "reading the list of sequences"):
        listed = [
            sequence
            for sequence in discover.list_sequences(connection)
            if filters.selects_table(sequence.schema, sequence.name)
        ]
    _check_readable(endpoint.side, listed)
    with reporting(endpoint, "reading sequences"):
        values = {value.oid: value for value in discover.sequence_values(connection, listed)}
    return {(one.schema, one.name): values[one.oid] for one in listed}


def _check_readable(side: Side, sequences: Iterable[Sequence]) -> None:
    denied = [f"{one.schema}.{one.name}" for one in sequences if not one.readable]
    if denied:
        raise ConfigurationError(
            f"the {side} role may not read {some_of(denied)}",
            hint="GRANT USAGE on the schema and SELECT on the sequence, or filter it out",
        )


def sequence_differences(
    ours: dict[tuple[str, str], SequenceValue], theirs: dict[tuple[str, str], SequenceValue]
) -> Iterator[ObjectDifference]:
    """Yield the sequences that do not stand at the same value, by name."""
    for name in sorted(ours.keys() | theirs.keys()):
        here, there = ours.get(name), theirs.get(name)
        if here is None or there is None or _place(here) != _place(there):
            yield _difference("sequence", ".".join(name), _sequence(here), _sequence(there))


def _place(value: SequenceValue) -> tuple[int, bool]:
    return value.last_value, value.is_called


def _sequence(value: SequenceValue | None) -> dict[str, str] | None:
    if value is None:
        return None
    return {"value": f"{value.last_value}{'' if value.is_called else ', not called yet'}"}


def large_object_differences(
    pairs: Iterable[tuple[LargeObjectDigest | None, LargeObjectDigest | None]],
) -> Iterator[ObjectDifference]:
    """Yield the large objects that are not the same, by oid."""
    for here, there in pairs:
        if here != there:
            oid = (here or there).oid  # type: ignore[union-attr] # one of them is there
            yield _difference("large object", str(oid), _contents(here), _contents(there))


def _contents(one: LargeObjectDigest | None) -> dict[str, str] | None:
    return None if one is None else {"contents": f"{one.size:,} bytes, digest {one.digest:x}"}


def _difference(
    kind: str, name: str, here: dict[str, str] | None, there: dict[str, str] | None
) -> ObjectDifference:
    if here is None or there is None:
        found = Found.ONLY_SOURCE if there is None else Found.ONLY_TARGET
        return ObjectDifference(kind=kind, name=name, found=found)
    return ObjectDifference(
        kind=kind,
        name=name,
        found=Found.DIFFERS,
        values=tuple(
            ValueDifference(name=property_, source=here[property_], target=there[property_])
            for property_ in here
            if here[property_] != there[property_]
        ),
    )
