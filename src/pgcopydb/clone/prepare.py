"""Before anything is written: both sides are looked at, and the run is begun or found."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from pgcopydb.clone import refusals
from pgcopydb.clone.context import (
    MARKERS_DROPPED,
    Copying,
    Restoring,
    identity,
    is_done,
    open_run,
)
from pgcopydb.clone.requirements import required_versions
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import Filters
from pgcopydb.model.objects import ServerFacts, Table
from pgcopydb.model.options import CopyOptions, FollowOptions
from pgcopydb.model.readiness import Intent
from pgcopydb.pgtools.find import Tools, find_tools
from pgcopydb.postgres import discover, helper_schema
from pgcopydb.postgres.connect import pin, reporting
from pgcopydb.postgres.copy_lock import copying_alone
from pgcopydb.postgres.selection import resolve_filters
from pgcopydb.postgres.short_sessions import short_session
from pgcopydb.preflight.look import look
from pgcopydb.preflight.refuse import refuse_unfit
from pgcopydb.runtime import signals
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.filters import effective_filters, keep_filters
from pgcopydb.workdir.store import (
    RunHeader,
    read_started_over,
    update_header,
    write_started_over,
)

_CHECKED: Final = "target checked"
_REPLACES: Final = "target left by the run that is started over"
"""The fact that what the target holds is the unfinished copy of the run that --restart removed."""


def check(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    copy: CopyOptions,
    follow: FollowOptions | None = None,
    *,
    tell: bool = False,
    tables: Sequence[Table] | None = None,
) -> Filters | None:
    """Refuse what cannot go well, before anything is created on either side.

    Returns the filters with what follows from them on the source, which :func:`prepare` takes; with
    ``tell`` what a person should know of that is logged. ``tables`` are those of the source where
    they have been read just before. Raises one error that names everything
    that is in the way of the copy, and of a capture that is to begin with it. Where the copy has
    begun already nothing is looked at, and None returned.
    """
    required_versions(copy)
    if is_checked(work):
        return None
    intent = Intent(
        copy=copy,
        follow=follow,
        filters=_filters(work, source, copy, tell=tell),
        left_in=next((one.target for one in work.previous if _is_unfinished(one)), None),
        replaces_capture=follow is not None
        and any(one.slot_name == follow.slot_name for one in work.previous),
    )
    with signals.stopping_at_once():  # a look changes nothing
        report = look(source, target, intent, work.path, tables=tables)
    refuse_unfit(report)
    return intent.filters


def is_checked(work: WorkDirectory) -> bool:
    """Tell whether a copy has begun in the work directory, so that its check was passed."""
    return is_done(work, _CHECKED)


class Sides(Struct, frozen=True):
    """Both sides as they were found: each one server, fit for the copy."""

    source: Endpoint
    target: Endpoint
    source_facts: ServerFacts
    target_facts: ServerFacts
    tools: Tools


def look_at(source: Endpoint, target: Endpoint) -> Sides:
    """Return what both sides are; raises the side's error, ConfigurationError without programs."""
    # The snapshot lives on one server: a list of hosts must not lead elsewhere later.
    source, target = pin(source), pin(target)
    source_facts, target_facts = server_facts(source), server_facts(target)
    tools = find_tools(source_facts.version_num, target_facts.version_num)
    return Sides(source, target, source_facts, target_facts, tools)


@contextmanager
def prepared(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    copy: CopyOptions,
    filters: Filters | None = None,
    *,
    sides: Sides | None = None,
) -> Iterator[Copying]:
    """Begin or find the run, as :func:`prepare`, and copy into the target alone in the block.

    :func:`check` comes before. Raises TargetError when another run copies into that database, or
    has since it was looked at.
    """
    copying = prepare(work, source, target, copy, filters, sides=sides)
    with copying_alone(copying.target, copying.header.run_id) as lock:
        if not copying.is_done(_CHECKED):
            _take_target(copying)
        yield replace(copying, watch=lock.check)


def prepare(
    work: WorkDirectory,
    source: Endpoint,
    target: Endpoint,
    copy: CopyOptions,
    filters: Filters | None = None,
    *,
    sides: Sides | None = None,
) -> Copying:
    """Look at both sides, and begin or find the run.

    Without ``filters``, as :func:`check` gave them, the source's catalogue is read for what follows
    from those of the options. ``sides`` are both sides where they have been looked at already.
    """
    sides = sides or look_at(source, target)
    if filters is None:
        filters = _filters(work, sides.source, copy)
    header = open_run(work, source=sides.source_facts, target=sides.target_facts)
    copying = Copying(
        work=work,
        source=sides.source,
        target=sides.target,
        options=copy,
        header=header,
        source_facts=sides.source_facts,
        target_facts=sides.target_facts,
        tools=sides.tools,
        filters=filters,
    )
    keep_filters(work, copy.filters, filters)
    return copying


def _take_target(copying: Copying) -> None:
    """Note, here and on the target, that a whole copy is begun into it."""
    work, target = copying.work, copying.target
    replacing = _replaces_previous(work, copying.target_facts)
    if not replacing:
        with short_session(target, purpose="clone") as connection:
            refusals.refuse_not_empty(target, connection, copying.options)
    claim_target(copying)
    if replacing:
        copying.mark_done(_REPLACES)
    with work.store() as store:
        update_header(store, target_claimed=True)
    copying.mark_done(_CHECKED)
    _forget_previous(work)


def prepare_phase(
    work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions
) -> Copying:
    """Begin or find the run of a phase, which goes into a target that need not be empty."""
    source, target = pin(source), pin(target)
    source_facts, target_facts = server_facts(source), server_facts(target)
    refusals.refuse_same_database(source_facts, target_facts)
    refusals.refuse_unwritable(target_facts)
    filters = _filters(work, source, copy)
    keep_filters(work, copy.filters, filters)
    return Copying(
        work=work,
        source=source,
        target=target,
        options=copy,
        header=open_run(work, source=source_facts, target=target_facts),
        source_facts=source_facts,
        target_facts=target_facts,
        tools=find_tools(source_facts.version_num, target_facts.version_num),
        filters=filters,
    )


def prepare_restore(
    work: WorkDirectory, target: Endpoint, copy: CopyOptions, *, source_version_num: int
) -> Restoring:
    """Begin or find the run of a phase that restores what was dumped from such a server."""
    filters = effective_filters(work, copy.filters)
    target = pin(target)
    facts = server_facts(target)
    refusals.refuse_unwritable(facts)
    return Restoring(
        work=work,
        target=target,
        options=copy,
        header=open_run(work, target=facts),
        target_facts=facts,
        tools=find_tools(source_version_num, facts.version_num),
        filters=filters,
    )


def _filters(
    work: WorkDirectory, source: Endpoint, copy: CopyOptions, *, tell: bool = True
) -> Filters:
    """Return what is selected, with what follows from it on the source."""
    filters = effective_filters(work, copy.filters)
    if filters.selects_all:
        return filters
    with short_session(source, purpose="clone") as connection:
        return resolve_filters(source, connection, filters, tell=tell)


def claim_target(copying: Copying) -> None:
    """Make the schema in which the target notes what is copied; drop what --restart replaces."""
    with short_session(copying.target, purpose="clone") as connection:
        refusals.refuse_unfit_role(copying.target, connection, copying.target_facts)
        with reporting(copying.target, "creating the schema pgcopydb"):
            helper_schema.create_helper_schema(connection, copying.header.run_id)
            for previous in copying.work.previous:
                helper_schema.drop_helper_schema(connection, previous.run_id)


def leave_target(copying: Copying) -> None:
    """Drop the markers of a copy that is complete. A capture's state stays: it is read later."""
    copying.mark_done(MARKERS_DROPPED)  # first: nothing may be taken for lost that they stood for
    with (
        short_session(copying.target, purpose="clone") as connection,
        reporting(copying.target, "dropping the schema pgcopydb"),
    ):
        helper_schema.drop_helper_schema(connection, copying.header.run_id)


def replaces(run: Restoring) -> bool:
    """Tell whether what is on the target under the same names may be dropped."""
    return run.options.drop_if_exists or run.is_done(_REPLACES)


def _replaces_previous(work: WorkDirectory, target: ServerFacts) -> bool:
    """Tell whether ``--restart`` begins again a copy into this target that was never finished.

    The target was empty, or the user's to give, when that run began. What a finished copy made is
    the user's again, and so is what was there before changes were only captured.
    """
    return any(one.target == identity(target) and _is_unfinished(one) for one in work.previous)


def _is_unfinished(previous: RunHeader) -> bool:
    return previous.target_claimed and not previous.copy_finished


def _forget_previous(work: WorkDirectory) -> None:
    """Forget the runs of before, but for slots and publications that could not be dropped."""
    with work.store() as store:
        left = read_started_over(store)
        write_started_over(
            store, tuple(one for one in left if one.slot_created or one.publication_created)
        )


def server_facts(endpoint: Endpoint) -> ServerFacts:
    """Return what the server and its database are."""
    with (
        short_session(endpoint, purpose="clone") as connection,
        reporting(endpoint, "reading the server's settings"),
    ):
        return discover.server_facts(connection)
