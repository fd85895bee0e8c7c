"""A standby of a test's server: made by pg_basebackup, kept up by streaming."""

import subprocess

from psycopg import sql

from pgcopydb.demo.cluster import Cluster
from pgcopydb.demo.processes import launch_command, server_user
from tests.support.clock import wait_for


class Standby(Cluster):
    """A hot standby of ``primary``, which must be running; a context manager."""

    def __init__(self, primary: Cluster) -> None:
        super().__init__(primary.bindir)
        self._primary = primary

    def _initialise(self) -> None:
        command = [
            str(self.bindir / "pg_basebackup"),
            f"--pgdata={self.data_directory}",
            f"--dbname={self._primary.conninfo()}",
            "--checkpoint=fast",
            "--wal-method=stream",
            "--write-recovery-conf",
            "--no-sync",
        ]
        subprocess.run(
            launch_command(command, server_user()), cwd="/", check=True, capture_output=True
        )

    def _configure(self) -> None:
        """Leave the configuration as it is: it came with the copy."""

    def catch_up(self) -> None:
        """Wait until everything that has committed on the primary can be seen here."""
        with self._primary.connect() as session:
            row = session.execute("select pg_current_wal_lsn()").fetchone()
        assert row is not None
        statement = sql.SQL("select pg_last_wal_replay_lsn() >= {}::pg_lsn").format(row[0])

        def caught_up() -> bool:
            with self.connect() as session:
                found = session.execute(statement).fetchone()
            return found is not None and bool(found[0])

        assert wait_for(caught_up)
