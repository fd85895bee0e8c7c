"""Commits that did not wait for the disk, brought there together."""

from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.short_sessions import short_session


def make_durable(endpoint: Endpoint) -> None:
    """Return when everything that was committed on the server so far is on its disk.

    A base copy commits with ``synchronous_commit = off``; one commit that waits covers all before
    it. It holds a logical message, for which the role needs no right and no table: a transaction
    that writes nothing waits for nothing. Raises as ``connect`` does.
    """
    with (
        short_session(endpoint, purpose="flush") as connection,
        reporting(endpoint, "flushing what was written"),
        connection.transaction(),
    ):
        connection.execute("set local synchronous_commit to on")
        connection.execute("select pg_catalog.pg_logical_emit_message(true, 'pgcopydb', '')")
