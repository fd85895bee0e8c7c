"""Whether a snapshot still shows what followed from the filters when they were looked at."""

from pgcopydb.errors import StateError
from pgcopydb.model.filters import Filters
from pgcopydb.rules.selection import Selection


def refuse_changed_selection(selection: Selection, filters: Filters) -> None:
    """Raise StateError when the ``selection`` of a snapshot is not what ``filters`` meant before.

    A table may have been made or dropped since they were looked at: the stream would follow others
    than are copied, and a view be made without what it reads.
    """
    if filters.is_resolved and selection.filters != filters:
        raise StateError(
            "source: objects that the filters concern were made or dropped after the filters were"
            " looked at, and before the snapshot was taken",
            hint="start over with --restart when such statements are not under way",
        )
