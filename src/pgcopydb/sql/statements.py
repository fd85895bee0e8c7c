"""One change becomes one statement with parameters; every value goes as its own text.

Statements are made once for a relation and a shape (which columns the change carries, which of
the old ones are NULL) and then filled from the rows, so that the server can prepare them.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import Struct

from pgcopydb.errors import ConflictError
from pgcopydb.model.changes import UNCHANGED, Row
from pgcopydb.model.targets import Route, TargetColumn, TargetTable
from pgcopydb.sql.quote import column_list, qualified_name, quote_identifier

_EXACT_TYPES = frozenset(
    {
        "smallint", "integer", "bigint", "oid", "boolean", "text", "name", "uuid", "bytea", "date",
        '"char"', "timestamp without time zone", "timestamp with time zone",
        "time without time zone", "macaddr", "macaddr8",
    }
)  # fmt: skip
"""Types without modifiers whose ``=`` holds only between values that print alike."""

_EXACT_FAMILIES = ("character(", "character varying", "timestamp(", "time(", "bit(", "bit varying")


def is_exact(type_name: str, collation: str | None) -> bool:
    """Tell whether ``=`` on this type and collation finds exactly the value looked for.

    A collation other than the database's may be nondeterministic, under which different strings
    are equal.
    """
    if collation is not None:
        return False
    return type_name in _EXACT_TYPES or (
        type_name.startswith(_EXACT_FAMILIES) and not type_name.endswith("]")
    )


class Statement(Struct, frozen=True):
    """A statement, and where its parameters come from: ``>= 0`` the new row, else ``~n`` the old.

    ``rows`` is the number of rows that it must affect.
    """

    text: str
    picks: tuple[int, ...]
    rows: int = 1

    def parameters(self, new: Row, old: Row) -> list[bytes | None]:
        """Return the parameters for one change."""
        return [new[n] if n >= 0 else old[~n] for n in self.picks]  # type: ignore[misc]


class TableStatements:
    """The statements that bring the changes of one route to its table, one row each."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.relation = route.relation
        self.table = route.table
        self.full = route.full
        self._key = route.key
        self._name = qualified_name(route.table.schema, route.table.name)
        self._columns = [route.table.columns[name] for name in route.relation.columns]
        self._insert: Statement | None = None
        self._updates: dict[object, Statement | None] = {}
        self._deletes: dict[object, Statement] = {}

    def insert(self) -> Statement:
        """Return the statement for a new row."""
        if self._insert is None:
            self._insert = self._make_insert()
        return self._insert

    def update(self, old: Row | None, new: Row) -> Statement | None:
        """Return the statement for this update; None when it changes nothing that is stored."""
        unchanged = (
            tuple(n for n, value in enumerate(new) if value is UNCHANGED)
            if UNCHANGED in new
            else ()
        )
        nulls = _nulls(old) if self.full and old is not None else ()
        shape = (unchanged, nulls, old is None)
        return _cached(
            self._updates, shape, lambda: self._make_update(unchanged, nulls, moved=old is not None)
        )

    def delete(self, old: Row) -> Statement:
        """Return the statement for this delete."""
        nulls = _nulls(old) if self.full else ()
        return _cached(self._deletes, nulls, lambda: self._make_delete(nulls))

    def describe_key(self, row: Row) -> str:
        """Return the identity in ``row`` as text for a person."""
        names = self.relation.columns
        positions = self._key or range(len(names))
        return ", ".join(f"{names[n]}={_shown(row[n])}" for n in positions)

    def _make_insert(self) -> Statement:
        stored = self.route.stored
        if not stored:
            return Statement(f"INSERT INTO {self._name} DEFAULT VALUES", ())
        names = column_list([self._columns[n].name for n in stored])
        marks = ", ".join(f"${n}" for n in range(1, len(stored) + 1))
        return Statement(
            f"INSERT INTO {self._name} ({names}) OVERRIDING SYSTEM VALUE VALUES ({marks})",
            stored,
        )

    def _make_update(
        self, unchanged: tuple[int, ...], nulls: tuple[int, ...], *, moved: bool
    ) -> Statement | None:
        if set(self.route.always) - set(self._key) or (moved and self.route.always):
            return self._make_replacement(unchanged, nulls, moved=moved)
        fixed = set(unchanged) if moved or self.full else set(unchanged) | set(self._key)
        changed = [n for n in self.route.settable if n not in fixed]
        if not changed:
            return None
        assignments = ", ".join(
            f"{quote_identifier(self._columns[n].name)} = ${number}"
            for number, n in enumerate(changed, start=1)
        )
        where, picks = self._where(nulls, moved=moved, first=len(changed) + 1)
        return Statement(
            f"UPDATE {self._only()}{self._name} SET {assignments} WHERE {where}",
            (*changed, *picks),
        )

    def _make_replacement(
        self, unchanged: tuple[int, ...], nulls: tuple[int, ...], *, moved: bool
    ) -> Statement:
        """Return an update of a row with an identity column that no UPDATE may set.

        The row is deleted and inserted again; what the source did not send (a plugin may name such
        columns or leave them out altogether) comes from the old one.
        """
        where, picks = self._where(nulls, moved=moved, first=1)
        values = []
        for n in self.route.stored:
            column = self._columns[n]
            if n in unchanged:
                values.append(f"gone.{quote_identifier(column.name)}")
            else:
                picks.append(n)
                values.append(f"${len(picks)}::{column.type}")
        sent = set(self.relation.columns)
        kept = [
            column.name
            for column in self.table.columns.values()
            if column.name not in sent and not column.generated
        ]
        values += [f"gone.{quote_identifier(name)}" for name in kept]
        names = column_list([*(self._columns[n].name for n in self.route.stored), *kept])
        return Statement(
            f"WITH gone AS (DELETE FROM {self._only()}{self._name} WHERE {where} RETURNING *)"
            f" INSERT INTO {self._name} ({names}) OVERRIDING SYSTEM VALUE"
            f" SELECT {', '.join(values)} FROM gone",
            tuple(picks),
        )

    def _make_delete(self, nulls: tuple[int, ...]) -> Statement:
        where, picks = self._where(nulls, moved=True, first=1)
        return Statement(f"DELETE FROM {self._only()}{self._name} WHERE {where}", tuple(picks))

    def _only(self) -> str:
        return "" if self.table.partitioned else "ONLY "

    def _where(self, nulls: tuple[int, ...], *, moved: bool, first: int) -> tuple[str, list[int]]:
        """Return the condition that finds the row, and the picks of its parameters."""
        if self.full:
            return self._where_full(nulls, first)
        if not self._key:
            raise ConflictError(
                f"table {self.table.schema}.{self.table.name} has no replica identity, so that its"
                " updates and deletes cannot be applied",
                hint="give it a primary key or REPLICA IDENTITY FULL on the source and clone again",
            )
        condition = " AND ".join(
            f"{quote_identifier(self._columns[n].name)} = {_key_mark(self._columns[n], number)}"
            for number, n in enumerate(self._key, start=first)
        )
        return condition, [~n if moved else n for n in self._key]

    def _where_full(self, nulls: tuple[int, ...], first: int) -> tuple[str, list[int]]:
        """Find one row that is the old one in every column: there may be several alike."""
        tests: list[str] = []
        picks: list[int] = []
        for n in self.route.stored:
            column = self._columns[n]
            name = quote_identifier(column.name)
            if n in nulls:
                tests.append(f"{name} IS NULL")
                continue
            tests.append(_same(column, name, f"${first + len(picks)}"))
            picks.append(~n)
        condition = " AND ".join(tests) or "true"
        source = f"{self._only()}{self._name}"
        if not self.table.partitioned:
            return f"ctid = (SELECT ctid FROM {source} WHERE {condition} LIMIT 1)", picks
        return (
            f"(tableoid, ctid) = (SELECT tableoid, ctid FROM {source} WHERE {condition} LIMIT 1)",
            picks,
        )


def truncate_statement(
    tables: Sequence[TargetTable], *, restart_identity: bool, cascade: bool
) -> str:
    """Return one TRUNCATE over all of ``tables``.

    The list is complete, for the source has followed every CASCADE; it is repeated only where the
    target may have a foreign key from one of these tables' partitions or children.
    """
    names = ", ".join(
        ("" if table.partitioned else "ONLY ") + qualified_name(table.schema, table.name)
        for table in tables
    )
    restart = " RESTART IDENTITY" if restart_identity else ""
    return f"TRUNCATE {names}{restart}{' CASCADE' if cascade else ''}"


def _key_mark(column: TargetColumn, number: int) -> str:
    """Return how the value of a key is written, for the column's type to read it.

    Of an unknown value beside a row the server believes that it is a row of no type in particular,
    which it cannot read (rowtypes.c, record_in).
    """
    return f"${number}" if column.composite is None else f"${number}::{column.composite}"


def _same(column: TargetColumn, name: str, mark: str) -> str:
    if column.exact:
        return f"{name} = {mark}"
    # format(), unlike a cast to text, prints what the type's output function prints: the cast
    # leaves out the netmask of an inet and the padding of a character
    return f"pg_catalog.format('%s', {name}) COLLATE pg_catalog.\"C\" = {mark}::pg_catalog.text"


def _nulls(row: Row) -> tuple[int, ...]:
    return tuple(n for n, value in enumerate(row) if value is None) if None in row else ()


def _shown(value: object) -> str:
    if not isinstance(value, bytes):
        return "NULL" if value is None else "(unchanged)"
    text = value.decode("utf-8", "replace")
    return text if len(text) <= 60 else text[:57] + "..."


_Made = TypeVar("_Made")


def _cached(made: dict[object, _Made], shape: object, make: Callable[[], _Made]) -> _Made:
    try:
        return made[shape]
    except KeyError:
        statement = made[shape] = make()
        return statement
