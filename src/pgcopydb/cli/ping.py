"""``pgcopydb ping``."""

import click

from pgcopydb.cli.command import command
from pgcopydb.cli.groups import SOURCE, TARGET
from pgcopydb.cli.options import value
from pgcopydb.cli.types import SECONDS
from pgcopydb.model.endpoint import Endpoint

_RETRY_FOR = value(
    "--retry-for",
    kind=SECONDS,
    default="10",
    help="How long to go on trying a server that does not answer yet.",
)


@command("ping", SOURCE, TARGET, _RETRY_FOR)
def ping(*, source: Endpoint, target: Endpoint, retry_for: float) -> None:
    """See whether both servers can be reached.

    Connects to the source and to the target, and tries again for a while where a server does not
    answer yet. The status says which side failed: 6 the source, 7 the target.
    """
    from pgcopydb.cli.render import server_line
    from pgcopydb.postgres.ping import ping as ping_servers

    for side, facts in ping_servers(source, target, retry_for=retry_for).items():
        click.echo(server_line(side, facts))
