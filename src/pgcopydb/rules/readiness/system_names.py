"""Views and rules that use what the target's version does not have."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby

from pgcopydb.errors import some_of
from pgcopydb.model.endpoint import Side
from pgcopydb.model.findings import Finding, Severity
from pgcopydb.model.readiness import RuleObject, SystemName, TargetFacts


def system_names(
    unknown: Sequence[SystemName], objects: Sequence[RuleObject], target: TargetFacts
) -> Iterator[Finding]:
    """Give a finding for each kind of ``objects``, in whose order of kinds they are.

    ``unknown`` is what the target does not have; rules of which no object is given do not matter.
    """
    lacking: dict[int, list[str]] = defaultdict(list)
    for name in unknown:
        for rule in name.rules:
            lacking[rule].append(f"{name.kind} {name.text}")
    for kind, members in groupby(objects, key=lambda one: one.kind):
        users = [f"{one.name} ({some_of(sorted(lacking[one.rule]))})" for one in members]
        yield Finding(
            severity=Severity.FATAL,
            side=Side.TARGET,
            check="system-names",
            message=f"PostgreSQL {target.facts.major} does not have what {kind}s of the source use:"
            f" {some_of(users)}",
            advice="first change or drop them on the source"
            + (
                ""
                if kind == "rule"
                else ", or leave them out with [exclude-table] in a file for --filters"
            ),
        )
