"""``pgcopydb compare``."""

import click

from pgcopydb.cli.command import CommandGroup, command
from pgcopydb.cli.options import COMPARE_DATA, EXISTING_WORK, JSON, SOURCE, TARGET
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CompareOptions, WorkOptions


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
    from pgcopydb.errors import DifferencesFound

    with live_text(comparison_line) as observe:
        found = compare_data(source, target, options, work, observe)
    click.echo(data_comparison(found, as_json=as_json))
    if not found.is_equal:
        raise DifferencesFound("source and target differ")


compare = CommandGroup("compare", help="See whether both sides are the same.", commands=[data])
