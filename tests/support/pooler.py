"""A pgbouncer before a test's server."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from pgcopydb.demo.places import LOOPBACK, free_port, traversable_temporary_directory
from pgcopydb.demo.processes import server_user
from tests.support.clock import wait_for
from tests.support.requirements import missing
from tests.support.servers import Database

_PROGRAM = Path("/usr/sbin/pgbouncer")


@contextmanager
def pooler(database: Database, mode: str) -> Iterator[str]:
    """Run a pooler of ``mode`` before the server; give the string that leads through it."""
    if not _PROGRAM.exists():
        missing("pgbouncer is not installed (apt-get install pgbouncer)")
    folder = Path(tempfile.mkdtemp(dir=traversable_temporary_directory()))
    port = free_port()
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = host={LOOPBACK} port={database.cluster.port} user=postgres\n"
        f"[pgbouncer]\nlisten_addr = {LOOPBACK}\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = {mode}\nserver_lifetime = 3600\n"
        "ignore_startup_parameters = extra_float_digits, options\n"
    )
    user = server_user()
    if user is not None:
        for path in (folder, settings):
            shutil.chown(path, user)
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(_PROGRAM), str(settings)],
            user=user,
            extra_groups=None if user is None else [],
            cwd="/",
            env={"PATH": os.defpath},
            stdout=output,
            stderr=output,
        )
    # With auth_type any everybody is who the pool's own string says.
    through = f"host={LOOPBACK} port={port} dbname={database.name} user=postgres"
    try:
        assert wait_for(lambda: process.poll() is not None or _answers(through)), log.read_text()
        yield through
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _answers(conninfo: str) -> bool:
    try:
        psycopg.connect(conninfo, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
