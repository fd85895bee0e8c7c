"""Views, defaults and other objects that use what the target's version does not have."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from pgcopydb.errors import some_of
from pgcopydb.model.dependencies import Key
from pgcopydb.model.endpoint import Side
from pgcopydb.model.filters import Section
from pgcopydb.model.findings import Finding, Severity
from pgcopydb.model.readiness import ExpressionObject, SystemName, TargetFacts

_PLURALS: Final = {"index": "indexes", "policy": "policies"}

_FILTERS: Final = {
    "view": Section.EXCLUDE_TABLE,
    "materialized view": Section.EXCLUDE_TABLE,
    "index": Section.EXCLUDE_INDEX,
}
"""What leaves objects of a kind out, and nothing else."""


def system_names(
    users: Mapping[Key, Sequence[SystemName]],
    objects: Sequence[ExpressionObject],
    target: TargetFacts,
) -> Iterator[Finding]:
    """Give a finding for each kind of ``objects``, in whose order of kinds they are.

    ``users`` have what of the names that the target lacks is used by each; those of which no
    object is given do not matter.
    """
    for kind, members in groupby(objects, key=lambda one: one.kind):
        listed = [f"{one.name} ({_lacking(users[one.catalog, one.oid])})" for one in members]
        section = _FILTERS.get(kind)
        yield Finding(
            severity=Severity.FATAL,
            side=Side.TARGET,
            check="system-names",
            message=f"PostgreSQL {target.facts.major} does not have what"
            f" {_PLURALS.get(kind, kind + 's')} of the source use: {some_of(listed)}",
            advice="first change or drop them on the source"
            + (f", or leave them out with [{section}] in a file for --filters" if section else ""),
        )


def _lacking(names: Sequence[SystemName]) -> str:
    return some_of(sorted(f"{one.kind} {one.text}" for one in names))
