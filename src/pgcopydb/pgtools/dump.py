"""Writes the source's schema to an archive with pg_dump, in the snapshot of the copy."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from pgcopydb.errors import ExternalToolError
from pgcopydb.model.access import ChildAccess
from pgcopydb.pgtools.files import sync_folder, write_private
from pgcopydb.pgtools.find import Tools
from pgcopydb.pgtools.process import run_tool

_OWN_SCHEMA: Final = "pgcopydb"

_TABLES_PER_PATTERN: Final = 400
"""Names in one argument, which Linux bounds at 128 KiB; a quoted name has up to 257 bytes."""


LOCK_WAIT: Final = 5
"""Seconds that pg_dump waits for a table, if it is not one of very many."""


def dump_schema(
    tools: Tools,
    access: ChildAccess,
    snapshot: str | None,
    output: Path,
    *,
    exclude_schemas: Iterable[str] = (),
    exclude_tables: Iterable[tuple[str, str]] = (),
    lock_wait_seconds: int = LOCK_WAIT,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Write the schema as ``snapshot`` shows it to ``output``, an archive of the custom format.

    The file appears under its name only when it is whole and on disk. ``exclude_tables``, by schema
    and name, are neither locked nor written. Subscriptions are left out: on a target they would
    compete for the source's slots. A table that cannot be locked within
    ``lock_wait_seconds`` is an error: behind a statement that waits for the copy's own lock,
    pg_dump would wait until the copy is over. Raises ExternalToolError.
    """
    unfinished = output.with_name(output.name + ".unfinished")
    excluded = [f"--exclude-schema={_pattern(name)}" for name in (_OWN_SCHEMA, *exclude_schemas)]
    excluded += [f"--exclude-table={pattern}" for pattern in table_patterns(exclude_tables)]
    arguments: list[str | Path] = [
        tools.pg_dump,
        f"--dbname={access.conninfo}",
        "--no-password",
        "--format=custom",
        "--schema-only",
        "--no-subscriptions",
        f"--lock-wait-timeout={lock_wait_seconds * 1000}",
        *excluded,
        f"--file={unfinished}",
    ]
    if snapshot is not None:
        arguments.append(f"--snapshot={snapshot}")
    # pg_dump opens with the umask's mode; a schema is nobody else's business.
    write_private(unfinished)
    try:
        done = run_tool(arguments, access.environment, stopping=stopping)
        if done.status != 0:
            raise _with_hint(done.error())
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(output.parent)


def table_patterns(tables: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Give patterns that together match these tables, by schema and name, and nothing else.

    pg_dump asks the server once for each of them, so that one stands for many tables.
    """
    of_schema: dict[str, list[str]] = defaultdict(list)
    for schema, name in tables:
        of_schema[schema].append(_pattern(name))
    for schema, names in of_schema.items():
        remaining = iter(names)
        while some := list(islice(remaining, _TABLES_PER_PATTERN)):
            yield f"{_pattern(schema)}.({'|'.join(some)})"


def _with_hint(error: ExternalToolError) -> ExternalToolError:
    # pg_dump's lock timeout is a statement_timeout while it locks the tables.
    if "statement timeout" not in error.message:
        return error
    return ExternalToolError(
        error.message,
        hint="a table could not be locked: end the session that holds or waits for its lock",
    )


def _pattern(name: str) -> str:
    """Return the pattern that matches this name only (psql, "Patterns")."""
    return '"' + name.replace('"', '""') + '"'
