"""The online migration: base copy and change capture together. The one module that knows both.

::

    slot and its snapshot ─► receive ════════════════════════════════════╗ stored changes
                        └──► base copy from that snapshot ─► origin ─► apply ─► endpos ─► sequences

Receiving goes on beside the copy, so that the source need not keep its WAL; nothing is applied
before the copy is complete. What is finished is written down, so that ``--resume`` goes on from
there: the copy as long as its snapshot lives, the stream for ever.
"""

import logging
from contextlib import ExitStack

from msgspec.structs import replace

from pgcopydb.cdc import source_setup
from pgcopydb.cdc.capture import refuse_other_source
from pgcopydb.cdc.conflicts import refuse_conflicts
from pgcopydb.cdc.follow import (
    Following,
    Observe,
    finish_follow,
    refuse_unfit_servers,
    set_endpos_from,
    settle,
)
from pgcopydb.cdc.follow import follow as replay_to_the_end
from pgcopydb.cdc.large_objects import skip_large_objects
from pgcopydb.cdc.setup import enable_apply
from pgcopydb.cdc.snapshot import hold_snapshot
from pgcopydb.cdc.source_setup import dropped_unless_copied
from pgcopydb.cdc.target_setup import drop_left_by, prepare_target, refuse_foreign_origin
from pgcopydb.clone import run as copying
from pgcopydb.errors import ConfigurationError, StateError
from pgcopydb.lsn import format_lsn
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CopyOptions, FollowOptions
from pgcopydb.model.results import CloneSummary, FollowSummary, OnlineSummary
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.triggers import may_silence
from pgcopydb.runtime.signals import stop_on_signals
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.store import RunHeader, read_fact, update_header, write_fact

log = logging.getLogger(__name__)

_COPY_OPTIONS = "copy options"


def clone(
    work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions
) -> CloneSummary:
    """Copy the database; in the directory of a capture, from its snapshot, and let apply begin."""
    header = work.header()
    if copy.snapshot is None and header is not None and header.snapshot is not None:
        copy = replace(copy, snapshot=header.snapshot)
    if work.previous:
        copying.check(work, source, target, copy)
        _drop_previous(work, source, target)
    captured = header is not None and header.consistent_point is not None
    if header is not None and captured and header.origin is not None:
        refuse_foreign_origin(target, header.origin, header)  # before the copy, not after it
    if captured and copy.snapshot is not None and _defer_constraints(work, target, copy):
        copying.check(work, source, target, copy)
        summary = copying.copy_database(
            work, source, target, copy, snapshot=copy.snapshot, defer_constraints=True
        )
    else:
        summary = copying.clone(work, source, target, copy)
    _finish_copy(work)
    if captured:
        _refuse_violated(work, target)
    return summary


def clone_and_follow(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    copy: CopyOptions,
    follow: FollowOptions,
    *,
    observe: Observe | None = None,
) -> OnlineSummary:
    """Copy the database, then replay what happened meanwhile and since, until endpos.

    Returns when everything up to endpos is durable on the target and the sequences are set.
    ``observe`` is called with the progress of the follow now and then.
    """
    with stop_on_signals():
        if copy.skip_large_objects:
            skip_large_objects(work)
        header = work.header()
        if header is None or header.consistent_point is None:
            return _begin(work, source, target, copy, follow, observe=observe)
        return _resume(work, source, target, copy, follow, observe=observe)


def follow(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    follow: FollowOptions,
    observe: Observe | None = None,
) -> FollowSummary:
    """Replay changes until endpos, then create the constraints that the base copy left for then.

    ``observe`` is called with the progress of the follow now and then.
    """

    def drained() -> None:
        _finish_constraints(work, source, target)

    summary = replay_to_the_end(work, source, target, follow, drained=drained, observe=observe)
    _limit_connections(work, source, target)
    _refuse_violated(work, target)
    _tell_end(work, summary)
    return summary


def _begin(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    copy: CopyOptions,
    follow: FollowOptions,
    *,
    observe: Observe | None,
) -> OnlineSummary:
    """Start an online migration from nothing."""
    _refuse_other_snapshot(copy, None)
    copying.check(work, source, target, copy, follow)
    _drop_previous(work, source, target)
    refuse_foreign_origin(target, follow.origin)
    with (
        dropped_unless_copied(work, source),
        Following(work, source, target, follow, observe) as following,
        ExitStack() as holders,
    ):
        held = holders.enter_context(
            hold_snapshot(work, source, follow, filters=copy.filters, checked=True)
        )
        following.start_receive()
        summary = copying.copy_database(
            work,
            source,
            target,
            copy,
            snapshot=held.id,
            watch=following.watch,
            copied=holders.close,
            defer_constraints=_defer_constraints(work, target, copy),
        )
        _finish_copy(work)
        followed = _drain(work, source, target, following)
    return OnlineSummary(copy=summary, follow=followed)


def _resume(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    copy: CopyOptions,
    follow: FollowOptions,
    *,
    observe: Observe | None,
) -> OnlineSummary:
    """Go on with an online migration: with its copy if that is not complete, then its stream."""
    follow = settle(work, follow)
    refuse_other_source(work, source)
    if work.not_consistent:
        raise StateError(
            "--not-consistent cannot be used with a replication slot: rows copied at a newer"
            " snapshot would be changed again by the stream",
            hint="start over with --restart",
        )
    refuse_unfit_servers(work, source, target, follow)
    set_endpos_from(work, follow)
    header = work.header()
    assert header is not None
    snapshot = None if header.copy_finished else _snapshot(header)
    if snapshot is not None:
        _refuse_other_snapshot(copy, snapshot)
    with Following(work, source, target, follow, observe) as following:
        following.start_receive()
        summary = None
        if snapshot is not None:
            summary = copying.copy_database(
                work,
                source,
                target,
                copy,
                snapshot=snapshot,
                watch=following.watch,
                defer_constraints=_defer_constraints(work, target, copy),
            )
            _finish_copy(work)
        followed = _drain(work, source, target, following)
    return OnlineSummary(copy=summary, follow=followed)


def _drop_previous(work: WorkDirectory, source: Endpoint, target: Endpoint) -> None:
    """Drop from both servers what belonged to runs that ``--restart`` started over."""
    work.discard_previous()
    source_setup.drop_previous(work, source)
    drop_left_by(work.previous, target)


def _refuse_other_snapshot(copy: CopyOptions, of_slot: str | None) -> None:
    """Raise ConfigurationError where a snapshot is asked for that the slot's changes do not fit."""
    if copy.snapshot not in {None, of_slot}:
        raise ConfigurationError(
            f"the copy cannot be made from snapshot {copy.snapshot}: the changes that follow it"
            " fit the slot's own snapshot only",
            hint="leave out --snapshot, or PGCOPYDB_SNAPSHOT; that of 'pgcopydb snapshot --follow'"
            " is found in its --dir",
        )


def _snapshot(header: RunHeader) -> str:
    if header.snapshot is None:
        raise StateError(
            "the base copy was interrupted and the snapshot that it read from is gone",
            hint="start over with --restart: a newer snapshot does not fit the slot's changes",
        )
    return header.snapshot


def _finish_copy(work: WorkDirectory) -> None:
    """Write down that the base copy is complete, and let changes be applied.

    In this order: a run that ends in between finds the copy incomplete, never a complete one whose
    changes wait for an order that nobody gives.
    """
    enable_apply(work)
    with work.store() as store:
        update_header(store, copy_finished=True)


def _defer_constraints(work: WorkDirectory, target: Endpoint, copy: CopyOptions) -> bool:
    """Decide, and write down, whether foreign keys and triggers come after the drain.

    They must where the role cannot silence them: a DELETE of several rows replayed one by one
    fails on a self-reference, and cascades would be made twice (ruling 21).
    """
    with connect(target, purpose="check") as connection:
        deferred = not may_silence(connection, target)
    with work.store() as store:
        update_header(store, constraints_deferred=deferred)
        write_fact(store, _COPY_OPTIONS, replace(copy, filters=None))  # they are kept by themselves
    return deferred


def _drain(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    following: Following,
) -> FollowSummary:
    """Apply until endpos, then look for what the stream did not carry and set the sequences."""
    log.info("the base copy is complete; applying what changed since")
    prepare_target(work, target)
    following.start_apply()
    summary = following.wait()
    log.info("everything up to endpos is applied")
    _finish_constraints(work, source, target)
    finish_follow(work, source, target)
    _limit_connections(work, source, target)
    refuse_conflicts(work)
    _refuse_violated(work, target)
    _tell_end(work, summary)
    return summary


def _tell_end(work: WorkDirectory, summary: FollowSummary) -> None:
    """Say that the migration is complete, and what is left for its owner to do."""
    log.info(
        "the target has all that the source committed up to %s, and its sequences; when the"
        " application uses it, remove the slot: pgcopydb stream cleanup --dir %s",
        format_lsn(summary.endpos or summary.applied_lsn),
        work.path,
    )


def _finish_constraints(work: WorkDirectory, source: Endpoint, target: Endpoint) -> None:
    """Create the foreign keys and triggers that could not be silenced, once (ruling 21)."""
    header = work.header()
    if header is None or not header.constraints_deferred:
        return
    copying.finish_constraints(work, source, target, _kept_options(work) or CopyOptions())
    with work.store() as store:
        update_header(store, constraints_deferred=False)


def _limit_connections(work: WorkDirectory, source: Endpoint, target: Endpoint) -> None:
    """Give the target the source's connection limit, where the base copy was this program's."""
    copy = _kept_options(work)
    if copy is not None:
        copying.limit_connections(source, target, copy)


def _kept_options(work: WorkDirectory) -> CopyOptions | None:
    with work.store() as store:
        kept: CopyOptions | None = read_fact(store, _COPY_OPTIONS, CopyOptions)
    return kept


def _refuse_violated(work: WorkDirectory, target: Endpoint) -> None:
    """Raise SqlError when rows violate a foreign key of the source, unless these come later."""
    header = work.header()
    if header is None or not header.constraints_deferred:
        copying.refuse_violated(work, target)
