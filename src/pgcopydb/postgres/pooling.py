"""Finding out whether a pooler stands before a server, and of which kind.

A pooler answers in the server's place and tells every client a backend of its own invention. One
that pools by transaction gives a session of ours another session of the server's after each
transaction: settings get lost or reach others, and an exported snapshot is held by nobody.
"""

from typing import Any, Final

import psycopg

from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.readiness import Pooling
from pgcopydb.postgres.connect import connect, reporting

Connection = psycopg.Connection[Any]

_WHO: Final = "select pg_catalog.pg_backend_pid()"


def find_pooling(endpoint: Endpoint, connection: Connection) -> Pooling:
    """Tell what stands between ``connection``, which is in no transaction, and the server.

    Only where there is a pooler a second session is opened, which takes what the first has let go.
    """
    with reporting(endpoint, "looking for a pooler"):
        first = _backend(connection)
        if first == connection.info.backend_pid:
            return Pooling(pooled=False, by_transaction=False)
    with (
        connect(endpoint, purpose="pooler check") as other,
        reporting(endpoint, "looking for a pooler"),
        other.transaction(),
    ):
        # In a transaction it keeps what it got; without a pooler of transactions never the first's.
        taken = _backend(other)
        return Pooling(pooled=True, by_transaction=taken == first or _backend(connection) != first)


def _backend(connection: Connection) -> int:
    row = connection.execute(_WHO).fetchone()
    assert row is not None
    return int(row[0])
