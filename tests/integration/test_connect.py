"""Connections of every kind: their settings, their failures, and TLS as strong as asked for."""

import asyncio
import itertools
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from pgcopydb.demo.cluster import Cluster
from pgcopydb.errors import SourceError, TargetError
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.pgtools.dump import dump_schema
from pgcopydb.pgtools.find import find_tools
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
from tests.support.connections import bulk_rows
from tests.support.proxy import Proxy
from tests.support.servers import MakeCluster, MakeDatabase, Servers

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


def test_service_and_password_files_serve_every_kind_of_connection(
    make_cluster: MakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    awkward = r"p:a\ss wo'rd "
    cluster = make_cluster(16, password=awkward)
    service = tmp_path / "services"
    service.write_text(
        f"[shop]\nhost=127.0.0.1\nport={cluster.port}\nuser=postgres\ndbname=postgres\n"
    )
    passwords = tmp_path / "passwords"
    escaped = awkward.replace("\\", "\\\\").replace(":", "\\:")
    passwords.write_text(f"127.0.0.1:{cluster.port}:postgres:postgres:{escaped}\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGSERVICEFILE", str(service))
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    endpoint = Endpoint(Side.SOURCE, "service=shop")
    with connect_replication(endpoint, purpose="test") as connection:
        assert connection.execute("IDENTIFY_SYSTEM").fetchone()
    assert asyncio.run(bulk_rows(endpoint, "select 1")) == [(1,)]
    with child_environment(endpoint, tmp_path) as access:
        dump_schema(find_tools(160000, 160000), access, None, tmp_path / "schema.dump")
        assert awkward not in access.conninfo
    assert (tmp_path / "schema.dump").stat().st_size > 0


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
