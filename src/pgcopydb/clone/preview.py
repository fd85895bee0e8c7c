"""What a base copy would do, without doing any of it: for the commands that only show it."""

from collections.abc import Callable
from functools import partial

from pgcopydb.clone.plan import cut_in_parts
from pgcopydb.clone.tables import key_bounds
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import Table
from pgcopydb.model.options import CopyOptions
from pgcopydb.model.parts import Part
from pgcopydb.postgres import discover
from pgcopydb.postgres.connect import connect, reporting


def planned_parts(
    source: Endpoint,
    options: CopyOptions,
    *,
    copied: Callable[[Table], bool],
    shown: Callable[[Table], bool],
) -> list[tuple[Table, tuple[Part, ...]]]:
    """Return the parts in which a copy of all tables ``copied`` would copy those ``shown``.

    Into how many parts a table is cut depends on the sizes of the others too. Raises the source's
    errors.
    """
    with connect(source, purpose="list table-parts") as connection:
        with reporting(source, "reading the list of tables"):
            facts = discover.server_facts(connection)
            tables = [
                table
                for table in discover.list_tables(connection)
                if table.has_rows and copied(table)
            ]
        bounds = partial(key_bounds, source, connection)
        wanted = filter(shown, tables)
        return list(cut_in_parts(wanted, facts, options, bounds, among=tables))
