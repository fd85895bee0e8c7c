"""``pgcopydb compare``."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

import click

from pgcopydb.cli.command import CommandGroup, command
from pgcopydb.cli.groups import COMPARE_DATA, COMPARE_SCHEMA, EXISTING_WORK, SOURCE, TARGET
from pgcopydb.cli.options import JSON, flag
from pgcopydb.errors import DifferencesFound
from pgcopydb.model.comparison import DataComparison, Found, SchemaComparison
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CompareOptions, WorkOptions

if TYPE_CHECKING:
    from pgcopydb.databases import DatabasePair

Comparison: TypeAlias = DataComparison | SchemaComparison
Compare: TypeAlias = Callable[[Endpoint, Endpoint, WorkOptions], Comparison]

_ALL_DATABASES = flag(
    "--all-databases",
    help="Every database of both servers but the templates; each side is to be named by any one.",
)


@command("schema", SOURCE, TARGET, EXISTING_WORK, COMPARE_SCHEMA, _ALL_DATABASES, JSON)
def schema(
    *,
    source: Endpoint,
    target: Endpoint,
    work: WorkOptions,
    options: CompareOptions,
    all_databases: bool,
    as_json: bool,
) -> None:
    """See whether everything that a clone makes is defined the same on both sides.

    That is tables with their columns, indexes, constraints, triggers, rules, policies and
    statistics, views, sequences, types, functions, operators, text search, foreign data,
    extensions, publications, event triggers, default privileges, large objects and settings of the
    database; each with its owner, privileges and comment. What a clone was told to leave out is
    left out here by the same options.

    Status 0: all is the same. 8: it is not. 9: not comparable now, because a clone or a follow in
    the work directory is still under way. Other statuses: nothing is known.
    """
    from pgcopydb.compare.schema import compare_schema

    def compare(one: Endpoint, other: Endpoint, where: WorkOptions) -> SchemaComparison:
        return compare_schema(one, other, options, where)

    _compare(compare, source, target, work, all_databases=all_databases, as_json=as_json)


@command("data", SOURCE, TARGET, EXISTING_WORK, COMPARE_DATA, _ALL_DATABASES, JSON)
def data(
    *,
    source: Endpoint,
    target: Endpoint,
    work: WorkOptions,
    options: CompareOptions,
    all_databases: bool,
    as_json: bool,
) -> None:
    """See whether all rows, sequences and large objects are the same on both sides.

    The servers compute hashes of the rows, each side in one snapshot, so that nothing but sums
    crosses the network. Of a table that differs, the rows are named by their key, with the columns
    in which they differ; those of a table without key by a sample of their text.

    Stop the writers first, and let a follow end at its end position. Status 0: all is the same.
    8: it is not. 9: not comparable now, because a clone or a follow in the work directory is still
    under way. Other statuses: nothing is known.
    """
    from pgcopydb.cli.live import live_text
    from pgcopydb.cli.render_comparison import comparison_line
    from pgcopydb.compare.data import compare_data

    def compare(one: Endpoint, other: Endpoint, where: WorkOptions) -> DataComparison:
        with live_text(comparison_line) as observe:
            return compare_data(one, other, options, where, observe)

    _compare(compare, source, target, work, all_databases=all_databases, as_json=as_json)


def _compare(
    compare: Compare,
    source: Endpoint,
    target: Endpoint,
    work: WorkOptions,
    *,
    all_databases: bool,
    as_json: bool,
) -> None:
    """Print what ``compare`` finds; raise DifferencesFound when there is any."""
    from pgcopydb.cli.render_comparison import comparison
    from pgcopydb.preflight.poolers import refuse_poolers

    refuse_poolers(source, target)
    if all_databases:
        _compare_all(compare, source, target, work, as_json=as_json)
        return
    found = compare(source, target, work)
    click.echo(comparison(found, as_json=as_json))
    if not found.is_equal:
        raise DifferencesFound("source and target differ", hint="what differs is on stdout")


def _compare_all(
    compare: Compare, source: Endpoint, target: Endpoint, work: WorkOptions, *, as_json: bool
) -> None:
    from pgcopydb.cli.render import as_json_text
    from pgcopydb.cli.render_comparison import comparison, comparison_members, database_heading
    from pgcopydb.databases import pair_databases

    different: list[str] = []
    members: list[dict[str, object]] = []
    for name, found in _each(compare, pair_databases(work, source, target)):
        if isinstance(found, Found) or not found.is_equal:
            different.append(name)
        if as_json:
            members.append({"database": name, **comparison_members(found)})
            continue
        click.echo(database_heading(name, found))
        if not isinstance(found, Found):
            click.echo(comparison(found, as_json=False))
    if as_json:
        click.echo(as_json_text(members))
    if different:
        raise DifferencesFound(
            f"source and target differ in {len(different)} databases: {', '.join(different)}",
            hint="what differs is on stdout",
        )


def _each(
    compare: Compare, pairs: "list[DatabasePair]"
) -> Iterator[tuple[str, Comparison | Found]]:
    for pair in pairs:
        if pair.source is None:
            yield pair.name, Found.ONLY_TARGET
        elif pair.target is None:
            yield pair.name, Found.ONLY_SOURCE
        else:
            yield pair.name, compare(pair.source, pair.target, pair.work)


compare = CommandGroup(
    "compare", help="See whether both sides are the same.", commands=[schema, data]
)
