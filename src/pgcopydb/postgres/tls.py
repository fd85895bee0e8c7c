"""TLS for the driver that is not libpq, by libpq's rules (manual, "SSL Support").

Whether to encrypt is what libpq's own connection did, and what was asked for where that one was
encrypted by GSSAPI, which asyncpg does not do; what to verify is derived as libpq derives
it: a root certificate that is there is used in every mode, host names only with verify-full.
"""

import ssl
from pathlib import Path
from typing import Any, Final

from pgcopydb.errors import ConfigurationError
from pgcopydb.postgres.resolve import ResolvedServer

_STRICT: Final = frozenset({"require", "verify-ca", "verify-full"})
_HOME: Final = ".postgresql"
_VERSIONS: Final = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}


class _NamedContext(ssl.SSLContext):
    """A context that checks the certificate against one host name, whatever address is dialled.

    libpq verifies ``host`` while it connects to ``hostaddr``; asyncpg knows one name only.
    """

    host: str

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        kwargs["server_hostname"] = self.host
        return super().wrap_bio(*args, **kwargs)


def context(server: ResolvedServer) -> ssl.SSLContext | None:
    """Return the TLS context for ``server``, or None when its connections need no encryption.

    Raises ConfigurationError when a file that the parameters name cannot be used.
    """
    if not (server.encrypted or _must_be_encrypted(server)):
        return None
    made = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    made.host = server.parameters["host"]
    made.set_alpn_protocols(["postgresql"])
    try:
        _set_versions(made, server)
        _set_verification(made, server)
        _set_client_certificate(made, server)
    except (OSError, ValueError, KeyError) as error:  # ssl.SSLError is an OSError
        raise ConfigurationError(
            f"{server.endpoint.side}: the ssl parameters cannot be used by the table copy: {error}",
            hint="check sslrootcert, sslcert, sslkey, sslpassword, sslcrl and the TLS versions",
        ) from None
    return made


def _must_be_encrypted(server: ResolvedServer) -> bool:
    return server.parameters["sslmode"] in _STRICT and not server.parameters["host"].startswith("/")


def _set_versions(made: ssl.SSLContext, server: ResolvedServer) -> None:
    made.minimum_version = _VERSIONS[server.parameters.get("ssl_min_protocol_version", "TLSv1.2")]
    if newest := server.parameters.get("ssl_max_protocol_version"):
        made.maximum_version = _VERSIONS[newest]


def _set_verification(made: ssl.SSLContext, server: ResolvedServer) -> None:
    mode = server.parameters["sslmode"]
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    root = server.parameters.get("sslrootcert") or _default("root.crt")
    if root == "system":
        made.set_default_verify_paths()
    elif root is not None and Path(root).exists():
        made.load_verify_locations(cafile=root)
    elif mode in {"verify-ca", "verify-full"}:
        raise ValueError(f'root certificate file "{root}" does not exist')
    else:
        return
    made.verify_mode = ssl.CERT_REQUIRED
    made.check_hostname = mode == "verify-full"
    _set_revocations(made, server)


def _set_revocations(made: ssl.SSLContext, server: ResolvedServer) -> None:
    given = server.parameters
    file, folder = given.get("sslcrl"), given.get("sslcrldir")
    if not file and not folder:
        file = _default("root.crl")
    if not file and not folder:
        return
    made.load_verify_locations(cafile=file or None, capath=folder or None)
    made.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN


def _set_client_certificate(made: ssl.SSLContext, server: ResolvedServer) -> None:
    given = server.parameters
    certificate = given.get("sslcert") or _default("postgresql.crt")
    if given.get("sslcertmode") == "disable" or certificate is None:
        return
    if not Path(certificate).exists():
        return  # as libpq: a server that asks for one will refuse
    key = given.get("sslkey") or _default("postgresql.key")
    # Without a password OpenSSL would ask on the terminal.
    made.load_cert_chain(certificate, key, password=given.get("sslpassword", ""))


def _default(name: str) -> str | None:
    path = Path.home() / _HOME / name
    return str(path) if path.exists() else None
