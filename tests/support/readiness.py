"""Two databases that are looked at as ``pgcopydb check`` does."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import make_conninfo

from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.findings import Finding, Report
from pgcopydb.model.options import CopyOptions, FollowOptions
from pgcopydb.model.readiness import Intent
from pgcopydb.preflight.look import look
from pgcopydb.preflight.text import statement_text
from tests.support.servers import Database

FOLLOWED = Intent(copy=CopyOptions(), follow=FollowOptions())
COPIED = Intent(copy=CopyOptions(), follow=None)


@dataclass
class Scene:
    """Two databases, and the connection strings with which they are looked at."""

    source: Database
    target: Database
    as_source: str = ""
    as_target: str = ""

    def look(self, intent: Intent) -> Report:
        return look(
            Endpoint(Side.SOURCE, self.as_source or self.source.conninfo),
            Endpoint(Side.TARGET, self.as_target or self.target.conninfo),
            intent,
            Path("/nowhere/yet"),
        )

    def mend(self, findings: Iterable[Finding]) -> None:
        """Run what the findings say, word for word, and restart the servers where they say so."""
        restarted = set()
        for finding in findings:
            database = self.source if finding.side is Side.SOURCE else self.target
            assert finding.statements, finding
            with database.connect() as connection:
                for statement in finding.statements:
                    connection.execute(statement_text(statement).encode())
            if finding.restart:
                restarted.add(database.cluster)
        for cluster in restarted:
            cluster.restart()


def checks(findings: Iterable[Finding]) -> set[str]:
    return {f"{finding.side or 'here'} {finding.check}" for finding in findings}


def role(database: Database, name: str) -> str:
    """Make a role that owns nothing and may do nothing; return how it connects."""
    database.execute(f'create role "{name}" login')
    return make_conninfo(database.conninfo, user=name)
