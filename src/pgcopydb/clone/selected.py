"""What a base copy leaves out because of filters: as the snapshot shows what depends on what."""

from typing import Any, Final

from psycopg import Connection

from pgcopydb.errors import StateError
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import Filters
from pgcopydb.postgres.selection import read_selection
from pgcopydb.rules.selection import Selection

_NOTHING: Final[frozenset[tuple[int, int]]] = frozenset()


def selection_under(
    source: Endpoint, connection: Connection[tuple[Any, ...]], filters: Filters
) -> Selection:
    """Return what follows from ``filters`` in the snapshot that ``connection`` has.

    Raises StateError when that is not what followed when the migration began: a table may have
    been made or dropped between the two, and the stream would follow others than are copied.
    """
    if filters.selects_all:
        return Selection(filters, _NOTHING, _NOTHING, (), ())
    selection = read_selection(source, connection, filters)
    if filters.is_resolved and selection.filters != filters:
        raise StateError(
            "source: objects that the filters concern were made or dropped after the filters were"
            " looked at, and before the snapshot was taken",
            hint="start over with --restart when such statements are not under way",
        )
    return selection
