"""The steps of a base copy, in their order.

::

    (snapshot ─► lock tables ─► checks ─► read catalogue, plan) ∥ dump schema
      ─► restore what comes before the data
      ─► table data ∥ indexes, constraints, vacuum ∥ large objects, sequences ─► verify
      ─► what comes after the data ─► materialised views ─► foreign keys ─► triggers, comments

Every step can be repeated or says that it is done, so that a run that was interrupted is resumed by
running it again; which rows are copied is asked of the target (its copy markers).
"""

from collections.abc import Callable
from time import monotonic
from typing import Final

from msgspec.structs import replace

from pgcopydb.clone import matviews, schema
from pgcopydb.clone.beginning import Beginning, beginning
from pgcopydb.clone.constraints import finish, refuse_unvalidated, refuse_violated
from pgcopydb.clone.context import Copying
from pgcopydb.clone.prepare import check, leave_target, prepare, prepared
from pgcopydb.clone.properties import limit_connections, set_properties
from pgcopydb.clone.resume import read_remainder
from pgcopydb.clone.roles import copy_roles
from pgcopydb.clone.rows import copy_rows, refuse_emptied
from pgcopydb.clone.schema import After
from pgcopydb.clone.summary import summarize
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CopyOptions
from pgcopydb.model.results import CloneSummary
from pgcopydb.postgres.short_sessions import keeping_sessions
from pgcopydb.runtime import signals
from pgcopydb.workdir.directory import WorkDirectory

__all__ = [
    "check",
    "clone",
    "copy_database",
    "finish_constraints",
    "limit_connections",
    "refuse_violated",
]

Watch = Callable[[], None]

_FILLED: Final = "materialized views"


def clone(
    work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions
) -> CloneSummary:
    """Copy a whole database; ``pgcopydb clone`` without ``--follow``.

    Reads under the snapshot that the options or an earlier command of the same directory name, or
    else under its own. Raises the errors of the steps; SqlError after everything is copied when
    rows of the source violate a foreign key, which a copy that is to be followed leaves to
    :func:`refuse_violated`.
    """
    started = monotonic()
    with (
        signals.stop_on_signals(),
        keeping_sessions(),
        beginning(work, source, target, copy) as begun,
    ):
        filters = check(work, source, target, copy, tell=True, tables=begun.tables)
        with prepared(work, source, target, copy, filters, sides=begun.sides) as copying:
            _copy_base(copying, copy.snapshot or copying.header.snapshot, begun)
            finish(copying, unchecked=False)
            set_properties(copying)
        summary = summarize(copying.work, monotonic() - started)
        if copying.header.consistent_point is None:
            limit_connections(source, target, copy)
            refuse_emptied(copying)
            refuse_unvalidated(copying)
            leave_target(copying)
    return summary


def copy_database(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    copy: CopyOptions,
    *,
    snapshot: str,
    watch: Watch = lambda: None,
    copied: Callable[[], None] = lambda: None,
    defer_constraints: bool = False,
) -> CloneSummary:
    """Copy a whole database as the exported ``snapshot`` shows it, to be followed by changes.

    The snapshot must stay exported until ``copied`` is called, which is when no more rows are read:
    indexes may take hours from then on. ``watch`` is called while the copy waits and may raise to
    end it. With ``defer_constraints`` foreign keys, triggers and comments
    are left to :func:`finish_constraints` (ruling 21). The helper schema stays on the target.
    """
    started = monotonic()
    with keeping_sessions(), prepared(work, source, target, copy) as begun:
        copying = replace(begun, watch=_each(begun.watch, watch), copied=copied)
        _copy_base(copying, snapshot)
        if not defer_constraints:
            finish(copying, unchecked=False)
        set_properties(copying)
    return summarize(work, monotonic() - started)


def _each(*watches: Watch) -> Watch:
    def watch() -> None:
        for one in watches:
            one()

    return watch


def finish_constraints(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    copy: CopyOptions,
    *,
    watch: Watch = lambda: None,
) -> None:
    """Create the foreign keys, triggers and comments that ``copy_database`` left out.

    Foreign keys come first without a look at the rows that are there, so that writers of the
    target are held up for a moment only, and are checked afterwards, which blocks no writes.
    """
    copying = replace(prepare(work, source, target, copy), watch=watch)
    finish(copying, unchecked=True)


def _copy_base(copying: Copying, snapshot: str | None, begun: Beginning | None = None) -> None:
    """Everything up to the point from which foreign keys and triggers can be created."""
    if copying.options.roles:
        with copying.timed("roles"):
            copy_roles(copying.source, copying.target, copying.options)
    copy_rows(copying, snapshot, beginning=begun)
    remainder = read_remainder(copying)
    with copying.timed("restore post-data"):
        remaining = schema.remaining_after_data(copying, remainder.built)
        schema.restore_after_data(copying, After.OBJECTS, remaining)
    if not copying.is_done(_FILLED):
        with copying.timed("materialized views"):
            matviews.fill(copying, remainder.views, remainder.view_indexes)
        copying.mark_done(_FILLED)
