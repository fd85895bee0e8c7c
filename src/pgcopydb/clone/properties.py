"""The properties of the database itself: looked at before the copy, set after it."""

import logging

from pgcopydb.clone.context import Copying
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CopyOptions
from pgcopydb.postgres import properties
from pgcopydb.postgres.short_sessions import short_session

log = logging.getLogger(__name__)


def set_properties(copying: Copying) -> None:
    """Give the target's database the source's settings; last, for they bind later sessions."""
    if copying.options.skip_db_properties:
        return
    copy, target = copying.options, copying.target
    with (
        copying.timed("database properties"),
        short_session(target, purpose="properties") as session,
    ):
        wanted = _read(copying.source)
        statements = properties.missing(
            target,
            session,
            wanted,
            comment=not copy.no_comments,
            acl=not copy.no_acl,
            left_out=lambda why: log.warning("target: %s", why),
        )
        properties.run(target, session, statements)


def limit_connections(source: Endpoint, target: Endpoint, copy: CopyOptions) -> None:
    """Give the target's database the source's connection limit, when nothing else is to be done.

    It would keep this program's own sessions out, unless its role is a superuser.
    """
    if copy.skip_db_properties:
        return
    wanted = _read(source)
    with short_session(target, purpose="properties") as session:
        properties.run(target, session, properties.missing_limit(target, session, wanted))


def _read(source: Endpoint) -> properties.DatabaseProperties:
    with short_session(source, purpose="properties") as session:
        return properties.read_properties(source, session)
