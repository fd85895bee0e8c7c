"""asyncpg sessions for the COPY lanes, from parameters that libpq resolved.

asyncpg reads the environment and files by rules of its own and sends parameters that it does not
know to the server as settings. So it is given everything explicitly, and what it cannot honour is
an error that names the parameter: never a connection weaker than the one asked for.
"""

import asyncio
import socket
import traceback
from pathlib import Path
from typing import Any, Final

import asyncpg

from pgcopydb.errors import ConfigurationError
from pgcopydb.postgres import session, tls
from pgcopydb.postgres.parameters import application_name
from pgcopydb.postgres.resolve import ResolvedServer

FAILURES: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
    asyncio.TimeoutError,
)
"""What asyncpg raises when a server refuses, goes away or is not there."""

_REFUSED_VALUES: Final = {
    "channel_binding": frozenset({"require"}),
    "gssencmode": frozenset({"require"}),
    "sslsni": frozenset({"0"}),
}
_REFUSED: Final = frozenset({"require_auth", "requirepeer"})


def is_of_nonsense(error: Exception) -> bool:
    """Tell whether asyncpg could not make sense of what the server sent.

    Its parser then fails by whatever Python raises there: BufferError, AttributeError and the like.
    """
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and "asyncpg" in Path(frames[-1].filename).parts


def check_parameters(server: ResolvedServer) -> None:
    """Raise ConfigurationError, naming it, for a parameter that asyncpg cannot honour."""
    for name, value in server.parameters.items():
        if (name in _REFUSED and value) or value in _REFUSED_VALUES.get(name, ()):
            raise ConfigurationError(
                f"{server.endpoint.side}: {name}={value} cannot be kept by the table copy's driver",
                hint=f"leave {name} out; with sslmode=verify-full the server is authenticated",
            )
    if server.parameters["host"].startswith("@"):
        raise ConfigurationError(
            f"{server.endpoint.side}: the table copy cannot use an abstract socket",
            hint="give a socket directory or a TCP address as host",
        )


async def open_session(server: ResolvedServer, *, purpose: str) -> "asyncpg.Connection[Any]":
    """Connect to ``server`` and pin the session's settings; raises what ``FAILURES`` lists."""
    check_parameters(server)
    given = server.parameters
    connection = await asyncpg.connect(
        host=given.get("hostaddr") or given["host"],
        port=int(given["port"]),
        user=given["user"],
        database=given["dbname"],
        # An empty string, not None: asyncpg would look for a password in its own places.
        password=given.get("password", ""),
        timeout=float(given.get("connect_timeout", 0)) or None,
        ssl=tls.context(server) or False,
        direct_tls=server.encrypted and given.get("sslnegotiation") == "direct",
        target_session_attrs="any",
        server_settings=_server_settings(server, purpose),
        statement_cache_size=0,  # poolers, and nothing here runs twice
    )
    try:
        _keep_alive(connection, server)
        await connection.execute(session.pin_statement(server.endpoint.side).decode())
    except BaseException:
        connection.terminate()
        raise
    return connection


def _server_settings(server: ResolvedServer, purpose: str) -> dict[str, str]:
    settings = {"application_name": application_name(purpose), "client_encoding": "UTF8"}
    if server.parameters.get("options"):
        settings["options"] = server.parameters["options"]
    return settings


_KEEPALIVES: Final = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}
"""libpq's parameters and the socket options that it sets for them, where the system has them."""


def _keep_alive(connection: "asyncpg.Connection[Any]", server: ResolvedServer) -> None:
    given = server.parameters
    if given["host"].startswith("/") or given.get("keepalives") == "0":
        return
    # asyncpg offers no way to the socket but its transport.
    sock = connection._transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, option in _KEEPALIVES.items():
        value = int(given.get(name) or 0)
        if value > 0 and hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
