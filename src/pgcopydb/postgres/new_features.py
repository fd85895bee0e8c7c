"""What a server's database has that older versions of PostgreSQL cannot make."""

from typing import Any

import psycopg

from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import Filters
from pgcopydb.model.readiness import NewFeature
from pgcopydb.postgres import discover
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.selection import read_kept


def read_new_features(
    source: Endpoint, connection: psycopg.Connection[Any], filters: Filters, major: int
) -> tuple[NewFeature, ...]:
    """Return what is copied and version ``major`` cannot make, a feature after the other."""
    with reporting(source, "reading what older versions cannot make"):
        records = discover.records(connection, "new_features", major=major)
        found = [NewFeature(**one) for one in records]
    return read_kept(source, connection, filters, found)
