"""``pgcopydb compare``."""

import click

from pgcopydb.cli.command import CommandGroup, command
from pgcopydb.cli.options import COMPARE_DATA, COMPARE_SCHEMA, EXISTING_WORK, JSON, SOURCE, TARGET
from pgcopydb.errors import DifferencesFound
from pgcopydb.model.comparison import DataComparison, SchemaComparison
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CompareOptions, WorkOptions


@command("schema", SOURCE, TARGET, EXISTING_WORK, COMPARE_SCHEMA, JSON)
def schema(
    *,
    source: Endpoint,
    target: Endpoint,
    work: WorkOptions,
    options: CompareOptions,
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
    from pgcopydb.cli.render_comparison import schema_comparison
    from pgcopydb.compare.schema import compare_schema

    found = compare_schema(source, target, options, work)
    click.echo(schema_comparison(found, as_json=as_json))
    _refuse_different(found)


@command("data", SOURCE, TARGET, EXISTING_WORK, COMPARE_DATA, JSON)
def data(
    *,
    source: Endpoint,
    target: Endpoint,
    work: WorkOptions,
    options: CompareOptions,
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
    from pgcopydb.cli.render_comparison import comparison_line, data_comparison
    from pgcopydb.compare.data import compare_data

    with live_text(comparison_line) as observe:
        found = compare_data(source, target, options, work, observe)
    click.echo(data_comparison(found, as_json=as_json))
    _refuse_different(found)


def _refuse_different(found: DataComparison | SchemaComparison) -> None:
    if not found.is_equal:
        raise DifferencesFound("source and target differ", hint="what differs is on stdout")


compare = CommandGroup(
    "compare", help="See whether both sides are the same.", commands=[schema, data]
)
