"""Whether the source has what a target of an older version cannot make."""

from collections.abc import Iterator

from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.filters import Filters
from pgcopydb.model.findings import Finding
from pgcopydb.model.readiness import TargetFacts
from pgcopydb.postgres.new_features import read_new_features
from pgcopydb.postgres.short_sessions import short_session
from pgcopydb.rules.readiness.new_features import new_features


def judge_new_features(
    source: Endpoint, target: TargetFacts, filters: Filters
) -> Iterator[Finding]:
    """Give a finding for each feature of the source that the target's version does not have."""
    with short_session(source, purpose="check") as connection:
        found = read_new_features(source, connection, filters, target.facts.major)
    yield from new_features(found, target)
