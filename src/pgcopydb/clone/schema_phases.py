"""The schema through the work directory: dumped by one command, restored by others.

The dump needs only the source, and restoring it only the target. What ``phases`` has built in the
same directory is left out when the rest is restored.
"""

from typing import Final

from pgcopydb.clone import matviews, refusals, rows, schema, schema_dump
from pgcopydb.clone.context import (
    CONSTRAINTS_BUILT,
    INDEXES_BUILT,
    Restoring,
    is_done,
    mark_done,
    open_run,
)
from pgcopydb.clone.prepare import prepare_restore, server_facts
from pgcopydb.clone.resume import find_remainder, read_remainder
from pgcopydb.clone.schema import After
from pgcopydb.errors import StateError, some_of
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CopyOptions
from pgcopydb.model.results import PhaseSummary
from pgcopydb.pgtools.find import find_tools
from pgcopydb.postgres.connect import connect, pin, reporting
from pgcopydb.postgres.selection import read_selection, resolve_filters
from pgcopydb.postgres.snapshot import exported_snapshot
from pgcopydb.runtime import signals
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.filters import effective_filters, keep_filters
from pgcopydb.workdir.steps import begin_step, finish_step

_DUMPED: Final = "schema dumped"
_BEFORE: Final = "schema before the data restored"


def dump_schema(
    work: WorkDirectory, source: Endpoint, copy: CopyOptions, target: Endpoint | None = None
) -> PhaseSummary:
    """Dump the schema into the work directory, for a target that may not exist yet.

    Raises ExternalToolError when pg_dump fails, the source's error otherwise.
    """
    with work.store() as store:
        step = begin_step(store, "dump schema")
    if is_done(work, _DUMPED) and is_done(work, schema.RESTORING):
        return PhaseSummary(done=("the schema is dumped already, and restored from that dump",))
    with signals.stop_on_signals():
        source = pin(source)
        facts = server_facts(source)
        version = facts.version_num if target is None else server_facts(target).version_num
        header = open_run(work, source=facts)
        with exported_snapshot(source, copy.snapshot or header.snapshot) as held:
            tools = find_tools(facts.version_num, version)
            given = effective_filters(work, copy.filters)
            filters = resolve_filters(source, held.connection, given)
            selection = read_selection(source, held.connection, filters)
            schema_dump.dump(work, source, facts, tools, held.id, selection=selection)
            keep_filters(work, copy.filters, filters)
        mark_done(work, _DUMPED)
    with work.store() as store:
        step = finish_step(store, step)
    count = len(schema_dump.read_dumped(work).relations)
    return PhaseSummary(
        done=(f"schema with {count:,} tables and views dumped",),
        steps=(step,),
    )


def restore_before_data(work: WorkDirectory, target: Endpoint, copy: CopyOptions) -> PhaseSummary:
    """Create everything up to the empty tables.

    Raises StateError without a dump, TargetError when the target is not empty.
    """
    with signals.stop_on_signals():
        run = _begin(work, target, copy)
        return PhaseSummary(done=_restore_before(run), steps=tuple(run.steps))


def restore_after_data(work: WorkDirectory, target: Endpoint, copy: CopyOptions) -> PhaseSummary:
    """Create what is still missing after the data, and fill the materialised views.

    Raises StateError without a dump, or when what it stands on is not on the target.
    """
    with signals.stop_on_signals():
        run = _begin(work, target, copy)
        return PhaseSummary(done=_restore_after(run), steps=tuple(run.steps))


def restore_schema(work: WorkDirectory, target: Endpoint, copy: CopyOptions) -> PhaseSummary:
    """Create the whole schema: what comes before the data and what comes after it."""
    with signals.stop_on_signals():
        run = _begin(work, target, copy)
        done = (*_restore_before(run), *_restore_after(run))
        return PhaseSummary(done=done, steps=tuple(run.steps))


def copy_schema(
    work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions
) -> PhaseSummary:
    """Dump the schema and restore all of it."""
    with signals.stop_on_signals():
        dumped = dump_schema(work, source, copy, target)
        restored = restore_schema(work, target, copy)
    return PhaseSummary(done=(*dumped.done, *restored.done), steps=(*dumped.steps, *restored.steps))


def list_dumped(work: WorkDirectory, target: Endpoint, copy: CopyOptions) -> list[str]:
    """Return the dump's table of contents; what would not be restored is behind a semicolon.

    ``pg_restore --use-list`` takes it.
    """
    run = _begin(work, target, copy)
    after = schema.after_data(run)
    remaining = {entry.dump_id for entry in schema.remaining_after_data(run, _built(run))}
    entries = [
        *schema.before_data(run),
        *((entry, entry.dump_id in remaining) for entry in after),
    ]
    return [entry.line if taken else f";{entry.line}" for entry, taken in entries]


def fill_views(run: Restoring) -> None:
    """Fill the materialised views and build their indexes, when rows and schema are all there."""
    remainder = find_remainder(run)
    if remainder is None or not (run.is_done(After.OBJECTS) and rows.are_copied(run)):
        return
    with run.timed("materialized views"):
        matviews.fill(run, remainder.views, remainder.view_indexes)


def _begin(work: WorkDirectory, target: Endpoint, copy: CopyOptions) -> Restoring:
    dumped = schema_dump.read_dumped(work)
    return prepare_restore(work, target, copy, source_version_num=dumped.source_version_num)


def _restore_before(run: Restoring) -> tuple[str, ...]:
    if run.is_done(_BEFORE):
        return ("the schema before the data is restored already",)
    if not run.is_done(schema.RESTORING):
        with connect(run.target, purpose="clone") as session:
            refusals.refuse_not_empty(run.target, session, run.options)
    with run.timed("restore pre-data"):
        schema.restore_before_data(run)
    run.mark_done(_BEFORE)
    return ("schema before the data restored",)


def _restore_after(run: Restoring) -> tuple[str, ...]:
    if all(run.is_done(group) for group in After):
        return ("the schema after the data is restored already",)
    _refuse_missing_tables(run)
    with run.timed("restore post-data"):
        remaining = schema.remaining_after_data(run, _built(run))
        schema.restore_after_data(run, After.OBJECTS, remaining)
    fill_views(run)
    with run.timed("triggers, comments"):
        for group in schema.AFTER_KEYS:
            schema.restore_after_data(run, group, remaining)
    return (f"{len(remaining):,} objects after the data restored",)


def _built(run: Restoring) -> tuple[tuple[int, int], ...] | None:
    """Return what was built here, None when pg_restore has to make all of it.

    Raises StateError between the two: pg_restore cannot make a key of an index that is there.
    """
    if run.is_done(CONSTRAINTS_BUILT):
        return read_remainder(run).built
    if run.is_done(INDEXES_BUILT):
        raise StateError(
            "the indexes are built, but not the constraints that are made of them",
            hint="run pgcopydb copy constraints first",
        )
    return None


def _refuse_missing_tables(run: Restoring) -> None:
    if run.is_done(_BEFORE):
        return
    target = run.target
    with connect(target, purpose="clone") as session, reporting(target, "listing the tables"):
        present = set(schema_dump.list_relations(session))
    missing = [
        f"{one.schema}.{one.name}"
        for one in schema_dump.read_dumped(run.work).relations
        if one.kind in {"r", "p"} and one not in present
    ]
    if missing:
        raise StateError(
            f"target: tables are not there yet: {some_of(missing)}",
            hint="run pgcopydb restore pre-data first",
        )
