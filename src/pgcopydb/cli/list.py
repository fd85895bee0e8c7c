"""``pgcopydb list``."""

import click

from pgcopydb.cli.command import CommandGroup, command
from pgcopydb.cli.options import JSON, SOURCE, flag
from pgcopydb.model.endpoint import Endpoint

_WITHOUT_PKEY = flag("--without-pkey", help="Only tables that have no primary key.")


@command("tables", SOURCE, _WITHOUT_PKEY, JSON)
def tables(*, source: Endpoint, without_pkey: bool, as_json: bool) -> None:
    """Show the tables of the source, with their sizes."""
    from pgcopydb.cli.render import table_list
    from pgcopydb.postgres.connect import connect, reporting
    from pgcopydb.postgres.discover import list_tables

    with (
        connect(source, purpose="list tables") as connection,
        reporting(source, "reading the list of tables"),
    ):
        found = list_tables(connection)
    click.echo(table_list(found, without_pkey=without_pkey, as_json=as_json))


list_ = CommandGroup("list", help="Show what there is to migrate.", commands=[tables])
