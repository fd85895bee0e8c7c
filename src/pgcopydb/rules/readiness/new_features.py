"""Objects of a newer source that a target of an older version cannot make."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from pgcopydb.errors import some_of
from pgcopydb.model.endpoint import Side
from pgcopydb.model.findings import Finding, Severity
from pgcopydb.model.readiness import NewFeature, TargetFacts


def new_features(found: Sequence[NewFeature], target: TargetFacts) -> Iterator[Finding]:
    """Give a finding for each feature, in whose order ``found`` is."""
    for (since, feature), members in groupby(found, key=lambda one: (one.since, one.feature)):
        yield Finding(
            severity=Severity.FATAL,
            side=Side.TARGET,
            check="new-features",
            message=f"PostgreSQL {target.facts.major} does not know {feature}:"
            f" {some_of([one.name for one in members])}",
            advice=f"use a target of PostgreSQL {since} or later, or first change or drop them on"
            " the source",
        )
