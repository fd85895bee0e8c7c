"""Catalogue queries, one file each, named for what they list.

Sessions run them with an empty search_path, so that operators and types are pg_catalog's; catalogs
and functions are qualified all the same. They run on every server from 12 to 18.
"""

from functools import cache
from importlib.resources import files

from psycopg import sql


@cache
def query(name: str) -> sql.SQL:
    """Return the query in ``NAME.sql``; raises FileNotFoundError for a name that is not there."""
    text = files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
    # The texts are this package's own files: nothing from outside is ever put into them.
    return sql.SQL(text)
