"""What a server's database has that older versions of PostgreSQL cannot make."""

from typing import Any

import psycopg

from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import Filters
from pgcopydb.model.readiness import NewFeature
from pgcopydb.postgres import discover
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.selection import read_selection


def read_new_features(
    source: Endpoint, connection: psycopg.Connection[Any], filters: Filters, major: int
) -> list[NewFeature]:
    """Return what is copied and version ``major`` cannot make, a feature after the other."""
    with reporting(source, "reading what older versions cannot make"):
        records = discover.records(connection, "new_features", major=major)
        found = [NewFeature(**one) for one in records]
    left_out = read_selection(source, connection, filters).left_out if found else frozenset()
    return [one for one in found if (one.catalog, one.oid) not in left_out]
