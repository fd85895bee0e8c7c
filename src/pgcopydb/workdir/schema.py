"""Whether the schema of a SQLite file is the one this program wrote.

SQLite carries out whatever constraints, defaults and indexes the text of the schema asks for. A bit
of that text that is not what it was is told by no checksum of a row, so the text is compared.
"""

import sqlite3
from contextlib import closing
from functools import cache


def schema_difference(connection: sqlite3.Connection, written: str) -> str | None:
    """Return how the schema differs from the one that the script ``written`` makes, or None.

    What somebody added to it is no damage.
    """
    expected = _schema_made_by(written)
    found = _schema_of(connection)
    lacking = sorted(expected.keys() - found.keys())
    if lacking:
        return f"it has no {', '.join(lacking)}"
    return None if expected.items() <= found.items() else "its schema is damaged"


@cache
def _schema_made_by(written: str) -> dict[str, str]:
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(written)
        return _schema_of(fresh)


def _schema_of(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the statement that made each table, index and view; what SQLite makes has none."""
    rows = connection.execute(
        "select type || ' ' || name, sql from sqlite_master where sql is not null"
    )
    return dict(rows.fetchall())
