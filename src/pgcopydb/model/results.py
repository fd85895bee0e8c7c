"""What the use-cases give back, for a person or a program to read."""

from msgspec import Struct

from pgcopydb.errors import PgcopydbError


class TableSummary(Struct, frozen=True, kw_only=True):
    """One table's copy. ``index_seconds`` adds up its indexes, which are built side by side."""

    schema: str
    name: str
    bytes: int
    rows: int
    copy_seconds: float
    index_count: int = 0
    index_seconds: float = 0.0


class StepSummary(Struct, frozen=True, kw_only=True):
    """One step of a run, done by ``concurrency`` workers at once.

    Times are seconds since 1970; ``finished`` is None while it is under way, or for good where
    the run ended in it. ``bytes`` are those that it moved.
    """

    name: str
    started: float
    finished: float | None = None
    concurrency: int = 1
    bytes: int = 0

    @property
    def seconds(self) -> float:
        """How long it took; 0 for one that is not finished."""
        return 0.0 if self.finished is None else self.finished - self.started


class CloneSummary(Struct, frozen=True, kw_only=True):
    """A base copy, table by table and step by step; ``bytes`` are those that went through COPY.

    Steps overlap: indexes are built while other tables are copied.
    """

    tables: tuple[TableSummary, ...]
    steps: tuple[StepSummary, ...]
    total_seconds: float
    bytes: int


class DatabaseOutcome(Struct, frozen=True, kw_only=True):
    """What became of one database: its ``summary``, or the ``error`` that ended its copy.

    Both are None for one that an earlier run has copied.
    """

    name: str
    summary: CloneSummary | None = None
    error: PgcopydbError | None = None


class PhaseSummary(Struct, frozen=True, kw_only=True):
    """A part of a base copy: what was ``done``, a line each, and how long its steps took."""

    done: tuple[str, ...]
    steps: tuple[StepSummary, ...] = ()


class FollowSummary(Struct, frozen=True, kw_only=True):
    """What was applied. ``endpos`` is None where none was set; positions are integers."""

    endpos: int | None
    applied_lsn: int
    transactions: int
    changes: int


class OnlineSummary(Struct, frozen=True, kw_only=True):
    """What an online migration did; ``copy`` is None where the base copy was made before."""

    copy: CloneSummary | None
    follow: FollowSummary


class FollowProgress(Struct, frozen=True, kw_only=True):
    """Where a follow is. Positions are integers, 0 for one that is not set.

    ``write_lsn`` and ``flush_lsn`` are the end of the last commit stored, ``received_lsn`` the
    position up to which everything that committed is stored, ``transform_lsn`` the end of the last
    commit applied, ``replay_lsn`` of the last one on the target's disk, ``source_lsn`` the end of
    the source's log as last heard. ``lag_seconds`` is how long the oldest commit that is not
    applied has been waiting. Counts are of the whole migration.
    """

    startpos: int
    endpos: int
    apply: bool
    write_lsn: int
    flush_lsn: int
    transform_lsn: int
    replay_lsn: int
    received_lsn: int
    source_lsn: int
    lag_bytes: int
    lag_seconds: float
    transactions: int
    changes: int
    transactions_per_second: int
    changes_per_second: int


class FollowStanding(Struct, frozen=True, kw_only=True):
    """The latest command that applies changes, how it is doing or ended, and where it is."""

    command: str
    state: str
    progress: FollowProgress


class Conflict(Struct, frozen=True, kw_only=True):
    """A change that met a row on the target which was not what the source says it was.

    ``lsn`` is where its transaction's commit ends, ``kind`` INSERT, UPDATE or DELETE, ``key`` the
    row's identity as text, ``action`` "skipped" or "overwritten".
    """

    lsn: int
    xid: int
    schema: str
    table: str
    kind: str
    key: str
    reason: str
    action: str


class PrunedFile(Struct, frozen=True, kw_only=True):
    """A file of stored changes, by its name in the folder of stored changes."""

    name: str
    bytes: int


class PruneSummary(Struct, frozen=True, kw_only=True):
    """Files of stored changes that were removed, or with ``dry_run`` would be.

    ``position`` is the one up to which the target has everything on its disk.
    """

    position: int
    removed: tuple[PrunedFile, ...]
    kept_files: int
    kept_bytes: int
    dry_run: bool


class Count(Struct, frozen=True):
    """How many of how many are done."""

    done: int
    total: int


class UnderWay(Struct, frozen=True, kw_only=True):
    """Something that a worker is doing now, since ``started`` (seconds since 1970).

    ``what`` is "copy", "large objects", "build" (indexes, key constraints and vacuum of a table)
    or "foreign key". ``part`` counts from 1 among ``parts``. ``bytes`` are those moved so far,
    ``bytes_total`` the estimate of all; ``phase`` and ``fraction`` (0 to 1) are what the target
    says of an index that is being built. What is not known is None.
    """

    what: str
    schema: str | None
    name: str | None
    started: float
    part: int | None = None
    parts: int | None = None
    bytes: int | None = None
    bytes_total: int | None = None
    phase: str | None = None
    fraction: float | None = None


class FailedWork(Struct, frozen=True, kw_only=True):
    """Something that a worker could not do, and why."""

    schema: str | None
    name: str | None
    error: str


class CopyProgress(Struct, frozen=True, kw_only=True):
    """How far a base copy is.

    ``state`` is "not begun", "running", "done", "failed" or "interrupted"; ``step`` is the
    foremost one under way. ``rows`` and ``bytes`` are copied, ``bytes_total`` is an estimate
    that gets better; ``bytes_per_second`` is the average since copying began, and
    ``seconds_left``, an estimate too, is None where nothing can be said.
    """

    command: str | None
    state: str
    step: str | None
    started: float | None
    seconds: float
    tables: Count
    parts: Count
    rows: int
    bytes: int
    bytes_total: int
    bytes_per_second: int
    seconds_left: float | None
    large_objects: Count
    indexes: Count
    built: Count
    """Tables whose indexes, key constraints and vacuum are done."""
    foreign_keys: Count
    under_way: tuple[UnderWay, ...]
    failed: tuple[FailedWork, ...]
    steps: tuple[StepSummary, ...]
