"""Whether the two sides can be compared now: not while a migration changes one of them."""

from contextlib import suppress
from typing import Any, Final

import psycopg

from pgcopydb.errors import NotComparable, StateError
from pgcopydb.lsn import format_lsn
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import EVERYTHING
from pgcopydb.model.objects import ServerFacts
from pgcopydb.model.options import CompareOptions, WorkOptions
from pgcopydb.postgres.selection import read_selection
from pgcopydb.rules.selection import Selection
from pgcopydb.workdir.directory import WorkDirectory, attach_directory
from pgcopydb.workdir.filters import effective_filters, read_filters
from pgcopydb.workdir.locks import working_command
from pgcopydb.workdir.sentinel import read_sentinel

Session = psycopg.Connection[Any]

_CHANGING: Final = ("clone", "receive", "apply")
"""The roles of the commands that write to the target, or are about to."""


def find_migration(
    options: WorkOptions, source: ServerFacts, target: ServerFacts
) -> WorkDirectory | None:
    """Return the work directory of the migration between these two databases, None for none.

    A directory that was named must be there, or StateError is raised; the default one counts only
    if the migration in it is between them.
    """
    if options.directory is not None:
        with attach_directory(options) as work:
            return work
    with suppress(StateError), attach_directory(options) as work:
        header = work.header()
        if header and (header.source, header.target) == (source.identity, target.identity):
            return work
    return None


def refuse_under_way(work: WorkDirectory) -> None:
    """Raise NotComparable while a command of the migration changes the target (ruling 26)."""
    for role in _CHANGING:
        command = working_command(work.path, role)
        if command is not None:
            raise NotComparable(
                f"not comparable now: a migration is under way in {work.path} ({command})",
                hint="let it end first: with the source's writers stopped, 'pgcopydb stream"
                " sentinel set endpos --current' ends a follow where both sides are the same",
            )


def own_publications(work: WorkDirectory | None) -> frozenset[str]:
    """Return the publications that the migration made on the source for itself."""
    header = None if work is None else work.header()
    if header is None:
        return frozenset()
    return frozenset(own.name for own in header.publications)


def note_unapplied(work: WorkDirectory) -> str | None:
    """Say up to where changes are on the target, if a follow stopped before its end."""
    with work.store() as store:
        sentinel = read_sentinel(store)
    if sentinel is None or (sentinel.endpos and sentinel.replay_lsn >= sentinel.endpos):
        return None
    return (
        f"the follow in {work.path} has not reached an end position: changes of the source after"
        f" {format_lsn(max(sentinel.replay_lsn, sentinel.startpos))} are not on the target"
    )


def selected(
    options: CompareOptions, work: WorkDirectory | None, source: Endpoint, connection: Session
) -> Selection:
    """Return what is compared: by the file given, else by what the migration was begun with.

    ``connection`` is a session of the source. Raises ConfigurationError for filters that cannot be
    read, or name what is not there.
    """
    if options.filters is not None:
        filters = read_filters(options.filters)
    else:
        filters = EVERYTHING if work is None else effective_filters(work, None)
    return read_selection(source, connection, filters)
