"""What a comparison looks at: which database, as of when."""

from typing import Any

import psycopg

from pgcopydb.lsn import parse_lsn
from pgcopydb.model.comparison import Moment
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import ServerFacts
from pgcopydb.postgres import discover
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.queries import query


def read_facts(connection: psycopg.Connection[Any], endpoint: Endpoint) -> ServerFacts:
    """Return what the server and the connected database are."""
    with reporting(endpoint, "reading the server's settings"):
        return discover.server_facts(connection)


def read_moment(connection: psycopg.Connection[Any], endpoint: Endpoint) -> Moment:
    """Return what the session's snapshot shows: its database, the time, the end of the log."""
    with reporting(endpoint, "reading the time"):
        row = connection.execute(query("moment")).fetchone()
    assert row is not None
    database, version, moment, lsn = row
    return Moment(
        side=endpoint.side,
        database=database,
        version=version,
        time=moment,
        lsn=None if lsn is None else parse_lsn(lsn),
    )
