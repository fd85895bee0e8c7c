"""What part of a table one COPY carries."""

from enum import StrEnum

from msgspec import Struct


class PartKind(StrEnum):
    """How a part is cut out of its table."""

    WHOLE = "whole"
    BLOCKS = "blocks"
    KEYS = "keys"


class Part(Struct, frozen=True):
    """One of ``count`` parts of a table, counted from 1, that together hold each row once.

    ``lower`` is the first block or key of the part and ``upper`` the first one after it. The first
    part has no lower bound and the last no upper one: the size that the parts were planned with
    may be stale, and no row may fall outside. ``column`` is the key column of a KEYS part.
    ``bytes`` is the estimated share of the table's size, TOAST counted.
    """

    number: int = 1
    count: int = 1
    kind: PartKind = PartKind.WHOLE
    column: str | None = None
    lower: int | None = None
    upper: int | None = None
    bytes: int = 0


class TablePart(Struct, frozen=True, kw_only=True):
    """One part of one table to move.

    ``table_oid`` is the source's. With ``freeze`` the target table is emptied in the same
    transaction, which is only right for a table in one part, and the rows are written as a vacuum
    would leave them. ``binary`` wants the same types on both sides.
    """

    table_oid: int
    schema: str
    name: str
    columns: tuple[str, ...]
    part: Part
    freeze: bool = False
    binary: bool = False

    def __str__(self) -> str:
        if self.part.count == 1:
            return f"{self.schema}.{self.name}"
        return f"{self.schema}.{self.name} (part {self.part.number} of {self.part.count})"
