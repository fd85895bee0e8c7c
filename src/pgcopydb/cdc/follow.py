"""Following: receive and apply side by side, watched by this process, until endpos is applied.

``follow`` is ``replay`` with its ends: it makes sure that the target is prepared, and when the
drain is done it looks whether the source's tables are still what the stream carried, and brings
the sequences up to date. It returns only when everything up to endpos is durable on the target.
"""

import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Final, Self, TypeAlias

from msgspec.structs import replace

from pgcopydb.cdc.altered import refuse_altered
from pgcopydb.cdc.apply import DRAINED_FACT, LAST_LSN, ApplyTask, apply
from pgcopydb.cdc.capture import read_capture, refuse_other_source
from pgcopydb.cdc.conflicts import refuse_conflicts
from pgcopydb.cdc.drift import refuse_uncarried
from pgcopydb.cdc.lag import measure
from pgcopydb.cdc.large_objects import refuse_changed_large_objects
from pgcopydb.cdc.late_writers import tell_late_writers
from pgcopydb.cdc.receive import ReceiveTask, distrust_lost, receive
from pgcopydb.cdc.setup import enable_apply
from pgcopydb.cdc.silence import give_back_triggers, refuse_fired
from pgcopydb.cdc.special_numbers import refuse_lost_numbers
from pgcopydb.cdc.steering import set_endpos
from pgcopydb.cdc.target_setup import prepare_target
from pgcopydb.cdc.watch import SourceWatch, TargetWatch
from pgcopydb.errors import SourceError, StateError, some_of
from pgcopydb.lsn import format_lsn
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import FollowOptions, Plugin, Streaming
from pgcopydb.model.results import FollowProgress, FollowSummary
from pgcopydb.postgres.sequences import synchronize_sequences
from pgcopydb.preflight.look import look_at_capture
from pgcopydb.preflight.refuse import refuse_unfit
from pgcopydb.runtime.logs import NOTICE
from pgcopydb.runtime.signals import stop_on_signals, stopping_at_once
from pgcopydb.runtime.workers import Worker, WorkerGroup
from pgcopydb.workdir.commands import CommandState, last_command
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.sentinel import Sentinel, require_sentinel
from pgcopydb.workdir.store import RunHeader, read_fact, update_header

log = logging.getLogger(__name__)

RECEIVE: Final = "receive"
APPLY: Final = "apply"

_REPORT_EVERY: Final = 10.0
"""Seconds between lines that say how far the follow is."""

_SHOW_EVERY: Final = 0.5
"""Seconds between two looks of somebody who watches."""

Observe: TypeAlias = Callable[[FollowProgress], None]
"""What is called with the progress, twice a second, where somebody watches."""


def settle(work: WorkDirectory, follow: FollowOptions) -> FollowOptions:
    """Return the options as this migration began them; what was not given now need not be.

    Raises StateError when an option given now contradicts what the migration was begun with, and
    when that is cleaned up already.
    """
    header = work.header()
    if header is None or header.consistent_point is None:
        return follow
    if header.cleaned_up:
        raise StateError(
            f"the migration in {work.path} was cleaned up: its slot and its origin are removed",
            hint="nothing can go on with it; begin another one in another --dir, or with --restart",
        )
    begun = replace(
        follow,
        plugin=Plugin(header.plugin) if header.plugin else follow.plugin,
        streaming=follow.streaming if "streaming" in follow.given else _streaming(header),
        slot_name=header.slot_name or follow.slot_name,
        publication=header.publication or follow.publication,
        origin=header.origin or follow.origin,
    )
    for name in ("plugin", "slot_name", "publication", "origin"):
        if name in follow.given and getattr(follow, name) != getattr(begun, name):
            raise StateError(
                f"this migration was begun with {name.replace('_', ' ')} {getattr(begun, name)},"
                f" not {getattr(follow, name)}",
                hint="leave the option out, or use another --dir",
            )
    return begun


def refuse_unfit_servers(
    work: WorkDirectory, source: Endpoint | None, target: Endpoint | None, follow: FollowOptions
) -> None:
    """Refuse what keeps a server that is given from going on with this migration's capture.

    To be called before anything is created or begun, with the options as they were settled.
    """
    header = work.header()
    prepared = header is not None and header.progress is not None
    refuse_unfit(look_at_capture(source, target, follow, prepared=prepared), begun=True)


def _streaming(header: RunHeader) -> Streaming:
    return Streaming.ON if header.streaming else Streaming.OFF


def set_endpos_from(work: WorkDirectory, follow: FollowOptions) -> None:
    """Write an ``--endpos`` of the command line into the sentinel; see ``steering.set_endpos``."""
    if follow.endpos is not None:
        set_endpos(work, None, follow.endpos)


class Following:
    """The receive and apply processes of one follow; a context manager that ends them."""

    def __init__(
        self,
        work: WorkDirectory,
        source: Endpoint,
        target: Endpoint | None,
        follow: FollowOptions,
        observe: Observe | None = None,
    ) -> None:
        self._work = work
        self._source = source
        self._target = target
        self._follow = follow
        self._observe = observe
        self._group = WorkerGroup()
        self._watch = ExitStack()
        self._receives = False
        self._applies = False
        self._wake_reader, self._wake_writer = _wake_pipe()
        self._next_report = time.monotonic() + _REPORT_EVERY
        self._next_look = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self._watch.close()
            self._group.stop()
        finally:
            self._wake_reader.close()
            self._wake_writer.close()

    def start_receive(self) -> None:
        """Start storing changes."""
        task = ReceiveTask(
            work=self._work,
            source=self._source,
            plugin=self._follow.plugin,
            slot_name=self._follow.slot_name,
            max_segment_bytes=self._follow.max_segment_bytes,
            max_store_bytes=self._follow.max_store_bytes,
            streaming=self._follow.streaming,
            wake=self._wake_writer,
        )
        distrust_lost(self._work)
        self._group.start(Worker(RECEIVE, receive, task))
        if not self._receives:
            self._receives = True
            self._watch.enter_context(SourceWatch(self._work, self._source))

    def start_apply(self) -> None:
        """Start applying what is stored, as soon and as long as the sentinel lets it."""
        assert self._target is not None
        task = ApplyTask(
            work=self._work,
            target=self._target,
            plugin=self._follow.plugin,
            mode=self._follow.apply_mode,
            on_conflict=self._follow.on_conflict,
            wake=self._wake_reader,
        )
        self._group.start(Worker(APPLY, apply, task))
        if not self._applies:
            self._applies = True
            self._watch.enter_context(TargetWatch(self._work, self._target))

    def watch(self) -> None:
        """Raise what a process has failed with, if one has; returns at once."""
        self._group.poll()

    def wait(self) -> FollowSummary:
        """Wait until both processes have come to endpos; raise what one of them failed with.

        That they have ended does not count, only what they wrote down: endpos may have been moved
        on after one of them had come to the old one.
        """
        while self._group.alive() or self._goes_on():
            self._group.poll(0.2)
            self._goes_on()
            self._report()
        return self._summary()

    def _goes_on(self) -> bool:
        """Start again what has ended before the endpos of now; return whether that was needed."""
        with self._work.store() as store:
            sentinel = require_sentinel(store)
            drained = read_fact(store, DRAINED_FACT, int) or 0
        endpos = sentinel.endpos or LAST_LSN
        receive_ended = self._receives and not self._group.alive(RECEIVE)
        apply_ended = self._applies and not self._group.alive(APPLY)
        if receive_ended and sentinel.received_lsn < endpos:
            self.start_receive()
            return True
        if apply_ended and drained < endpos:
            self.start_apply()
            return True
        return False

    def _report(self) -> None:
        """Tell how far the follow is: whoever watches now and then, the log more rarely."""
        now = time.monotonic()
        if self._observe is not None and now >= self._next_look:
            self._next_look = now + _SHOW_EVERY
            self._observe(measure(self._work))
        if now >= self._next_report:
            self._next_report = now + _REPORT_EVERY
            _log_progress(measure(self._work), NOTICE if self._observe else logging.INFO)

    def _sentinel(self) -> Sentinel:
        with self._work.store() as store:
            return require_sentinel(store)

    def _summary(self) -> FollowSummary:
        sentinel = self._sentinel()
        return FollowSummary(
            endpos=sentinel.endpos or None,
            applied_lsn=sentinel.replay_lsn,
            transactions=sentinel.transactions,
            changes=sentinel.changes,
        )


def _log_progress(progress: FollowProgress, level: int) -> None:
    log.log(
        level,
        "received %s, applied %s (%s bytes, %.1f s behind), %d transactions, %d changes (%d/s)%s",
        format_lsn(progress.received_lsn),
        format_lsn(progress.transform_lsn),
        f"{progress.lag_bytes:,}",
        progress.lag_seconds,
        progress.transactions,
        progress.changes,
        progress.changes_per_second,
        _until(progress),
    )


def _until(progress: FollowProgress) -> str:
    """Say where the end position is; one beyond the log may be waited for without an end."""
    if not progress.endpos:
        return ""
    end = f", until {format_lsn(progress.endpos)}"
    if progress.endpos <= progress.source_lsn:
        return end
    return f"{end}, to which the source's log does not reach yet"


def follow(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    follow: FollowOptions,
    *,
    drained: Callable[[], None] = lambda: None,
    observe: Observe | None = None,
) -> FollowSummary:
    """Replay changes until endpos, call ``drained``, then bring the sequences up to date.

    ``observe`` is called with the progress now and then, and the log then says less of it.
    """

    def finish() -> None:
        drained()
        finish_follow(work, source, target)

    return _run(work, source, target, follow, finish=finish, observe=observe)


def replay(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    follow: FollowOptions,
    observe: Observe | None = None,
) -> FollowSummary:
    """``stream replay``: receive and apply until endpos, then see that the stream told all."""
    refuse_unfinished_copy(work)
    enable_apply(work)

    def finish() -> None:
        with stopping_at_once():
            _refuse_untold(work, source, target)

    return _run(work, source, target, follow, finish=finish, observe=observe)


def _run(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    follow: FollowOptions,
    *,
    finish: Callable[[], None],
    observe: Observe | None = None,
) -> FollowSummary:
    options = settle(work, follow)
    read_capture(work)
    refuse_other_source(work, source)
    refuse_unfit_servers(work, source, target, options)
    prepare_target(work, target)
    set_endpos_from(work, options)
    with stop_on_signals(), Following(work, source, target, options, observe) as following:
        following.start_receive()
        following.start_apply()
        summary = following.wait()
        finish()
    refuse_conflicts(work)
    return summary


def prefetch(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint | None,  # noqa: ARG001 - accepted as the other stream commands do
    follow: FollowOptions,
    observe: Observe | None = None,
) -> FollowSummary:
    """``stream prefetch``: receive into the store until endpos."""
    options = settle(work, follow)
    read_capture(work)
    refuse_other_source(work, source)
    refuse_unfit_servers(work, source, None, options)
    set_endpos_from(work, options)
    with stop_on_signals(), Following(work, source, None, options, observe) as following:
        following.start_receive()
        return following.wait()


def catchup(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    follow: FollowOptions,
    observe: Observe | None = None,
) -> FollowSummary:
    """``stream catchup``: apply from the store until endpos, whether or not the source is there."""
    options = settle(work, follow)
    read_capture(work)
    refuse_unfinished_copy(work)
    enable_apply(work)
    refuse_unfit_servers(work, None, target, options)
    prepare_target(work, target)
    set_endpos_from(work, options)
    with stop_on_signals(), Following(work, target, target, options, observe) as following:
        following.start_apply()
        summary = following.wait()
        try:
            with stopping_at_once():
                _refuse_untold(work, source, target)
        except SourceError as error:
            log.warning("whether the stream carried everything is not known: %s", error.message)
    refuse_conflicts(work)
    return summary


def finish_follow(work: WorkDirectory, source: Endpoint, target: Endpoint) -> None:
    """After the drain: make sure the stream told everything, and set the sequences.

    Raises StateError when a followed table or a large object changed in a way that no stream
    carries, and differs on the target, so that such a run never ends in status 0. A signal ends it
    at once: all of it can be done again.
    """
    with stopping_at_once():
        _refuse_untold(work, source, target)
        refuse_changed_large_objects(work, source, target)
        tell_late_writers(work, source)
        give_back_triggers(work, target)
        _set_sequences(work, source, target)
    with work.store() as store:
        update_header(store, sequences_synchronized=True)


def _set_sequences(work: WorkDirectory, source: Endpoint, target: Endpoint) -> None:
    """Bring the target's sequences to the source's; name those that are not as on the source."""
    result = synchronize_sequences(source, target, read_capture(work).filters)
    if result.ahead:
        log.warning(
            "target: sequences are further than on the source, and were left there: %s; if nobody"
            " but this migration has used the target, set them with setval()",
            some_of(result.ahead),
        )
    if result.lacks:
        log.warning(
            "target: sequences of the source are not there, and were not set: %s; make them as they"
            " are on the source",
            some_of(result.lacks),
        )


def _refuse_untold(work: WorkDirectory, source: Endpoint, target: Endpoint) -> None:
    """Raise StateError when rows of a followed table differ because the stream did not tell all.

    To be called after the drain. Large objects are not looked at, which takes as long as they are
    large: only the end of a migration does that.
    """
    refuse_uncarried(work, source, target)
    refuse_altered(work, source, target)
    refuse_fired(work, source, target)
    refuse_lost_numbers(work, source, target)


def refuse_unfinished_copy(work: WorkDirectory) -> None:
    """Raise StateError where changes would be applied to a base copy that is not complete.

    A capture that ``snapshot --follow`` made is to go with a copy, of which nothing may have begun
    yet, or only some of its parts: that it is complete is known of a whole clone, and else said by
    ``stream sentinel set apply``.
    """
    header = work.header()
    if header is None or header.copy_finished:
        return
    with work.store() as store:
        if require_sentinel(store).apply:
            return
        copying = last_command(store, "clone")
        expected = last_command(store, "snapshot") is not None
    unfinished = copying is not None and copying.state != CommandState.DONE
    if expected or unfinished:
        made_by = "" if copying is None else f" (pgcopydb {copying.command})"
        raise StateError(
            f"the base copy{made_by} that these changes go on from is not complete",
            hint="make it, or finish it, with pgcopydb clone in the same --dir; where it was made"
            " in parts or by other means, say that it is complete: pgcopydb stream sentinel set"
            " apply",
        )


def _wake_pipe() -> tuple[Connection, Connection]:
    """Return a pipe through which receive wakes apply; writing to it never waits."""
    reader, writer = Pipe(duplex=False)
    os.set_blocking(writer.fileno(), False)
    return reader, writer
