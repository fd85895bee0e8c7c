"""Whether the target's version has what objects of the source use of the server's own."""

from collections.abc import Iterator

from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import Filters
from pgcopydb.model.findings import Finding
from pgcopydb.model.readiness import TargetFacts
from pgcopydb.postgres.short_sessions import short_session
from pgcopydb.postgres.system_names import (
    read_expression_objects,
    read_system_names,
    read_users,
    unknown_names,
)
from pgcopydb.rules.readiness.system_names import system_names


def judge_system_names(
    source: Endpoint, target: Endpoint, facts: TargetFacts, filters: Filters
) -> Iterator[Finding]:
    """Give what is found when objects use what the target does not have.

    The target is asked for names alone; most often it has them all, and nothing else is read.
    """
    with short_session(source, purpose="check") as connection:
        names = read_system_names(source, connection)
    if not names:
        return
    with short_session(target, purpose="check") as connection:
        unknown = unknown_names(target, connection, names)
    if not unknown:
        return
    with short_session(source, purpose="check") as connection:
        users = read_users(source, connection, unknown)
        objects = read_expression_objects(source, connection, users, filters)
    yield from system_names(users, objects, facts)
