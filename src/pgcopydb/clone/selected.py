"""Whether a snapshot still shows what followed from the filters when they were looked at."""

from typing import Any

from psycopg import Connection

from pgcopydb.errors import StateError
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import Filters
from pgcopydb.postgres.selection import read_selection


def refuse_changed_selection(
    source: Endpoint, connection: Connection[tuple[Any, ...]], filters: Filters
) -> None:
    """Raise StateError when ``filters`` mean something else in the snapshot of ``connection``.

    A table may have been made or dropped since they were looked at: the stream would follow others
    than are copied, and a view be made without what it reads.
    """
    if filters.is_resolved and read_selection(source, connection, filters).filters != filters:
        raise StateError(
            "source: objects that the filters concern were made or dropped after the filters were"
            " looked at, and before the snapshot was taken",
            hint="start over with --restart when such statements are not under way",
        )
