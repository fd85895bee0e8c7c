"""What a base copy would do, without doing any of it: for the commands that only show it."""

from collections.abc import Callable
from functools import partial

from pgcopydb.clone.planning.copies import cut_in_parts
from pgcopydb.clone.tables import key_bounds
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import Filters
from pgcopydb.model.objects import Table
from pgcopydb.model.options import CopyOptions
from pgcopydb.model.parts import Part
from pgcopydb.postgres import discover
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.selection import resolve_filters


def planned_parts(
    source: Endpoint,
    options: CopyOptions,
    filters: Filters,
    *,
    shown: Callable[[Table], bool],
) -> list[tuple[Table, tuple[Part, ...]]]:
    """Return the parts in which a copy of all that ``filters`` take would copy tables ``shown``.

    Into how many parts a table is cut depends on the sizes of the others too. Raises the source's
    errors, and ConfigurationError for filters that do not fit the source.
    """
    with connect(source, purpose="list table-parts") as connection:
        with reporting(source, "reading the list of tables"):
            facts = discover.server_facts(connection)
            filters = resolve_filters(source, connection, filters, tell=False)
            tables = [
                table
                for table in discover.list_tables(
                    connection, estimate_sizes=options.estimate_table_sizes
                )
                if table.has_rows and filters.copies_data(table.schema, table.name)
            ]
        bounds = partial(key_bounds, source, connection)
        wanted = filter(shown, tables)
        return list(cut_in_parts(wanted, facts, options, bounds, among=tables))
