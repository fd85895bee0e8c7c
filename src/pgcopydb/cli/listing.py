"""What the ``list`` commands share: their options, the catalogue under filters, and the output."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from msgspec import Struct

from pgcopydb.cli.command import OptionGroup
from pgcopydb.cli.options import DIRECTORY, FILTERS, flag, value
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import WorkOptions

if TYPE_CHECKING:
    from psycopg import Connection

    from pgcopydb.cli.lists import Listing
    from pgcopydb.model.filters import Filters

T = TypeVar("T")

log = logging.getLogger(__name__)

_NO_EFFECT: Final = "Accepted for existing scripts: the source is read anew each time."
_ACCEPTED: Final = (
    flag("--force", help=_NO_EFFECT),
    flag("--restart", "-r", help=_NO_EFFECT),
    flag("--resume", "-R", help=_NO_EFFECT),
    flag("--not-consistent", "-C", help=_NO_EFFECT),
)
_SCHEMA_NAME: Final = value("--schema-name", metavar="NAME", help="Only those of this schema.")
_TABLE_NAME: Final = value("--table-name", metavar="NAME", help="Only those of this table.")


class Scope(Struct, frozen=True):
    """Which objects are listed: those that the filters take, in one schema or table or in all.

    ``directory`` is that of a migration whose filters are in force. Names are as stored.
    """

    directory: Path | None = None
    filters: Path | None = None
    schema: str | None = None
    table: str | None = None

    def names(self, schema: str, table: str) -> bool:
        """Tell whether the schema and the table are those that were asked for."""
        return self.schema in {None, schema} and self.table in {None, table}


def _scope(
    *,
    directory: Path | None,
    filters: Path | None = None,
    schema_name: str | None = None,
    table_name: str | None = None,
    **accepted: bool,
) -> Scope:
    del accepted  # a list changes nothing, and keeps nothing that could be old
    return Scope(directory, filters, schema_name, table_name)


SERVER: Final = OptionGroup("scope", (DIRECTORY, *_ACCEPTED), _scope)
"""For lists that filters have no part in."""

SELECTED: Final = OptionGroup("scope", (DIRECTORY, FILTERS, *_ACCEPTED), _scope)
OF_SCHEMA: Final = OptionGroup("scope", (DIRECTORY, FILTERS, _SCHEMA_NAME, *_ACCEPTED), _scope)
OF_TABLE: Final = OptionGroup(
    "scope", (DIRECTORY, FILTERS, _SCHEMA_NAME, _TABLE_NAME, *_ACCEPTED), _scope
)


@contextmanager
def catalogue(server: Endpoint, what: str) -> "Iterator[Connection[tuple[Any, ...]]]":
    """Connect to a server to read the list of ``what``."""
    from pgcopydb.postgres.connect import connect, reporting

    with (
        connect(server, purpose=f"list {what}") as connection,
        reporting(server, f"reading the list of {what}"),
    ):
        yield connection


def given_filters(scope: Scope) -> "Filters":
    """Return the filters of the file, else those of the migration in the work directory."""
    from pgcopydb.workdir.directory import attach_directory, is_missing
    from pgcopydb.workdir.filters import effective_filters

    if scope.directory is None or is_missing(scope.directory):
        return effective_filters(None, scope.filters)
    with attach_directory(WorkOptions(directory=scope.directory)) as work:
        return effective_filters(work, scope.filters)


def filters_in_force(
    source: Endpoint, connection: "Connection[tuple[Any, ...]]", scope: Scope
) -> "Filters":
    """Return the filters of ``scope`` with what follows from them for the source."""
    from pgcopydb.postgres.selection import resolve_filters

    return resolve_filters(source, connection, given_filters(scope), tell=False)


def show(listing: "Listing[T]", objects: Sequence[T], *, what: str, as_json: bool) -> None:
    """Print the list; where it is empty a line on stderr says so."""
    text = listing.text(objects, as_json=as_json)
    if text:
        click.echo(text)
    if not objects:
        log.info("no %s found", what)
