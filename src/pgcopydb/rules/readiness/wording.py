"""How findings are worded: lists of names that stay short, sizes, ages, and their statements."""

from collections.abc import Iterable, Sequence
from typing import Final

from pgcopydb.errors import some_of
from pgcopydb.model.findings import Name, Statement
from pgcopydb.model.objects import Table

_UNITS: Final = ("bytes", "kB", "MB", "GB")


def table_names(tables: Iterable[Table]) -> str:
    """Return the first few tables by schema and name, and how many more there are."""
    return some_of([f"{table.schema}.{table.name}" for table in tables])


def quoted(names: Iterable[str]) -> str:
    """Return the first few names in quotation marks."""
    return some_of([f'"{name}"' for name in names])


def bytes_text(count: float) -> str:
    """Return a number of bytes with its unit; units are powers of 1024."""
    for unit in _UNITS:
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"


def age_text(seconds: float) -> str:
    """Return an age in whole units that a person thinks in."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def grant_read(kind: str, names: Sequence[tuple[str, str]], role: str) -> tuple[Statement, ...]:
    """Return the GRANTs that let ``role`` read tables or sequences of these names."""
    schemas = sorted({schema for schema, _ in names})
    return (
        grant("USAGE ON SCHEMA", [Name(schema) for schema in schemas], role),
        grant(f"SELECT ON {kind}", [Name(*name) for name in names], role),
    )


def grant(what: str, objects: Sequence[Name | int], role: str) -> Statement:
    """Return a GRANT of ``what`` on one or several objects."""
    marks = ", ".join("{}" for _ in objects)
    return Statement(f"GRANT {what} {marks} TO {{}};", *objects, Name(role))


def set_and_reload(setting: str, value: str | int) -> tuple[Statement, ...]:
    """Return the statements that change a setting of the server which needs no restart."""
    change = Statement(f"ALTER SYSTEM SET {setting} = {{}};", value)
    return (change, Statement("SELECT pg_catalog.pg_reload_conf();"))


def set_setting(setting: str, value: str | int) -> tuple[Statement, ...]:
    """Return the statement that changes a setting of the server which needs a restart."""
    return (Statement(f"ALTER SYSTEM SET {setting} = {{}};", value),)
