"""What wal2json cannot print: NaN and infinities of numeric, real and double precision columns.

Releases up to 2.5 print them as null, which nothing in the stream tells from a NULL. So the columns
in which a null came are written down, before the row is committed, and when the drain is done both
sides are asked how many such numbers they hold there: an exit status of 0 is not given away.
"""

import logging

from psycopg import sql

from pgcopydb.errors import StateError, some_of
from pgcopydb.model.changes import Change, Insert, Relation, Update
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.session import read_tables_only
from pgcopydb.sql.quote import qualified_name
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.store import read_fact, write_fact

log = logging.getLogger(__name__)

_FACT = "nulls in number columns"

_TYPES = ("numeric", "real", "double precision")

_IS_THERE = (
    "select from pg_catalog.pg_attribute where attrelid = pg_catalog.to_regclass(%s)"
    " and attname = %s and not attisdropped"
)

Column = tuple[str, str, str]
"""Schema, table and column."""


class NullWatch:
    """Notes the number columns in which wal2json printed a null."""

    def __init__(self, work: WorkDirectory) -> None:
        self._work = work
        self._seen = _noted(work)
        self._numbers: dict[int, tuple[Relation, tuple[int, ...]]] = {}

    def see(self, change: Change) -> None:
        """Look at one change; a column seen for the first time is on disk when this returns."""
        if not isinstance(change, Insert | Update) or None not in change.new:
            return
        relation = change.relation
        known = self._numbers.get(id(relation))
        if known is None or known[0] is not relation:
            known = self._numbers[id(relation)] = (relation, _number_columns(relation))
        found = {
            (relation.schema, relation.name, relation.columns[n])
            for n in known[1]
            if change.new[n] is None
        }
        if not found <= self._seen:
            self._seen |= found
            with self._work.store() as store:
                write_fact(store, _FACT, sorted(self._seen))


def refuse_lost_numbers(work: WorkDirectory, source: Endpoint, target: Endpoint) -> None:
    """Raise StateError when a number that wal2json cannot print is missing on the target.

    Reads the tables in which that is possible, on both sides.
    """
    lost = [
        f"{schema}.{table}.{column}"
        for schema, table, column in sorted(_noted(work))
        if _special_numbers(source, (schema, table, column))
        != _special_numbers(target, (schema, table, column))
    ]
    if lost:
        raise StateError(
            "source: NaN or infinity came as NULL, for this wal2json cannot print them, in: "
            + some_of(lost),
            hint="copy those columns again by hand, or clone again with --plugin pgoutput",
        )


def _noted(work: WorkDirectory) -> set[Column]:
    with work.store() as store:
        return set(read_fact(store, _FACT, list[Column]) or ())


def _number_columns(relation: Relation) -> tuple[int, ...]:
    return tuple(n for n, name in enumerate(relation.types) if name.startswith(_TYPES))


def _special_numbers(endpoint: Endpoint, column: Column) -> int:
    """Return how many such numbers a column holds: none where it was dropped meanwhile."""
    schema, table, name = column
    with (
        connect(endpoint, purpose="final check") as connection,
        reporting(endpoint, f"looking for NaN in {schema}.{table}"),
    ):
        read_tables_only(connection)
        if not connection.execute(_IS_THERE, (qualified_name(schema, table), name)).rowcount:
            return 0
        row = connection.execute(
            sql.SQL(
                "select pg_catalog.count(*) from {} where {}::text in"
                " ('NaN', 'Infinity', '-Infinity')"
            ).format(sql.Identifier(schema, table), sql.Identifier(name))
        ).fetchone()
    return int(row[0]) if row else 0
