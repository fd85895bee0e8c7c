"""The filters of a migration: read from a file once, and in force for every later command."""

from pathlib import Path
from typing import Final

from msgspec import Struct

from pgcopydb.errors import ConfigurationError, StateError
from pgcopydb.model.filters import EVERYTHING, Filters
from pgcopydb.rules.filters import parse_filters
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.given_files import read_given
from pgcopydb.workdir.store import has_begun, read_fact, read_header, write_fact

_FACT: Final = "filters"


class _Kept(Struct, frozen=True):
    """The filters of a migration, and the text of the file as it was given."""

    text: str
    filters: Filters


def effective_filters(work: WorkDirectory | None, given: Path | None) -> Filters:
    """Return what is selected: by the file ``given``, else by an earlier command of the migration.

    ``work`` is None for a command that belongs to no migration. Filters of an earlier command are
    those that the source's catalogue completed. Raises ConfigurationError for a file that cannot be
    read or is none, StateError when the migration in ``work`` was begun with other ones.
    """
    asked = None if given is None else read_filters(given)
    if work is None:
        return asked or EVERYTHING
    with work.store() as store:
        kept = read_fact(store, _FACT, _Kept)
        header = read_header(store)
        binding = has_begun(store) or (header is not None and header.snapshot is not None)
    known = kept.filters if kept is not None else EVERYTHING
    if asked is None:
        return known
    if not binding:
        return asked
    if not asked.says_the_same(known):
        begun = f"with the filters of {known.origin}" if kept is not None else "without filters"
        raise StateError(
            f"this migration was begun {begun}, and {given} says something else",
            hint="leave --filters out to go on, or start over with --restart",
        )
    return known


def read_filters(path: Path) -> Filters:
    """Return what the file at ``path`` says; raise ConfigurationError when it cannot be read."""
    return _read(path).filters


def keep_filters(work: WorkDirectory, given: Path | None, filters: Filters) -> None:
    """Write down ``filters``, completed, for all later commands of the migration.

    ``given`` is the file that they were read from; None leaves what is kept as it is.
    """
    if given is None:
        return
    with work.store() as store:
        write_fact(store, _FACT, _Kept(_read(given).text, filters))


class _File(Struct, frozen=True):
    text: str
    filters: Filters


def _read(path: Path) -> _File:
    try:
        text = read_given(path, what="filters", option="--filters").decode()
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"the filters {path} are not text in UTF-8 (byte {error.start})",
            hint="save the file as UTF-8",
        ) from None
    return _File(text, parse_filters(text, origin=str(path)))
