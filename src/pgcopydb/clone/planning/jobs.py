"""What the jobs of a base copy hold, and the units that they wait for."""

from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from pgcopydb.model.objects import Index, Table
from pgcopydb.model.parts import TablePart
from pgcopydb.workdir.jobs import NewJob


class Making(StrEnum):
    """What the jobs of a plan are for. A whole copy makes all of it, a part of one does some."""

    ROWS = "rows"
    INDEXES = "indexes"
    CONSTRAINTS = "constraints"
    FOREIGN_KEYS = "foreign keys"
    VACUUM = "vacuum"


EVERYTHING: Final = frozenset(Making)


class Step(Struct, frozen=True, kw_only=True, gc=False):
    """Statements that belong together, and the object that shows that they were run."""

    statements: tuple[str, ...]
    index: tuple[str, str] | None = None
    constraint: tuple[str, str, str] | None = None
    """Schema and table, and the constraint's name."""


class Upkeep(Struct, frozen=True, kw_only=True, gc=False):
    """What a table needs once all is built on it; None for nothing.

    ``analyze`` is not run where the source's statistics are taken over: ``may_be_taken_over``.
    """

    vacuum: str | None = None
    analyze: str | None = None
    may_be_taken_over: bool = False
    is_counted: bool = False
    """Whether the VACUUM reads all rows; it takes a table that was loaded frozen for empty."""


class Build(Struct, frozen=True, kw_only=True, gc=False):
    """What a job of the pool BUILD runs: ``steps`` in one transaction, then the ``upkeep``."""

    steps: tuple[Step, ...] = ()
    upkeep: Upkeep = Upkeep()


class ForeignKey(Struct, frozen=True, kw_only=True):
    """What a job of the pool FOREIGN_KEYS makes."""

    schema: str
    table: str
    name: str
    create: str
    create_not_valid: str | None
    """None where a foreign key can only be made checked: on a partitioned table, before 18."""
    lock: str
    validate: str | None
    """None for a foreign key that is not validated on the source either."""
    is_gapped: bool = False
    """Whether filters leave out rows of the table that it refers to."""
    oid: int = 0
    """The source's."""


class BuiltIndex(Struct, frozen=True, gc=False):
    """An index that must be on the target in the end, with the constraint that it serves."""

    schema: str
    name: str
    constraint: str | None
    created: bool = True
    """Whether the index is made first and the constraint of it; some constraints make their own."""


class Remainder(Struct, frozen=True, kw_only=True):
    """What later steps, and a run that resumes this one, have to know of the catalogue."""

    indexes: tuple[BuiltIndex, ...] = ()
    views: tuple[Table, ...] = ()
    """Materialised views."""
    view_indexes: tuple[Index, ...] = ()
    built: tuple[tuple[int, int], ...] = ()
    """Catalog and oid of each object that pg_restore must leave to this program."""


class RowsPlan(Struct, frozen=True, kw_only=True):
    """The jobs that copy rows, the largest first.

    ``bytes`` and ``parts`` are what there is to copy, ``frozen`` the oids of the tables that are
    loaded frozen.
    """

    jobs: tuple[NewJob, ...]
    frozen: frozenset[int]
    bytes: int
    parts: int


def encode(parameters: TablePart | Build | ForeignKey) -> bytes:
    """Return a job's parameters as they are kept in the queue."""
    return msgspec.json.encode(parameters)


def copy_unit(oid: int) -> str:
    """Return the unit of all parts of a table."""
    return f"copy {oid}"


def indexes_unit(oid: int) -> str:
    """Return the unit of the indexes of a table."""
    return f"indexes {oid}"


def constraints_unit(oid: int) -> str:
    """Return the unit after which everything that a table's indexes serve is there."""
    return f"constraints {oid}"
