"""Whether what the source's planner knows of a table is as good as an ANALYZE of its copy.

A copy has the rows of its source, so that what ANALYZE would find in a sample of it is known, as
long as it is not outdated there. pg_upgrade to 18 takes statistics over without looking; here they
must be as new as autovacuum keeps them, or the copy is analyzed.
"""

from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

_CHANGED_ROWS: Final = 50
_CHANGED_SHARE: Final = 0.1
"""autovacuum_analyze_threshold and _scale_factor as they are set by default: with fewer changes a
server takes its own statistics for good enough."""

_MEANWHILE: Final = timedelta(minutes=10)
"""How much later than their root partitions may have been analyzed: one ANALYZE does both."""


class Analyzed(Struct, frozen=True):
    """The last ANALYZE of a table, or of several: what it found, and what has changed since.

    ``rows`` is below zero for none; ``at`` is None where one of them was never analyzed, as far as
    the server remembers (a crash makes it forget).
    """

    rows: float
    changed: int
    at: datetime | None

    @property
    def is_current(self) -> bool:
        """Tell whether a server would leave the statistics as they are."""
        if self.at is None or self.rows <= 0:
            return False
        return self.changed <= _CHANGED_ROWS + _CHANGED_SHARE * self.rows


class TextOrder(Struct, frozen=True):
    """What a database sorts text by: provider ("c", "i", "b") and locale, rules, their version."""

    provider: str
    locale: str
    rules: str
    version: str | None

    @property
    def is_of_bytes(self) -> bool:
        """Tell whether text is sorted by its bytes, which no library decides.

        The server takes C.UTF-8 for such a one too, of libc and of its own.
        """
        by_bytes = self.locale in {"C", "POSIX"} or self.locale.startswith("C.")
        return self.provider != "i" and by_bytes


class TableStatistics(Struct, frozen=True, kw_only=True):
    """What there is to know of the statistics of a table before they are read.

    ``relations`` are the names of the table and of its indexes on expressions, ``attributes`` is
    how many columns of all of these ANALYZE looks at. ``is_portable`` says that what it found can
    be read and means the same on the target. ``partitions`` are the leaves of a partitioned table.
    """

    oid: int
    schema: str
    name: str
    relations: tuple[str, ...]
    attributes: int
    is_portable: bool
    itself: Analyzed
    partitions: Analyzed | None


def sort_alike(ours: TextOrder, theirs: TextOrder) -> bool:
    """Tell whether two databases are known to sort text in one order."""
    if ours.is_of_bytes and theirs.is_of_bytes:
        return True
    return ours.version is not None and _comparable(ours) == _comparable(theirs)


def _comparable(order: TextOrder) -> tuple[str | None, ...]:
    """Return what must be equal; libc has several spellings of UTF-8."""
    locale = order.locale.lower().replace("-", "") if order.provider == "c" else order.locale
    return order.provider, locale, order.rules, order.version


def may_be_taken_over(table: TableStatistics) -> bool:
    """Tell whether the statistics of ``table`` serve its copy as well as an ANALYZE would."""
    if not table.is_portable:
        return False
    if table.partitions is None:
        return table.itself.is_current
    return _is_root_current(table.itself, table.partitions)


def _is_root_current(root: Analyzed, partitions: Analyzed) -> bool:
    """Nobody counts the changes below a partitioned table; its partitions tell what they know.

    They must be current themselves, none may have been analyzed long after the root (a new one, or
    one with new rows), and together they must have the rows that the root was found to have.
    """
    if not partitions.is_current or root.at is None or partitions.at is None:
        return False
    if partitions.at > root.at + _MEANWHILE:
        return False
    return abs(partitions.rows - root.rows) <= _CHANGED_ROWS + _CHANGED_SHARE * root.rows
