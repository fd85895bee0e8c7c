"""What libpq made of a connection string, so that other programs and drivers connect alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg import Connection
from psycopg.conninfo import make_conninfo

from pgcopydb.errors import ConfigurationError
from pgcopydb.model.endpoint import Endpoint

_OF_ONE_SESSION: Final = frozenset(
    {
        "application_name",
        "client_encoding",
        "fallback_application_name",
        "load_balance_hosts",
        "passfile",  # the password that it gave is there instead
        "replication",
        "service",
        "servicefile",
        "sslcompression",
        "sslkeylogfile",
    }
)
_COMPUTED_DEFAULTS: Final = {"sslcertmode": b"allow"}
"""Values that libpq 16 and later fill in; the libpq of an older pg_dump knows no such keyword."""

_KEPT_ALTHOUGH_DEFAULT: Final = frozenset({"port", "sslmode", "gssencmode"})


@dataclass(frozen=True, slots=True)
class ResolvedServer:
    """One server, and every libpq parameter that a connection to it was made with.

    ``parameters`` holds the password, and only values that differ from what libpq would take
    anyway, except sslmode, gssencmode and port: another libpq may have been built with other
    defaults. ``encrypted`` tells whether that connection used TLS.
    """

    endpoint: Endpoint
    parameters: Mapping[str, str] = field(repr=False)
    encrypted: bool

    def conninfo(self) -> str:
        """Return the parameters as a connection string, with its secrets."""
        return make_conninfo("", **self.parameters)


def resolved_server(endpoint: Endpoint, connection: Connection[tuple[Any, ...]]) -> ResolvedServer:
    """Return what ``connection``, made from ``endpoint``'s string, was made with.

    Raises ConfigurationError for a value that is not UTF-8, naming its parameter.
    """
    pgconn = connection.pgconn
    parameters: dict[str, str] = {}
    for option in pgconn.info:
        keyword = option.keyword.decode()
        if keyword in _OF_ONE_SESSION or option.val is None:
            continue
        default = option.compiled or _COMPUTED_DEFAULTS.get(keyword)
        if option.val != default or keyword in _KEPT_ALTHOUGH_DEFAULT:
            parameters[keyword] = _text(endpoint, keyword, option.val)
    found = {"host": pgconn.host, "port": pgconn.port, "user": pgconn.user, "dbname": pgconn.db}
    if pgconn.password:
        found["password"] = pgconn.password
    parameters |= {keyword: _text(endpoint, keyword, value) for keyword, value in found.items()}
    if parameters["host"].startswith(("/", "@")) or not parameters.get("hostaddr"):
        parameters.pop("hostaddr", None)
    return ResolvedServer(endpoint, parameters, bool(pgconn.ssl_in_use))


def _text(endpoint: Endpoint, keyword: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ConfigurationError(
            f"{endpoint.side}: the value of {keyword} is not UTF-8",
            hint="write it in UTF-8 where it comes from: the environment, a service file or a"
            " password file; give the role another password if that is what it is",
        ) from None
