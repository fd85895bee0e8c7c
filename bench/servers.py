"""The servers of a benchmark, and the databases that its contenders start from."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from pgcopydb.demo.cluster import Cluster
from pgcopydb.demo.embedded import EMBEDDED_MAJORS, embedded_installation

_SETTINGS = {
    # The same for both sides and every contender. fsync is on: what a commit costs counts.
    "shared_buffers": "1GB",
    "max_wal_size": "16GB",
    # What one run wrote is written again by the next: a new file of WAL is filled with zeros first.
    "min_wal_size": "2GB",
    "checkpoint_timeout": "30min",
    "autovacuum": "off",
    "max_worker_processes": "16",
    "max_logical_replication_workers": "8",
    "jit": "off",
    "max_locks_per_transaction": "256",
}
_DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class Servers:
    """A running source and a running target; ``versions`` names both."""

    source: Cluster
    target: Cluster
    versions: str


@contextmanager
def running_servers(source_major: int, target_major: int) -> Iterator[Servers]:
    """Start both servers, which are stopped and removed at the end."""
    with ExitStack() as stack:
        source, target = (
            stack.enter_context(Cluster(_bindir(major), settings=_settings(major), durable=True))
            for major in (source_major, target_major)
        )
        versions = " to ".join(_version(cluster) for cluster in (source, target))
        yield Servers(source, target, versions)


def _settings(major: int) -> dict[str, str]:
    """Return the settings; a server that allows only listed plugins is told those used here."""
    command = [str(_bindir(major) / "postgres"), "--describe-config"]
    known = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    allowed = {"output_plugin_libraries": "pgoutput, wal2json"}
    return _SETTINGS | {name: value for name, value in allowed.items() if name in known}


def _bindir(major: int) -> Path:
    if major in EMBEDDED_MAJORS:
        return embedded_installation(major).bindir
    return _DEBIAN / str(major) / "bin"


def _version(cluster: Cluster) -> str:
    with cluster.connect() as connection:
        row = connection.execute("show server_version").fetchone()
    assert row is not None
    return str(row[0]).split()[0]


def psql(cluster: Cluster, database: str, script: str) -> None:
    """Run an SQL script; what it writes need not be on disk at once."""
    with cluster.connect(database) as connection:
        connection.execute("set synchronous_commit to off")
        connection.execute(script.encode())


def pgbench(cluster: Cluster, database: str, arguments: Sequence[str]) -> None:
    """Run pgbench to its end without waiting for the disk; raise when it fails."""
    with background_pgbench(cluster, database, arguments, durable=False) as process:
        _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"pgbench failed: {errors}")


@contextmanager
def background_pgbench(
    cluster: Cluster, database: str, arguments: Sequence[str], *, durable: bool
) -> Iterator["subprocess.Popen[str]"]:
    """Run pgbench beside the block; it is ended with it."""
    command = [str(cluster.bindir / "pgbench"), *arguments, cluster.conninfo(database)]
    options = {} if durable else {"PGOPTIONS": "-c synchronous_commit=off"}
    process = subprocess.Popen(
        command,
        env=client_environment() | options,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def client_environment() -> dict[str, str]:
    """Return the environment of client programs: without PG*, and with compiled modules kept."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PG") and name != "PYTHONDONTWRITEBYTECODE"
    }


def copy_base(servers: Servers, database: str, base: str) -> None:
    """Make the database ``base`` on the target the same as the source's, which is at rest."""
    servers.target.create_database(base)
    dump = [str(servers.target.bindir / "pg_dump"), "--no-publications"]
    load = [str(servers.target.bindir / "psql"), "--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1"]
    with subprocess.Popen(
        [*dump, servers.source.conninfo(database)],
        env=client_environment(),
        stdout=subprocess.PIPE,
    ) as process:
        subprocess.run(
            [*load, servers.target.conninfo(base)],
            env=client_environment(),
            stdin=process.stdout,
            stdout=subprocess.DEVNULL,
            check=True,
        )
    if process.returncode:
        raise SystemExit("pg_dump failed")
    psql(servers.target, base, "vacuum analyze")


@contextmanager
def fresh_target(target: Cluster, base: str, name: str) -> Iterator[str]:
    """Give a copy of ``base`` that nobody has touched, for the length of the block."""
    statement = sql.SQL("create database {} template {} strategy file_copy")
    with target.connect() as connection:
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(base)))
        connection.execute("checkpoint")
    os.sync()
    try:
        yield name
    finally:
        target.drop_database(name)


def digest(cluster: Cluster, database: str) -> dict[str, tuple[int, str]]:
    """Return, for each table of an application, its row count and a sum over its rows' hashes."""
    with cluster.connect(database) as connection:
        tables = connection.execute(
            "select schemaname, tablename from pg_tables where schemaname = 'public' order by 2"
        ).fetchall()
        found = {}
        for schema, table in tables:
            statement = sql.SQL(
                "select count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text"
                " from only {} as t"
            ).format(sql.Identifier(schema, table))
            row = connection.execute(statement).fetchone()
            assert row is not None
            found[table] = (row[0], row[1])
    return found
