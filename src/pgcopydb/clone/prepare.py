"""Before anything is written: both sides are looked at, and the run is begun or found."""

from dataclasses import dataclass
from typing import Final

from pgcopydb.clone import preflight
from pgcopydb.clone.context import Copying, identity, is_done, open_run
from pgcopydb.errors import ConfigurationError
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import ServerFacts
from pgcopydb.model.options import CopyOptions
from pgcopydb.pgtools.find import Tools, find_tools
from pgcopydb.postgres import discover, helper_schema
from pgcopydb.postgres.connect import connect, pin, reporting
from pgcopydb.workdir.directory import WorkDirectory

_CHECKED: Final = "target checked"
REPLACES: Final = "target left by the run that is started over"
"""The fact that what the target holds is the unfinished copy of the run that --restart removed."""


def check(work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions) -> None:
    """Refuse what cannot go well, before anything is created on either side.

    Raises ConfigurationError for options, tools or sides that do not fit together, TargetError
    when the target is not empty or takes no writes.
    """
    _look_at(work, source, target, copy)


@dataclass(frozen=True, slots=True)
class _Sides:
    """Both sides as they were found: each one server, fit for the copy."""

    source: Endpoint
    target: Endpoint
    source_facts: ServerFacts
    target_facts: ServerFacts
    tools: Tools


def _look_at(work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions) -> _Sides:
    _refuse_unsupported(copy)
    # The snapshot lives on one server: a list of hosts must not lead elsewhere later.
    source, target = pin(source), pin(target)
    source_facts, target_facts = _facts(source), _facts(target)
    preflight.refuse_same_database(source_facts, target_facts)
    preflight.refuse_unwritable(target_facts)
    if not is_done(work, _CHECKED):
        with (
            connect(source, purpose="clone") as reading,
            connect(target, purpose="clone") as connection,
        ):
            preflight.refuse_hidden_rows(source, reading)
            preflight.refuse_unfit_role(target, connection, target_facts)
            if not _replaces_previous(work, target_facts):
                preflight.refuse_not_empty(target, connection, copy)
                preflight.refuse_taken_names(source, reading, target, connection, copy)
    tools = find_tools(source_facts.version_num, target_facts.version_num)
    return _Sides(source, target, source_facts, target_facts, tools)


def prepare(work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions) -> Copying:
    """Look at both sides, refuse what cannot go well, and begin or find the run."""
    sides = _look_at(work, source, target, copy)
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
    )
    if not copying.is_done(_CHECKED):
        with (
            connect(sides.target, purpose="clone") as connection,
            reporting(sides.target, "creating the schema pgcopydb"),
        ):
            helper_schema.create_helper_schema(connection, header.run_id)
            if work.previous is not None:
                helper_schema.drop_helper_schema(connection, work.previous.run_id)
        if _replaces_previous(work, sides.target_facts):
            copying.mark_done(REPLACES)
        copying.mark_done(_CHECKED)
    return copying


def _replaces_previous(work: WorkDirectory, target: ServerFacts) -> bool:
    """Tell whether ``--restart`` begins again a copy into this target that was never finished.

    The target was empty, or the user's to give, when that run began. What a finished copy made is
    the user's again.
    """
    previous = work.previous
    return (
        previous is not None and previous.target == identity(target) and not previous.copy_finished
    )


def _refuse_unsupported(copy: CopyOptions) -> None:
    """Raise ConfigurationError for options whose silent neglect would change the result."""
    unsupported = {"--filters": copy.filters is not None, "--roles": copy.roles}
    for option, given in unsupported.items():
        if given:
            raise ConfigurationError(
                f"{option} is not supported by this version of clone",
                hint="leave it out; without it everything in the database is copied",
            )


def _facts(endpoint: Endpoint) -> ServerFacts:
    with (
        connect(endpoint, purpose="clone") as connection,
        reporting(endpoint, "reading the server's settings"),
    ):
        return discover.server_facts(connection)
