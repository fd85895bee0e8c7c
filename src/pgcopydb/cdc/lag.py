"""How far a follow is, and how far behind: from the same durable records that decide.

Bytes: of the source's log as far as the source was heard to have it, those not known to be
applied. A source that writes nothing for us (other databases, other tables, checkpoints) is not
behind: when everything stored is applied, everything up to the received position is.

Seconds: how long the oldest commit that is stored and not applied has been waiting, by its commit
time. When all that is stored is applied it is nothing, once the source has been heard to have no
more; until then, while a backlog is received, it is the age of the last commit applied. The
difference between the commit times of the last one stored and the last one applied would be
wrong after every pause of the source, and the age of the last one applied during every pause.

The source's clock is compared with the one here. wal2json and test_decoding tell the commit time
in their text, which receive does not read: with them the age of a commit counts from when it came.
"""

import time

from pgcopydb.model.results import FollowProgress, FollowStanding
from pgcopydb.workdir.changelog import oldest_commit_time
from pgcopydb.workdir.commands import last_command
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.sentinel import Sentinel, read_sentinel, require_sentinel
from pgcopydb.workdir.store import read_header

_RATES_HOLD = 5_000_000
"""Microseconds after which apply's last word about its rates says nothing of the present."""


def measure(work: WorkDirectory) -> FollowProgress:
    """Return where the follow in ``work`` is now; raise StateError when there is none."""
    with work.store() as store:
        sentinel = require_sentinel(store)
    waiting_since = None
    if sentinel.flush_lsn > _applied(sentinel):
        waiting_since = oldest_commit_time(work.cdc, _applied(sentinel))
    return make_progress(sentinel, waiting_since, time.time_ns() // 1000)


def standing(work: WorkDirectory) -> FollowStanding | None:
    """Return where the latest command is that applies changes in ``work``, None for none.

    A ``clone --follow`` that still copies does not follow yet.
    """
    with work.store() as store:
        header = read_header(store)
        command = last_command(store, "apply")
        captured = read_sentinel(store) is not None
    if command is None or header is None or not captured:
        return None
    if command.command == "clone --follow" and not header.copy_finished:
        return None
    return FollowStanding(command=command.command, state=command.state, progress=measure(work))


def make_progress(sentinel: Sentinel, waiting_since: int | None, now: int) -> FollowProgress:
    """Return the progress that ``sentinel`` shows at ``now``.

    ``waiting_since`` is the commit time of the oldest stored commit that is not applied, None when
    there is none. Times are microseconds since 1970.
    """
    applied = _applied(sentinel)
    if applied >= sentinel.flush_lsn:
        applied = max(applied, sentinel.received_lsn)
    fresh = now - sentinel.reported_time < _RATES_HOLD
    return FollowProgress(
        startpos=sentinel.startpos,
        endpos=sentinel.endpos,
        apply=sentinel.apply,
        write_lsn=sentinel.write_lsn,
        flush_lsn=sentinel.flush_lsn,
        transform_lsn=sentinel.transform_lsn,
        replay_lsn=sentinel.replay_lsn,
        received_lsn=sentinel.received_lsn,
        source_lsn=sentinel.source_lsn,
        lag_bytes=max(0, sentinel.source_lsn - applied),
        lag_seconds=max(0, now - _behind_since(sentinel, waiting_since, now)) / 1e6,
        transactions=sentinel.transactions,
        changes=sentinel.changes,
        transactions_per_second=sentinel.transaction_rate if fresh else 0,
        changes_per_second=sentinel.change_rate if fresh else 0,
    )


def _applied(sentinel: Sentinel) -> int:
    """Return up to where the target has everything, which it has up to the start by the copy."""
    return max(sentinel.transform_lsn, sentinel.startpos)


def _behind_since(sentinel: Sentinel, waiting_since: int | None, now: int) -> int:
    """Return the commit time from which on the target may lack something; ``now`` if nothing."""
    if waiting_since is not None:
        return waiting_since
    newest = sentinel.received_commit_time
    return now if not newest or sentinel.caught_up_time >= newest else newest
