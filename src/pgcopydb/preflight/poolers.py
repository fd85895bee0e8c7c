"""Ends a command that does one thing only, and looks at nothing else, where a pooler is in the way.

Its sessions' settings would be lost between two statements, and what is copied or compared by other
settings is something else; and they would reach whoever gets that session of the server next.
"""

from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.findings import Finding, Report
from pgcopydb.postgres.pooling import find_pooling
from pgcopydb.postgres.short_sessions import short_session
from pgcopydb.preflight.refuse import refuse_unfit
from pgcopydb.rules.readiness import servers


def refuse_poolers(*endpoints: Endpoint) -> None:
    """Raise ConfigurationError where a pooler hands out sessions by transaction."""
    findings: list[Finding] = []
    for endpoint in endpoints:
        with short_session(endpoint, purpose="check") as connection:
            pooling = find_pooling(endpoint, connection)
        findings += servers.pooler(endpoint.side, pooling)
    refuse_unfit(Report(findings=tuple(findings)), tell=False)
