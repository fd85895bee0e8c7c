"""What COPY lanes say: the lock, the query that reads a part of a table, and the TRUNCATE."""

from collections.abc import Iterable

from pgcopydb.errors import InternalError
from pgcopydb.model.parts import Part, PartKind
from pgcopydb.sql.quote import column_list, qualified_name, quote_identifier


def select_part(schema: str, table: str, columns: tuple[str, ...], part: Part) -> str:
    """Return a SELECT of ``columns`` of the rows of ``part`` and of no child table.

    Block ranges become TID range scans on servers from 14 on; older ones read the whole table
    for each, so they are not planned there. An empty column list is right for a table without
    columns: PostgreSQL's own ``SELECT FROM``.
    """
    return " ".join(
        (
            "SELECT",
            column_list(columns),
            "FROM ONLY",
            qualified_name(schema, table),
            _where(part),
        )
    ).rstrip()


def lock_tables(tables: Iterable[tuple[str, str]]) -> str:
    """Return the statement that keeps ``tables`` (schema and name) from changing their shape."""
    names = ", ".join(f"ONLY {qualified_name(*table)}" for table in tables)
    return f"LOCK TABLE {names} IN ACCESS SHARE MODE"


def truncate_tables(tables: Iterable[tuple[str, str]]) -> str:
    """Return the statement that empties ``tables`` (schema and name), and no child of theirs."""
    names = ", ".join(f"ONLY {qualified_name(*table)}" for table in tables)
    return f"TRUNCATE {names}"


def _where(part: Part) -> str:
    if part.kind is PartKind.WHOLE:
        return ""
    if part.kind is PartKind.BLOCKS:
        return _range("ctid", _tid(part.lower), _tid(part.upper))
    if part.column is None:
        raise InternalError("a part by key range names no column")
    return _range(quote_identifier(part.column), _number(part.lower), _number(part.upper))


def _range(subject: str, lower: str | None, upper: str | None) -> str:
    conditions = [f"{subject} OPERATOR(pg_catalog.>=) {lower}"] if lower else []
    conditions += [f"{subject} OPERATOR(pg_catalog.<) {upper}"] if upper else []
    return "WHERE " + " AND ".join(conditions) if conditions else ""


def _tid(block: int | None) -> str | None:
    return None if block is None else f"'({block:d},0)'::pg_catalog.tid"


def _number(key: int | None) -> str | None:
    # In parentheses: a bare minus sign would otherwise join the operator before it.
    return None if key is None else f"({key:d})"
