"""Connections of every kind: their settings, their failures, and TLS as strong as asked for."""

import asyncio
import itertools
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgcopydb.demo.cluster import Cluster
from pgcopydb.errors import SourceError, TargetError
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.postgres.children import child_environment
from pgcopydb.postgres.connect import (
    connect,
    connect_replication,
    pin,
    resolve,
)
from pgcopydb.postgres.ping import ping
from pgcopydb.postgres.resolve import ResolvedServer
from pgcopydb.postgres.session import pins
from tests.support.commands import Pgcopydb
from tests.support.connections import KINDS, bulk_rows, known
from tests.support.proxy import Proxy
from tests.support.servers import MakeCluster, MakeDatabase, Servers, new_cluster

HOSTILE = """
do $$ begin
  execute format('alter database %I set datestyle = ''SQL, DMY''', current_database());
  execute format('alter database %I set intervalstyle = ''sql_standard''', current_database());
  execute format('alter database %I set bytea_output = ''escape''', current_database());
  execute format('alter database %I set extra_float_digits = -5', current_database());
  execute format('alter database %I set statement_timeout = 100', current_database());
  execute format('alter database %I set search_path = public, pg_catalog', current_database());
  execute format('alter database %I set default_transaction_read_only = on', current_database());
  execute format('alter database %I set idle_in_transaction_session_timeout = 100',
    current_database());
end $$
"""


SETTINGS = "select name, setting from pg_catalog.pg_settings"


@pytest.mark.parametrize("major", [15, 16, 18])
@pytest.mark.parametrize("kind", ["ordinary", "replication", "bulk"])
@pytest.mark.parametrize("side", list(Side))
def test_every_session_is_pinned(
    servers: Servers, make_database: MakeDatabase, major: int, kind: str, side: Side
) -> None:
    database = make_database(servers.get(major))
    database.execute(HOSTILE)
    endpoint = database.endpoint(side)
    if kind == "bulk":
        settings = dict(asyncio.run(bulk_rows(endpoint, SETTINGS)))
    else:
        opened = connect if kind == "ordinary" else connect_replication
        with opened(endpoint, purpose="test") as connection:
            settings = dict(connection.execute(SETTINGS).fetchall())
    expected = {name: value for name, value in pins(side).items() if name in settings}
    assert {name: settings[name] for name in expected} == expected
    assert settings["client_encoding"] == "UTF8"
    assert settings["application_name"] == "pgcopydb test"


def test_bytes_of_a_sql_ascii_database_pass_unchanged(pg15: Cluster) -> None:
    with pg15.connect() as connection:
        connection.execute("create database raw encoding 'SQL_ASCII' locale 'C' template template0")
    try:
        endpoint = Endpoint(Side.SOURCE, pg15.conninfo("raw"))
        with connect_replication(endpoint, purpose="test") as connection:
            assert connection.execute("select 'plain'::text").fetchone() == ("plain",)
            rows = connection.execute(rb"select E'\xfcA'::text").fetchone()
            assert rows is not None
            assert rows[0].encode("utf-8", "surrogateescape") == b"\xfcA"
        with connect(endpoint, purpose="test") as connection:
            assert connection.execute("show client_encoding").fetchone() == ("UTF8",)
    finally:
        pg15.drop_database("raw")


def test_a_session_without_autocommit_keeps_its_settings(
    pg16: Cluster, make_database: MakeDatabase
) -> None:
    endpoint = make_database(pg16).endpoint(Side.TARGET)
    with connect(endpoint, purpose="test", autocommit=False) as connection:
        connection.rollback()
        assert connection.execute("show datestyle").fetchone() == ("ISO, MDY",)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"port": 1}, "Connection refused"),
        ({"dbname": "nowhere"}, 'database "nowhere" does not exist'),
        ({"user": "nobody_here"}, 'role "nobody_here" does not exist'),
        ({"host": "/nowhere"}, "No such file or directory"),
        ({"sslmode": "require"}, "SSL"),
        ({"service": "nowhere"}, "nowhere"),
    ],
)
def test_a_failure_is_one_line_for_its_side(
    pg16: Cluster, changed: dict[str, str | int], said: str
) -> None:
    endpoint = Endpoint(Side.TARGET, make_conninfo(pg16.conninfo(password="s3cret"), **changed))
    with pytest.raises(TargetError) as caught:
        connect(endpoint, purpose="test")
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert "s3cret" not in caught.value.message
    assert caught.value.hint


def test_ping_names_the_side_that_does_not_answer(pg16: Cluster) -> None:
    there = Endpoint(Side.SOURCE, pg16.conninfo())
    gone = Endpoint(Side.TARGET, pg16.conninfo(port=1))
    with pytest.raises(TargetError, match="cannot connect to target"):
        ping(there, gone, retry_for=0)
    facts = ping(there, Endpoint(Side.TARGET, pg16.conninfo()), retry_for=0)
    assert {side: fact.major for side, fact in facts.items()} == dict.fromkeys(Side, 16)


def test_a_list_of_hosts_is_pinned_to_the_one_that_answers(pg16: Cluster) -> None:
    several = pg16.conninfo(host="127.0.0.1,127.0.0.1", port=f"1,{pg16.port}")
    pinned = pin(Endpoint(Side.SOURCE, several))
    assert resolve(pinned).parameters["port"] == str(pg16.port)
    one = Endpoint(Side.SOURCE, pg16.conninfo())
    assert pin(one) is one
    addresses = Endpoint(Side.SOURCE, several.replace("host=", "host='' hostaddr="))
    assert resolve(pin(addresses)).parameters["port"] == str(pg16.port)


def test_a_list_of_hosts_in_the_environment_is_pinned_too(
    pg16: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGHOST", "127.0.0.1,127.0.0.1")
    monkeypatch.setenv("PGPORT", f"1,{pg16.port}")
    pinned = pin(Endpoint(Side.SOURCE, "dbname=postgres user=postgres"))
    monkeypatch.delenv("PGHOST")
    monkeypatch.delenv("PGPORT")
    assert resolve(pinned).parameters["port"] == str(pg16.port)


def test_of_several_hosts_every_kind_of_connection_reaches_the_one_that_may_write(
    pg16: Cluster, make_cluster: MakeCluster, tmp_path: Path
) -> None:
    first = make_cluster(16, settings={"default_transaction_read_only": "on"})
    endpoint = Endpoint(
        Side.SOURCE,
        pg16.conninfo(
            host="127.0.0.1,127.0.0.1",
            port=f"{first.port},{pg16.port}",
            target_session_attrs="read-write",
        ),
    )
    query = "select pg_catalog.current_setting('port')"
    for given in (endpoint, pin(endpoint)):
        with connect(given, purpose="test") as connection:
            ports = connection.execute(query).fetchall()
        with connect_replication(given, purpose="test") as connection:
            ports += connection.execute(query).fetchall()
        ports += asyncio.run(bulk_rows(given, query))
        with child_environment(given, tmp_path) as access:
            shown = subprocess.run(
                [str(pg16.bindir / "psql"), "-XAtc", query, access.conninfo],
                env=dict(access.environment), capture_output=True, text=True, check=True,
            )  # fmt: skip
        assert {*ports, (shown.stdout.strip(),)} == {(str(pg16.port),)}


PASSWORD = "p:a\\ss wo'rd \"%41@/?#&=ü密\u00a0 "
"""With what each source of one has a meaning for, and what SASLprep changes."""


@dataclass(frozen=True)
class Login:
    """A role of a server, and a folder for the files that tell its password."""

    cluster: Cluster
    folder: Path
    user: str = "postgres"
    password: str = PASSWORD

    @property
    def words(self) -> str:
        """All but the password, as keywords."""
        return f"host=127.0.0.1 port={self.cluster.port} user={self.user} dbname=postgres"

    def service(self, *lines: str) -> dict[str, str]:
        path = self.folder / "services"
        path.write_text("\n".join(["[shop]", *self.words.split(), *lines]) + "\n")
        return {"PGSERVICEFILE": str(path)}

    def password_file(self, mode: int = 0o600) -> str:
        path = self.folder / "passwords"
        escaped = self.password.replace("\\", "\\\\").replace(":", "\\:")
        path.write_text(f"127.0.0.1:{self.cluster.port}:postgres:{self.user}:{escaped}\n")
        path.chmod(mode)
        return str(path)


def uri(login: Login) -> tuple[str, dict[str, str]]:
    password = quote(login.password, safe="")
    return f"postgresql://{login.user}:{password}@127.0.0.1:{login.cluster.port}/postgres", {}


def keywords(login: Login) -> tuple[str, dict[str, str]]:
    password = login.password.replace("\\", "\\\\").replace("'", "\\'")
    return f"{login.words} password='{password}'", {}


def variable(login: Login) -> tuple[str, dict[str, str]]:
    return login.words, {"PGPASSWORD": login.password}


def named_file(login: Login) -> tuple[str, dict[str, str]]:
    return f"{login.words} passfile='{login.password_file()}'", {}


def file_of_the_environment(login: Login) -> tuple[str, dict[str, str]]:
    return login.words, {"PGPASSFILE": login.password_file()}


def file_beside_a_service(login: Login) -> tuple[str, dict[str, str]]:
    return "service=shop", login.service() | {"PGPASSFILE": login.password_file()}


def service(login: Login) -> tuple[str, dict[str, str]]:
    return "service=shop", login.service(f"password={login.password}")


def service_of_the_environment(login: Login) -> tuple[str, dict[str, str]]:
    return "", login.service(f"password={login.password}") | {"PGSERVICE": "shop"}


SOURCES = (
    uri,
    keywords,
    variable,
    named_file,
    file_of_the_environment,
    file_beside_a_service,
    service,
    service_of_the_environment,
)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Cluster]:
    """A server that asks for passwords.

    A service file can tell that of ``trimmed``, and that of ``odd`` is of LATIN1.
    """
    with new_cluster(16, password=PASSWORD) as cluster:
        with cluster.connect() as connection:
            password = sql.Literal(PASSWORD.rstrip())
            connection.execute(
                sql.SQL("create role trimmed superuser login password {}").format(password)
            )
            latin = "create database latin encoding 'LATIN1' locale 'C' template template0"
            connection.execute(latin)
        with psycopg.connect(
            cluster.conninfo("latin", host=str(cluster.socket_directory)), autocommit=True
        ) as connection:
            connection.execute("set client_encoding to LATIN1")
            connection.execute("create role odd superuser login password 'z\xfcrich'")
        yield cluster


@pytest.mark.parametrize("source", SOURCES)
def test_a_password_of_every_source_serves_every_kind_of_connection(
    guarded: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: Callable[[Login], tuple[str, dict[str, str]]],
) -> None:
    login = Login(guarded, tmp_path)
    if source in {service, service_of_the_environment}:  # their lines end with no space
        login = replace(login, user="trimmed", password=PASSWORD.rstrip())
    conninfo, variables = source(login)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    work = tmp_path / "work"
    work.mkdir()
    with known(Endpoint(Side.TARGET, conninfo), work) as server:
        assert not any("ss wo" in value for value in server.access.environment.values())
        for use in KINDS.values():
            assert use(server, "select current_user::text") in ([(login.user,)], [])


def test_a_password_file_that_others_may_read_is_not_used_by_any_kind_of_connection(
    guarded: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pgcopydb_command: Pgcopydb,
) -> None:
    login = Login(guarded, tmp_path)
    endpoint = Endpoint(Side.TARGET, login.words)
    monkeypatch.setenv("PGPASSFILE", login.password_file(0o644))
    for open_it in (connect, connect_replication):
        with pytest.raises(TargetError, match="no password supplied"):
            open_it(endpoint, purpose="test")
    with pytest.raises(TargetError, match="no password supplied"):
        asyncio.run(bulk_rows(endpoint, "select 1"))
    with pytest.raises(TargetError, match="no password supplied"), known(endpoint, tmp_path):
        pass
    options = ["--source", guarded.conninfo("template1"), "--target", endpoint.conninfo]
    for words in (["ping", "--retry-for", "0"], ["clone", "--dir", str(tmp_path / "work")]):
        finished = pgcopydb_command(
            *words, *options, env={"PGPASSFILE": login.password_file(0o644)}
        )
        assert finished.status == 7, finished.stderr
        lines = finished.stderr.splitlines()
        assert any("has group or world access" in line for line in lines), lines
        (error,) = [line for line in lines if line.startswith("ERROR: ")]
        assert "cannot connect to target" in error
        assert "no password supplied" in error
        assert lines[-1].startswith("HINT: check the user and the password")


@pytest.mark.parametrize(
    ("script", "reason", "hint"),
    [
        ("create role barred", "not permitted to log in", "ALTER ROLE ... LOGIN"),
        (
            "create role barred login; revoke connect on database {} from public",
            "permission denied for database",
            "GRANT CONNECT ON DATABASE",
        ),
        (
            "create role barred login; alter database {} allow_connections false",
            "not currently accepting connections",
            "ALLOW_CONNECTIONS true",
        ),
    ],
)
def test_a_role_that_is_not_let_in_is_told_with_what_lets_it_in(
    pg18: Cluster, make_database: MakeDatabase, script: str, reason: str, hint: str
) -> None:
    database = make_database(pg18)
    with psycopg.connect(pg18.conninfo("template1"), autocommit=True) as elsewhere:
        elsewhere.execute(script.format(database.name).encode())
        try:
            barred = database.conninfo.replace("user=postgres", "user=barred")
            with pytest.raises(TargetError, match=reason) as caught:
                connect(Endpoint(Side.TARGET, barred), purpose="test", retry_for=30)
            assert hint in (caught.value.hint or "")
        finally:
            elsewhere.execute(f"alter database {database.name} allow_connections true".encode())
            elsewhere.execute("drop role barred")


@pytest.mark.parametrize("side", list(Side))
def test_a_password_that_is_not_utf8_is_refused_by_name(
    guarded: Cluster, tmp_path: Path, pgcopydb_command: Pgcopydb, side: Side
) -> None:
    """libpq takes any bytes; what hands them on to other programs and drivers takes text."""
    passwords = tmp_path / "passwords"
    passwords.write_bytes(b"*:*:*:odd:z\xfcrich\n")
    passwords.chmod(0o600)
    given = {one: guarded.conninfo("latin") for one in Side}
    given[side] = Login(guarded, tmp_path, user="odd").words
    options = [word for one in Side for word in (f"--{one}", given[one])]
    work = ["--dir", str(tmp_path / "work")]
    finished = pgcopydb_command("clone", *work, *options, env={"PGPASSFILE": str(passwords)})
    assert finished.status == 2, finished.stderr
    assert f"ERROR: {side}: the value of password is not UTF-8" in finished.stderr
    assert "rich" not in finished.stderr
    for written in ("password=z\udcfcrich", "postgresql://odd:z%FCrich@127.0.0.1/postgres"):
        finished = pgcopydb_command("ping", *options, f"--{side}", written)
        assert finished.status == 1, finished.stderr
        assert f"ERROR: the {side} connection string is not UTF-8" in finished.stderr
        assert "rich" not in finished.stderr


def test_a_wrong_password_is_the_sides_error(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(16, password="right")
    endpoint = Endpoint(Side.SOURCE, cluster.conninfo(password="wr0ng"))
    with pytest.raises(SourceError) as caught:
        connect(endpoint, purpose="test", retry_for=30)
    assert "password authentication failed" in caught.value.message
    assert "wr0ng" not in caught.value.message
    server = resolve(Endpoint(Side.SOURCE, cluster.conninfo()))
    wrong = ResolvedServer(endpoint, {**server.parameters, "password": "wr0ng"}, False)
    with pytest.raises(SourceError, match="password authentication failed"):
        asyncio.run(bulk_rows(wrong, "select 1"))


def test_a_child_gets_only_what_its_side_needs(
    pg16: Cluster, make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCOPYDB_SOURCE_PGURI", "postgresql://x:s3cret@y/z")
    monkeypatch.setenv("PGPASSWORD", "s3cret")
    database = make_database(pg16)
    database.execute(HOSTILE)
    with child_environment(database.endpoint(Side.TARGET), tmp_path) as access:
        assert access.conninfo == "service=pgcopydb_target"
        assert "s3cret" not in "".join(access.environment.values())
        assert "PGCOPYDB_SOURCE_PGURI" not in access.environment
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
        shown = subprocess.run(
            [
                str(pg16.bindir / "psql"),
                "-XAtc",
                "show default_transaction_read_only",
                "-c",
                "show intervalstyle",
                "-c",
                "show statement_timeout",
                access.conninfo,
            ],
            env=dict(access.environment),
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.split() == ["off", "postgres", "0"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [" odd =\nname ", "x" * 63, "it's \\ #"])
def test_odd_names_reach_the_child_and_the_bulk_driver(
    pg16: Cluster, tmp_path: Path, name: str
) -> None:
    pg16.create_database(name)
    try:
        # By the socket's folder, which is a kind of host of its own.
        conninfo = pg16.conninfo(name, host=str(pg16.socket_directory))
        endpoint = Endpoint(Side.SOURCE, conninfo)
        query = "select pg_catalog.current_database()"
        assert asyncio.run(bulk_rows(endpoint, query)) == [(name,)]
        with child_environment(endpoint, tmp_path) as access:
            shown = subprocess.run(
                [str(pg16.bindir / "psql"), "-XAtc", query, access.conninfo],
                env=dict(access.environment), capture_output=True, text=True, check=True,
            )  # fmt: skip
        assert shown.stdout == f"{name}\n"
    finally:
        pg16.drop_database(name)


def test_a_server_that_comes_back_is_waited_for(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(16)
    endpoint = Endpoint(Side.TARGET, cluster.conninfo())
    cluster.stop()
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(connect, endpoint, purpose="test", retry_for=60)
        cluster.start()
        with opened.result(60) as connection:
            assert connection.execute("select 1").fetchone() == (1,)


def test_a_server_that_breaks_the_protocol_is_the_sides_error(pg16: Cluster) -> None:
    """Whichever message of the beginning is none; what waits for more gives up in time."""
    told = ["unknown type", "length of zero", "negative length", "shorter length"]
    with Proxy(pg16.port) as proxy:
        conninfo = make_conninfo(proxy.through(pg16.conninfo()), connect_timeout=1)
        endpoint = Endpoint(Side.TARGET, conninfo)
        known = resolve(endpoint)
        for how, kind in itertools.product(told, (b"R", b"S", b"Z")):
            for open_it in (connect, connect_replication):
                proxy.garble(kind, 1, how)
                with pytest.raises(TargetError) as caught:
                    open_it(endpoint, purpose="test")
                assert "\n" not in caught.value.message
            proxy.garble(kind, 1, how)
            with suppress(TargetError):  # it passes over some of them
                assert asyncio.run(bulk_rows(known, "select 1")) == [(1,)]
        assert proxy.garbled == 3 * 3 * len(told)
