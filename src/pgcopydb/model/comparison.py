"""What a comparison of two databases found."""

from enum import StrEnum

from msgspec import Struct

from pgcopydb.model.endpoint import Side


class Found(StrEnum):
    """How something is not the same on both sides."""

    ONLY_SOURCE = "only on the source"
    ONLY_TARGET = "only on the target"
    DIFFERS = "differs"


class Moment(Struct, frozen=True, kw_only=True):
    """What was compared on one side: its database, as of when, and where its log ended then.

    ``lsn`` is None where the server does not tell it.
    """

    side: Side
    database: str
    version: str
    time: str
    lsn: int | None


class ValueDifference(Struct, frozen=True, kw_only=True):
    """A column, or a property of an object, with what it is on either side; None is absent."""

    name: str
    source: str | None
    target: str | None


class RowDifference(Struct, frozen=True, kw_only=True):
    """A row that is not the same. ``key`` pairs columns with their values as text.

    A row of a table without key is known by a sample of its text, and by how often it is there.
    """

    found: Found
    key: tuple[tuple[str, str], ...]
    values: tuple[ValueDifference, ...] = ()
    source_count: int = 1
    target_count: int = 1
    sample: str = ""


class TableDifference(Struct, frozen=True, kw_only=True):
    """A table whose rows are not the same on both sides.

    ``reasons`` say what else is wrong: the table or a column is missing. Rows are None where the
    table is missing. ``rows`` are those that were looked for, ``more`` tells that there are others.
    """

    schema: str
    name: str
    source_rows: int | None
    target_rows: int | None
    reasons: tuple[str, ...] = ()
    rows: tuple[RowDifference, ...] = ()
    more: bool = False


class ObjectDifference(Struct, frozen=True, kw_only=True):
    """Something else that differs: ``kind`` and ``name`` say what, ``values`` in which way."""

    kind: str
    name: str
    found: Found
    values: tuple[ValueDifference, ...] = ()


class DataComparison(Struct, frozen=True, kw_only=True):
    """The outcome of comparing all rows; counts are of what was compared.

    ``notes`` tell what was not compared, and why.
    """

    source: Moment
    target: Moment
    tables: int
    rows: int
    sequences: int
    large_objects: int
    seconds: float
    table_differences: tuple[TableDifference, ...] = ()
    object_differences: tuple[ObjectDifference, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not self.table_differences and not self.object_differences


class SchemaComparison(Struct, frozen=True, kw_only=True):
    """The outcome of comparing all definitions; ``objects`` is how many the source has."""

    source: Moment
    target: Moment
    objects: int
    seconds: float
    differences: tuple[ObjectDifference, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


class ComparisonProgress(Struct, frozen=True, kw_only=True):
    """How far a comparison of rows is; bytes are of both sides together."""

    tables_done: int
    tables: int
    bytes_done: int
    bytes: int
    different: int
    now: str
    """What is being read."""
