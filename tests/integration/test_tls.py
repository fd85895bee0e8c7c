"""TLS as strong as it was asked for, on every kind of connection.

What a server may not be is tried on connections that know it from before, when it was good: so each
kind refuses it by itself, and not only the first one of a run.
"""

import asyncio
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from pgcopydb.demo.cluster import Cluster
from pgcopydb.errors import ConfigurationError, PgcopydbError, SourceError
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.postgres import tls
from pgcopydb.postgres.connect import connect, pin, resolve
from pgcopydb.postgres.resolve import ResolvedServer
from tests.support.connections import KINDS, Known, bulk_rows, known
from tests.support.proxy import Proxy
from tests.support.servers import new_cluster


@dataclass(frozen=True)
class TlsServer:
    cluster: Cluster
    folder: Path

    def conninfo(self, **parameters: str | int) -> str:
        return make_conninfo(
            self.cluster.conninfo(host="localhost", hostaddr="127.0.0.1"), **parameters
        )

    def endpoint(self, **parameters: str | int) -> Endpoint:
        return Endpoint(Side.SOURCE, self.conninfo(**parameters))

    def install(self, name: str, to: str) -> None:
        """Give the server a file of the folder."""
        owner = self.cluster.data_directory.stat()
        copy = self.cluster.data_directory / to
        shutil.copy(self.folder / name, copy)
        os.chown(copy, owner.st_uid, owner.st_gid)
        copy.chmod(0o600)

    def show_certificate(self, name: str) -> None:
        """Let the server show another certificate from when it next starts."""
        self.install(f"{name}.crt", "server.crt")
        self.install(f"{name}.key", "server.key")

    def offer_tls(self, offered: str) -> None:
        """Let the server offer TLS, or none, from when it next starts."""
        with self.cluster.connect() as connection:
            connection.execute(f"alter system set ssl = {offered}".encode())


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def _authority(folder: Path, name: str) -> None:
    _openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")  # fmt: skip


def _certificate(folder: Path, name: str, common_name: str, authority: str = "ca") -> None:
    _openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={common_name}",
             "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
    (folder / "names").write_text(f"subjectAltName=DNS:{common_name}\n")
    _openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.crt",
             "-CAkey", f"{authority}.key",
             "-CAcreateserial", "-days", "2", "-extfile", "names",
             "-out", f"{name}.crt")  # fmt: skip


_ISSUING = """
[ca]
default_ca = issuing
[issuing]
database = issued
unique_subject = no
serial = issuing.srl
new_certs_dir = .
certificate = ca.crt
private_key = ca.key
default_md = sha256
default_crl_days = 2
policy = anything
copy_extensions = copy
[anything]
commonName = supplied
"""
"""An authority that keeps books of what it has issued, which takes back some of it."""


def _no_longer_good(folder: Path) -> None:
    """Make a certificate that has expired, one that is revoked, and the list that says so."""
    (folder / "issuing.cnf").write_text(_ISSUING)
    (folder / "issued").touch()
    (folder / "issuing.srl").write_text("1000\n")
    issue = ["ca", "-batch", "-notext", "-config", "issuing.cnf"]
    for name, until in (("expired", "20200102000000Z"), ("revoked", "20490102000000Z")):
        _openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
                 "-addext", "subjectAltName=DNS:localhost",
                 "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
        _openssl(folder, *issue, "-startdate", "20200101000000Z", "-enddate", until,
                 "-in", f"{name}.csr", "-out", f"{name}.crt")  # fmt: skip
    _openssl(folder, *issue[:1], "-config", "issuing.cnf", "-revoke", "revoked.crt")
    _openssl(folder, *issue[:1], "-config", "issuing.cnf", "-gencrl", "-out", "ca.crl")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two authorities and their certificates for servers and a client."""
    folder = tmp_path_factory.mktemp("tls")
    _authority(folder, "ca")
    _authority(folder, "other")
    _certificate(folder, "server", "localhost")
    _certificate(folder, "misnamed", "nowhere")
    _certificate(folder, "foreign", "localhost", "other")
    _certificate(folder, "client", "certified")
    _no_longer_good(folder)
    _openssl(folder, "rsa", "-aes256", "-passout", "pass:k3y", "-in", "client.key",
             "-out", "locked.key")  # fmt: skip
    for path in folder.iterdir():
        path.chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def tls_server(certificates: Path) -> Iterator[TlsServer]:
    """Debian's 15 that takes nothing but TLS on TCP, from ``certified`` only with a certificate.

    Only ``careless`` may do without, and without a password then.
    """
    rules = [
        "hostssl all certified all cert",
        "hostnossl all careless all trust",
        "hostnossl replication careless all trust",
        "hostnossl all all all reject",
        "hostnossl replication all all reject",
    ]
    with new_cluster(15, password="s3cret", hba_lines=rules) as cluster:
        server = TlsServer(cluster, certificates)
        server.install("ca.crt", "ca.crt")
        server.show_certificate("server")
        with cluster.connect() as connection:
            connection.execute("create role certified superuser login")
            connection.execute("create role careless superuser login password 's3cret'")
            connection.execute("alter system set ssl_ca_file = 'ca.crt'")
        server.offer_tls("on")
        cluster.restart()
        yield server


IN_TLS = "select ssl from pg_catalog.pg_stat_ssl where pid = pg_catalog.pg_backend_pid()"


def encrypted_everywhere(endpoint: Endpoint, folder: Path) -> set[bool]:
    """Connect in every way; return whether each that can tell was encrypted.

    The server takes no other connection of the others.
    """
    with known(endpoint, folder) as server:
        return {answer for use in KINDS.values() for (answer,) in use(server, IN_TLS)}


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
def test_tls_on_every_kind_of_connection(tls_server: TlsServer, tmp_path: Path, mode: str) -> None:
    endpoint = tls_server.endpoint(sslmode=mode, sslrootcert=str(tls_server.folder / "ca.crt"))
    assert encrypted_everywhere(endpoint, tmp_path) == {True}


def test_a_client_certificate_with_a_locked_key_serves_every_kind_of_connection(
    tls_server: TlsServer, tmp_path: Path
) -> None:
    folder = tls_server.folder
    endpoint = tls_server.endpoint(
        user="certified",
        password="",
        sslmode="verify-full",
        sslrootcert=str(folder / "ca.crt"),
        sslcert=str(folder / "client.crt"),
        sslkey=str(folder / "locked.key"),
        sslpassword="k3y",
    )
    assert encrypted_everywhere(endpoint, tmp_path) == {True}


def test_of_several_hosts_with_certificates_the_one_that_is_good_serves_every_kind_of_connection(
    tls_server: TlsServer, tmp_path: Path
) -> None:
    endpoint = tls_server.endpoint(
        host="elsewhere,localhost",
        hostaddr="127.0.0.1,127.0.0.1",
        sslmode="verify-full",
        sslrootcert=str(tls_server.folder / "ca.crt"),
        sslcrl=str(tls_server.folder / "ca.crl"),
    )
    assert encrypted_everywhere(endpoint, tmp_path) == {True}
    assert encrypted_everywhere(pin(endpoint), tmp_path) == {True}


@pytest.mark.parametrize("weaker", [{"host": "127.0.0.1"}, {"sslrootcert": "missing.crt"}])
def test_bulk_connections_verify_what_libpq_verifies(
    tls_server: TlsServer, weaker: dict[str, str]
) -> None:
    """Parameters that libpq itself refuses are put in after it has resolved the right ones."""
    endpoint = tls_server.endpoint(
        sslmode="verify-full", sslrootcert=str(tls_server.folder / "ca.crt")
    )
    server = resolve(endpoint)
    if "sslrootcert" in weaker:
        weaker = {"sslrootcert": str(tls_server.folder / weaker["sslrootcert"])}
    changed = ResolvedServer(endpoint, {**server.parameters, **weaker}, server.encrypted)
    with pytest.raises(PgcopydbError, match=r"certificate"):
        asyncio.run(bulk_rows(changed, "select 1"))
    with pytest.raises(SourceError):
        connect(Endpoint(Side.SOURCE, changed.conninfo()), purpose="test")


@pytest.mark.parametrize(
    ("host", "mode", "encrypts"),
    [
        ("localhost", "require", True),
        ("localhost", "verify-full", True),
        ("localhost", "prefer", False),
        ("/run/postgresql", "require", False),
    ],
)
def test_bulk_connections_are_encrypted_where_libpq_may_do_without_tls(
    certificates: Path, host: str, mode: str, *, encrypts: bool
) -> None:
    """With GSSAPI libpq encrypts by that in every sslmode; and on a Unix socket not at all."""
    root = str(certificates / "ca.crt")
    parameters = {"host": host, "port": "1", "sslmode": mode, "sslrootcert": root}
    server = ResolvedServer(Endpoint(Side.SOURCE, ""), parameters, encrypted=False)
    assert (tls.context(server) is not None) == encrypts


@dataclass(frozen=True)
class Impostor:
    """What a server, or what is on the way to it, has become, and who must not go on with it."""

    name: str
    modes: tuple[str, ...]
    said: str
    """What every refusal names."""
    certificate: str = "server"
    offers_tls: bool = True
    stripped: bool = False

    def __str__(self) -> str:
        return self.name


IMPOSTORS = [
    Impostor("of another name", ("verify-full",), "certificate", certificate="misnamed"),
    Impostor(
        "of another authority", ("verify-ca", "verify-full"), "certificate", certificate="foreign"
    ),
    Impostor("expired", ("verify-ca", "verify-full"), "certificate", certificate="expired"),
    Impostor("revoked", ("verify-ca", "verify-full"), "certificate", certificate="revoked"),
    Impostor("without TLS", ("require", "verify-ca", "verify-full"), "SSL", offers_tls=False),
    Impostor("stripped on the way", ("require", "verify-ca", "verify-full"), "SSL", stripped=True),
]


@dataclass(frozen=True)
class Way:
    """The way to a server through a proxy, and what is known of the server by each mode."""

    server: TlsServer
    proxy: Proxy
    known: dict[str, Known]

    def loosely(self, mode: str) -> bool:
        """Connect as somebody who asks for no certificate; return whether it is encrypted."""
        endpoint = self.server.endpoint(port=self.proxy.port, user="careless", sslmode=mode)
        with connect(endpoint, purpose="test") as connection:
            return bool(connection.pgconn.ssl_in_use)


@pytest.fixture(scope="module")
def way(tls_server: TlsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """Every kind of connection was encrypted once, in each mode, by the way that is looked at."""
    folder = tls_server.folder
    with Proxy(tls_server.cluster.port) as proxy, ExitStack() as stack:
        found = {}
        for mode in ("require", "verify-ca", "verify-full"):
            # A file of an authority makes ``require`` verify too (libpq, sslmode).
            trusted = {"sslrootcert": folder / "ca.crt", "sslcrl": folder / "ca.crl"}
            endpoint = tls_server.endpoint(
                port=proxy.port,
                user="careless",
                sslmode=mode,
                **({} if mode == "require" else {key: str(path) for key, path in trusted.items()}),
            )
            found[mode] = stack.enter_context(known(endpoint, tmp_path_factory.mktemp("known")))
            answers = [use(found[mode], IN_TLS) for use in KINDS.values()]
            assert {answer for rows in answers for (answer,) in rows} == {True}
        yield Way(tls_server, proxy, found)


@pytest.fixture(params=IMPOSTORS, ids=str)
def impostor(request: pytest.FixtureRequest, way: Way) -> Iterator[Impostor]:
    """A server that is no longer the good one, though nothing else is wrong with it."""
    becomes: Impostor = request.param
    way.server.show_certificate(becomes.certificate)
    way.server.offer_tls("on" if becomes.offers_tls else "off")
    way.server.cluster.restart()
    way.proxy.strips_tls = becomes.stripped
    assert way.loosely("prefer") == (becomes.offers_tls and not becomes.stripped)
    yield becomes
    way.proxy.strips_tls = False
    way.server.show_certificate("server")
    way.server.offer_tls("on")
    way.server.cluster.restart()


def test_every_kind_of_connection_refuses_a_server_that_is_no_longer_the_one(
    impostor: Impostor, way: Way
) -> None:
    for use, mode in itertools.product(KINDS.values(), impostor.modes):
        before = way.proxy.started_in_clear
        with pytest.raises(PgcopydbError, match=impostor.said):
            use(way.known[mode], IN_TLS)
        # Not even who it is was told to whoever listens.
        assert way.proxy.started_in_clear == before


@pytest.mark.parametrize(
    "parameter",
    [{"channel_binding": "require"}, {"require_auth": "scram-sha-256"}],
)
def test_what_the_bulk_driver_cannot_keep_is_refused_by_name(
    tls_server: TlsServer, parameter: dict[str, str]
) -> None:
    endpoint = tls_server.endpoint(sslmode="require", **parameter)
    with connect(endpoint, purpose="test"):
        pass
    with pytest.raises(ConfigurationError, match=next(iter(parameter))):
        asyncio.run(bulk_rows(endpoint, "select 1"))
