"""Whether the snapshot that a copy is to be made from is there."""

from collections.abc import Iterator

from pgcopydb.errors import StateError
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.findings import Finding, Severity
from pgcopydb.postgres.short_sessions import short_session
from pgcopydb.postgres.snapshot import import_snapshot


def judge_snapshot(source: Endpoint, identity: str) -> Iterator[Finding]:
    """Give a finding when no session of the source's database has ``identity`` exported.

    Raises the source's error when it cannot be asked.
    """
    try:
        with short_session(source, purpose="check") as connection:
            import_snapshot(source, connection, identity)
            connection.execute("rollback")
    except StateError as gone:
        yield Finding(
            severity=Severity.FATAL,
            side=Side.SOURCE,
            check="snapshot",
            message=gone.message.removeprefix(f"{source.side}: "),
            advice="keep the session open that exports it, in the database that is copied, or leave"
            " --snapshot out",
            status=gone.status,
        )
