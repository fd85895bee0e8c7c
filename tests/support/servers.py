"""Real servers and databases for the tests.

One cluster of each version and side is started when the first test of a session asks for it, and
is gone with the session; under pytest-xdist every worker process has its own. A test gets fresh
databases in it, cloned from a template, and what it leaves on a server (databases, slots, origins,
roles) is dropped when it ends.
"""

import hashlib
import itertools
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import psycopg
import pytest
from psycopg import sql

from pgcopydb.demo.cluster import Cluster
from pgcopydb.demo.embedded import EMBEDDED_MAJORS, embedded_installation
from pgcopydb.errors import PgcopydbError
from pgcopydb.model.endpoint import Endpoint, Side
from tests.support.other_servers import OTHER_MAJORS, other_bindir
from tests.support.requirements import missing

DEBIAN_MAJOR = 15
_DEBIAN_BINDIR = Path("/usr/lib/postgresql/15/bin")
# Small, because several servers share a small machine with the tests.
_SMALL = {
    "shared_buffers": "32MB",
    "max_wal_size": "512MB",
    "max_connections": "60",
    "max_prepared_transactions": "10",
    # A subscription begins to apply at once.
    "wal_retrieve_retry_interval": "50ms",
}
# Newer minor versions load only the plugins that stand here; older ones do not know the setting.
_PLUGINS = {"output_plugin_libraries": "pgoutput, test_decoding, wal2json"}

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Database:
    """A database on a test server."""

    cluster: Cluster
    name: str

    @property
    def conninfo(self) -> str:
        """The superuser's connection string, over TCP."""
        return self.cluster.conninfo(self.name)

    def connect(self, **parameters: Any) -> Connection:
        """Return an autocommit connection of the superuser, over TCP."""
        return psycopg.connect(self.cluster.conninfo(self.name, **parameters), autocommit=True)

    def execute(self, script: str) -> None:
        """Run SQL statements, each in its own transaction unless the script says otherwise."""
        with self.connect() as connection:
            connection.execute(script.encode())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.connect() as connection:
            return connection.execute(query.encode()).fetchall()

    def endpoint(self, side: Side) -> Endpoint:
        return Endpoint(side, self.conninfo)


@dataclass(frozen=True)
class AsRole(Database):
    """A database seen by another role."""

    role: str

    @property
    def conninfo(self) -> str:
        """The role's connection string, over TCP."""
        return self.cluster.conninfo(self.name, user=self.role)


@dataclass(frozen=True)
class SourceTarget:
    """A fresh database on a source server and one on a target server."""

    source: Database
    target: Database

    @property
    def options(self) -> list[str]:
        """The command-line options that name both sides."""
        return ["--source", self.source.conninfo, "--target", self.target.conninfo]


class MakeDatabase(Protocol):
    """Makes databases that are dropped when the test ends."""

    def __call__(self, cluster: Cluster, template: str | None = None) -> Database:
        """Return a new database: empty, or as the SQL script ``template`` leaves it.

        The script runs once a session and server; each database is a clone of its result.
        """


class MakeCluster(Protocol):
    """Makes servers of a test's own, which are gone when the test ends."""

    def __call__(
        self,
        major: int,
        *,
        settings: Mapping[str, str] | None = None,
        password: str | None = None,
        hba_lines: Sequence[str] = (),
    ) -> Cluster:
        """Return a running server of a major version with the settings of the others and these."""


@cache
def bindir(major: int) -> Path | str:
    """Return the folder of a major version's programs, or why there is none."""
    if major == DEBIAN_MAJOR:
        reason = "Debian's PostgreSQL 15 is not installed (apt-get install postgresql-15)"
        return _DEBIAN_BINDIR if (_DEBIAN_BINDIR / "postgres").exists() else reason
    if major in OTHER_MAJORS:
        return other_bindir(major)
    try:
        return embedded_installation(major).bindir
    except PgcopydbError as error:
        return f"{error.message} ({error.hint})"


def pytest_report_header() -> list[str]:
    """Print each version that the tests can use: what it is, or why it is not there."""
    return [f"PostgreSQL {major}: {_version(major)}" for major in (DEBIAN_MAJOR, *EMBEDDED_MAJORS)]


def _version(major: int) -> str:
    found = bindir(major)
    if isinstance(found, str):
        return f"missing: {found}"
    command = [str(found / "postgres"), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@cache
def _known_settings(programs: Path) -> frozenset[str]:
    """Return the names of all settings that a server knows."""
    command = [str(programs / "postgres"), "--describe-config"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return frozenset(line.partition("\t")[0] for line in listing.splitlines())


def new_cluster(
    major: int,
    *,
    settings: Mapping[str, str] | None = None,
    password: str | None = None,
    hba_lines: Sequence[str] = (),
) -> Cluster:
    """Return a server of a major version, not started yet, or skip the test that needs it."""
    programs = bindir(major)
    if isinstance(programs, str):
        missing(programs)
    known = _known_settings(programs)
    plugins = {name: value for name, value in _PLUGINS.items() if name in known}
    return Cluster(
        programs,
        settings=_SMALL | plugins | dict(settings or {}),
        password=password,
        hba_lines=hba_lines,
    )


Unlogged: TypeAlias = frozenset[tuple[object, ...]]
"""The unlogged tables of a database and their sizes, which a crash of its server changes."""


class Servers:
    """The servers of a session, started when first asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._clusters: dict[tuple[int, str], Cluster] = {}
        self._templates: dict[tuple[Cluster, str], Unlogged] = {}

    def get(self, major: int, side: str = "source") -> Cluster:
        """Return the running server of a major version; a migration within one has two."""
        cluster = self._clusters.get((major, side))
        if cluster is None:
            cluster = new_cluster(major)
            self._stack.enter_context(cluster)
            self._clusters[major, side] = cluster
        # A test may have stopped or killed it.
        cluster.start()
        return cluster

    def template(self, cluster: Cluster, script: str) -> str:
        """Return the name of the database that a script made on a server.

        It is made again when a test has crashed the server, which empties unlogged tables.
        """
        name = "template_" + hashlib.sha256(script.encode()).hexdigest()[:12]
        made = self._templates.get((cluster, script))
        if made and _unlogged(cluster, name) != made:
            cluster.drop_database(name)
            made = None
        if made is None:
            cluster.create_database(name)
            with cluster.connect(name) as connection:
                connection.execute(script.encode())
            self._templates[cluster, script] = _unlogged(cluster, name)
        return name


def _unlogged(cluster: Cluster, database: str) -> Unlogged:
    with cluster.connect(database) as connection:
        rows = connection.execute(
            "select oid::regclass::text, pg_relation_size(oid) from pg_class"
            " where relpersistence = 'u' and relkind = 'r'"
        )
        return frozenset(rows.fetchall())


@contextmanager
def nothing_left(cluster: Cluster) -> Iterator[None]:
    """Drop, at the end, what was made on a server meanwhile, and start the server if it is down."""
    before = _leftovers(cluster)
    try:
        yield
    finally:
        cluster.start()
        made = _leftovers(cluster) - before
        databases = {found for found in made if found[0] == "database"}
        _drop(cluster, databases)
        if made != databases:
            # What was in a database is gone with it.
            _drop(cluster, _leftovers(cluster) - before)


# In the order of dropping: databases take their slots, objects and sessions along, and only an
# origin without a session can be dropped.
_LEFTOVERS = {
    "database": "select datname from pg_database where datname not like 'template%'",
    "slot": "select slot_name from pg_replication_slots",
    "origin": "select roname from pg_replication_origin",
    "role": "select rolname from pg_roles where rolname not like 'pg\\_%'",
}
_ALL_LEFTOVERS = " union all ".join(
    f"select '{kind}', name::text from ({query}) as {kind}s (name)"
    for kind, query in _LEFTOVERS.items()
)


def _leftovers(cluster: Cluster) -> set[tuple[str, str]]:
    """Return the kind and the name of everything that a test could leave."""
    with cluster.connect() as connection:
        return set(connection.execute(_ALL_LEFTOVERS.encode()))


def _drop(cluster: Cluster, leftovers: set[tuple[str, str]]) -> None:
    for kind, drop in _DROP.items():
        for name in sorted(name for found, name in leftovers if found == kind):
            drop(cluster, name)


def _run(cluster: Cluster, statement: sql.Composed) -> None:
    with cluster.connect() as connection:
        connection.execute(statement)


_DROP: dict[str, Callable[[Cluster, str], None]] = {
    "database": Cluster.drop_database,
    "slot": lambda cluster, name: _run(
        cluster, sql.SQL("select pg_drop_replication_slot({})").format(name)
    ),
    "origin": lambda cluster, name: _run(
        cluster, sql.SQL("select pg_replication_origin_drop({})").format(name)
    ),
    "role": lambda cluster, name: _run(
        cluster, sql.SQL("drop role {}").format(sql.Identifier(name))
    ),
}


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The session's servers: ``servers.get(major, side)``."""
    with ExitStack() as stack:
        yield Servers(stack)


@pytest.fixture
def pg15(servers: Servers) -> Cluster:
    """Debian's PostgreSQL 15, with the plugins pgoutput, test_decoding and wal2json."""
    return servers.get(15)


@pytest.fixture
def pg16(servers: Servers) -> Cluster:
    """The embedded PostgreSQL 16, with the plugin pgoutput."""
    return servers.get(16)


@pytest.fixture
def pg18(servers: Servers) -> Cluster:
    """The embedded PostgreSQL 18, with the plugin pgoutput."""
    return servers.get(18)


@pytest.fixture
def make_cluster() -> Iterator[MakeCluster]:
    """Makes servers of the test's own: ``make_cluster(16, settings={"wal_level": "replica"})``."""
    with ExitStack() as stack:

        def make(
            major: int,
            *,
            settings: Mapping[str, str] | None = None,
            password: str | None = None,
            hba_lines: Sequence[str] = (),
        ) -> Cluster:
            cluster = new_cluster(major, settings=settings, password=password, hba_lines=hba_lines)
            return stack.enter_context(cluster)

        yield make


_numbers = itertools.count(1)


@pytest.fixture
def make_database(servers: Servers) -> Iterator[MakeDatabase]:
    """Makes fresh databases: ``make_database(pg16)``, ``make_database(pg15, "create table …")``."""
    tidied: set[Cluster] = set()
    with ExitStack() as stack:

        def make(cluster: Cluster, template: str | None = None) -> Database:
            # The template stays for other tests, with the roles it may have made.
            original = None if template is None else servers.template(cluster, template)
            if cluster not in tidied:
                stack.enter_context(nothing_left(cluster))
                tidied.add(cluster)
            name = f"test_{next(_numbers)}"
            cluster.create_database(name, original)
            return Database(cluster, name)

        yield make


@pytest.fixture
def source_target(
    request: pytest.FixtureRequest, servers: Servers, make_database: MakeDatabase
) -> SourceTarget:
    """A source and a target database, each on a server of its own: 16 → 18 unless told otherwise.

    ``@pytest.mark.parametrize("source_target", [(15, 15), (15, 18)], indirect=True)`` chooses the
    versions, and a third member is the SQL script that the source's template is made with.
    """
    source, target, *template = getattr(request, "param", (16, 18))
    return SourceTarget(
        make_database(servers.get(source, "source"), *template),
        make_database(servers.get(target, "target")),
    )
