"""The properties of the database itself: looked at before the copy, set after it."""

from typing import Any

from psycopg import Connection

from pgcopydb.clone.context import Copying
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CopyOptions
from pgcopydb.postgres import properties
from pgcopydb.postgres.connect import connect

Session = Connection[tuple[Any, ...]]


def set_properties(copying: Copying) -> None:
    """Give the target's database the source's settings; last, for they bind later sessions."""
    if copying.options.skip_db_properties:
        return
    with (
        copying.timed("database properties"),
        connect(copying.target, purpose="properties") as session,
    ):
        statements = _statements(copying.source, copying.target, session, copying.options)
        properties.run(copying.target, session, statements)


def _statements(
    source: Endpoint, target: Endpoint, connection: Session, copy: CopyOptions
) -> list[properties.Statement]:
    with connect(source, purpose="properties") as session:
        wanted = properties.read_properties(source, session)
    return properties.missing(
        target, connection, wanted, comment=not copy.no_comments, acl=not copy.no_acl
    )
