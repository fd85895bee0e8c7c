"""Connections of every kind to either side, and what their failures are called.

Every session has its settings pinned (``session``) and an application_name that says what it is
for. Every failure becomes one line that names the side; what the user wrote in the connection
string is never part of it.
"""

import logging
import os
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import psycopg
from msgspec import Struct
from psycopg import Connection
from psycopg.conninfo import make_conninfo

from pgcopydb.errors import PgcopydbError, SqlError
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres import session
from pgcopydb.postgres.parameters import complete, parse, redacted
from pgcopydb.postgres.resolve import ResolvedServer, resolved_server

if TYPE_CHECKING:
    import asyncpg

__all__ = [
    "ResolvedServer",
    "connect",
    "connect_bulk",
    "connect_replication",
    "pin",
    "redacted",
    "reporting",
    "reporting_bulk",
    "resolve",
    "translate",
]

logger = logging.getLogger(__name__)

Row = tuple[Any, ...]

_HOSTS: Final = {"host": "PGHOST", "hostaddr": "PGHOSTADDR"}
"""The parameters that may be lists, and the variables that stand in for them."""

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0

_RETRYABLE_STATES = re.compile(r"08...|57P0[1-5]|53300|40001|40P01|55P03")
"""Connection lost, server starting or stopping, too many sessions, serialisation, deadlock, lock.

57014 (a cancelled statement) is not here: somebody asked for it.
"""

_INSUFFICIENT_PRIVILEGE: Final = "42501"
_DISK_FULL: Final = "53100"
_OF_THE_SIDE = re.compile(r"(08|25006|28|3D000|40|42501|53|55|57|58|XX)")
"""SQLSTATEs that speak of the server or of the role on it rather than of a statement."""


class _Refusal(Struct, frozen=True):
    """A reason for which a server could not be reached, and what to do about it."""

    pattern: re.Pattern[str]
    hint: str
    retryable: bool = False


_REFUSALS: Final = (
    _Refusal(
        # A shutdown may also meet a connection that is just being made.
        re.compile(
            r"FATAL:.*(starting up|shutting down|recovery|not (yet )?accepting"
            r"|terminating connection)"
        ),
        "the server is not ready yet; try again in a moment",
        retryable=True,
    ),
    _Refusal(
        re.compile(r"FATAL:.*(too many (clients|connections)|remaining connection slots)"),
        "raise max_connections or the role's connection limit, or use fewer jobs",
        retryable=True,
    ),
    _Refusal(
        re.compile(r"max_wal_senders"),
        "raise max_wal_senders on the source, or end a walsender that is not needed",
        retryable=True,
    ),
    _Refusal(
        re.compile(r"permission denied to start WAL sender|must be superuser or replication role"),
        "give the role the REPLICATION attribute: ALTER ROLE ... REPLICATION",
    ),
    _Refusal(
        re.compile(r"not permitted to log in"),
        "let that role log in there: ALTER ROLE ... LOGIN; or give another user",
    ),
    _Refusal(
        re.compile(r"permission denied for database"),
        "let that role connect to it: GRANT CONNECT ON DATABASE ... TO ...",
    ),
    _Refusal(
        re.compile(r"not currently accepting connections"),
        "let it be connected to: ALTER DATABASE ... ALLOW_CONNECTIONS true",
    ),
    _Refusal(
        re.compile(r"no password supplied|password authentication failed|empty password"),
        "check the user and the password (connection string, PGPASSWORD or the password file)",
    ),
    _Refusal(re.compile(r"pg_hba\.conf"), "allow this user, database and address in pg_hba.conf"),
    _Refusal(re.compile(r"database .* does not exist"), "create the database, or correct its name"),
    _Refusal(re.compile(r"role .* does not exist"), "create the role, or correct its name"),
    _Refusal(
        re.compile(r"resolve host|translate host name"), "check the host name", retryable=True
    ),
    _Refusal(
        re.compile(r"certificate|SSL|TLS|root\.crt"),
        "check sslmode, sslrootcert, sslcert and sslkey, and what the server offers",
    ),
    _Refusal(re.compile(r"definition of service|service file"), "check the service file"),
    _Refusal(re.compile(r"invalid .* value"), "correct the value of this connection parameter"),
)
_UNREACHABLE: Final = _Refusal(
    re.compile(""), "check that the server runs and that host and port are right", retryable=True
)


_BEYOND_A_GIGABYTE: Final = re.compile(
    "invalid memory alloc request size|string buffer exceeds maximum|enlarge string buffer"
)
"""What servers say of a text or message that would be longer than their buffers may be."""

_NOT_FOUND: Final = frozenset({"42883", "42P01", "42704", "3F000"})
"""There is no function, table, other object or schema of that name."""

_CALLER: Final = re.compile(r'(?:PL/pgSQL|SQL) function (?P<function>"(?:[^"]|"")*"|.*?\))(?: |$)')

_EMPTY_PATH_HINT: Final = (
    "names without a schema are looked for with an empty search_path, as when a dump is restored:"
    " give the function a path of its own (ALTER FUNCTION ... SET search_path = ...) on both sides,"
    " then run it again, with --resume where it began"
)


def connect(
    endpoint: Endpoint, *, purpose: str, autocommit: bool = True, retry_for: float = 0
) -> Connection[Row]:
    """Open a session on ``endpoint``; the caller closes it (``with connect(...) as connection``).

    ``purpose`` ends up in application_name. A server that is not there, not ready or full is tried
    again for ``retry_for`` seconds. Raises UsageError for a malformed string, otherwise the side's
    error.
    """
    conninfo = complete(endpoint, purpose=purpose)
    deadline = time.monotonic() + retry_for
    pause = _FIRST_PAUSE
    while True:
        try:
            return _open(endpoint, conninfo, autocommit=autocommit)
        except PgcopydbError as error:
            if not error.retryable or time.monotonic() + pause > deadline:
                raise
            logger.info("%s; trying again", error.message)
        time.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads retries, hides nothing
        pause = min(pause * 2, _LONGEST_PAUSE)


def connect_replication(endpoint: Endpoint, *, purpose: str) -> Connection[Row]:
    """Open a walsender session in the endpoint's database, for replication commands and SQL.

    The output plugin prints values with this session's settings, so they are pinned as anywhere
    else. A SQL_ASCII database sends its bytes as they are. Only simple queries work here: execute
    statements without parameters. Raises as ``connect`` does.
    """
    conninfo = make_conninfo(complete(endpoint, purpose=purpose), replication="database")
    connection = _open(endpoint, conninfo, autocommit=True)
    with _closing_on_error(connection), reporting(endpoint, "setting the session's encoding"):
        session.use_raw_encoding(connection)
    return connection


def resolve(endpoint: Endpoint, *, purpose: str = "resolve") -> ResolvedServer:
    """Return every parameter of a connection to ``endpoint``, as libpq found them by connecting.

    Service and password files, environment and a list of hosts are settled: the result names one
    server. It holds secrets (not in its repr) and may go to worker processes, so that a lane needs
    no connection of its own to find them.
    """
    with connect(endpoint, purpose=purpose) as connection:
        return resolved_server(endpoint, connection)


def pin(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint of the one server that a list of hosts or addresses leads to now.

    An exported snapshot and a slot live on one server only. Gives ``endpoint`` unchanged when its
    string (or the environment, where it says nothing) names one host, so that a name may still move
    to another address after a failover.
    """
    given = parse(endpoint)
    hosts = [
        given.get(keyword) or os.environ.get(variable, "") for keyword, variable in _HOSTS.items()
    ]
    named = "service" in given or "PGSERVICE" in os.environ
    if not named and not any("," in host for host in hosts):
        return endpoint
    server = resolve(endpoint, purpose="pin")
    return Endpoint(endpoint.side, server.conninfo())


async def connect_bulk(
    endpoint: Endpoint | ResolvedServer, *, purpose: str
) -> "asyncpg.Connection[Any]":
    """Open an asyncpg session for COPY; the caller closes or terminates it.

    Given an Endpoint it connects once through libpq to resolve the parameters: lanes do better
    with the result of ``resolve``. Raises ConfigurationError for a parameter that asyncpg cannot
    honour, naming it, and otherwise as ``connect`` does.
    """
    from pgcopydb.postgres import bulk  # noqa: PLC0415 - asyncpg costs start-up time elsewhere

    server = resolve(endpoint, purpose=purpose) if isinstance(endpoint, Endpoint) else endpoint
    with reporting_bulk(server.endpoint, "connecting"):
        return await bulk.open_session(server, purpose=purpose)


@contextmanager
def reporting_bulk(endpoint: Endpoint, doing: str) -> Iterator[None]:
    """Turn what asyncpg raises in the block into the endpoint's error, as ``reporting`` does."""
    from pgcopydb.postgres import bulk  # noqa: PLC0415 - asyncpg costs start-up time elsewhere

    try:
        yield
    except bulk.FAILURES as error:
        raise translate(endpoint, error, doing=doing) from error
    except Exception as error:
        if not bulk.is_of_nonsense(error):
            raise
        raise endpoint.error(
            f"{endpoint.side}: {doing} failed: the server's answer breaks the protocol"
            f" ({type(error).__name__}: {_one_line(str(error))})",
            hint="look at what is on the way to the server: a proxy, or another program on its"
            " port",
            retryable=True,
        ) from error


@contextmanager
def reporting(endpoint: Endpoint, doing: str) -> Iterator[None]:
    """Turn what psycopg raises inside into this program's error; ``doing`` says what failed.

    ``with reporting(source, "reading the list of tables"): ...``
    """
    try:
        yield
    except psycopg.Error as error:
        raise translate(endpoint, error, doing=doing) from error


def translate(endpoint: Endpoint, error: Exception, *, doing: str) -> PgcopydbError:
    """Return the error to raise for a driver's or the system's ``error`` on ``endpoint``.

    The server's refusal to let this role do something, and anything about the connection, is the
    side's error; other failures of a statement are SqlError. ``retryable`` says that the same work
    may succeed on a new connection. Takes psycopg's and asyncpg's errors, OSError and TimeoutError.
    """
    state = getattr(error, "sqlstate", None)
    message = f"{endpoint.side}: {doing} failed: {_reason(error)}"
    hint = getattr(error, "hint", None) or getattr(
        getattr(error, "diag", None), "message_hint", None
    )
    if hint is None and _BEYOND_A_GIGABYTE.search(message):
        hint = (
            "PostgreSQL prints no row longer than 1 GB; where rows are the reason, leave them out"
            " with [exclude-table-data], and move them with statements of your own, in pieces"
        )
    if state is None:
        return endpoint.error(message, hint=hint, retryable=_lost(error))
    if state in _NOT_FOUND and (caller := _CALLER.search(_context(error))):
        message += f", which function {caller['function']} names"
        hint = _EMPTY_PATH_HINT  # the server's own is of types and casts
    if state == _INSUFFICIENT_PRIVILEGE and hint is None:
        hint = "grant the role what it lacks there, then run it again, with --resume where it began"
    if state == _DISK_FULL and hint is None:  # the server says so of some writes only
        hint = "check free disk space there, then run it again, with --resume where it began"
    retryable = _RETRYABLE_STATES.fullmatch(state) is not None
    if _OF_THE_SIDE.match(state):
        return endpoint.error(message, hint=hint, retryable=retryable)
    return SqlError(message, hint=hint)


def _open(endpoint: Endpoint, conninfo: str, *, autocommit: bool) -> Connection[Row]:
    try:
        connection = psycopg.connect(conninfo, autocommit=True)
    except psycopg.Error as error:
        raise _unreachable(endpoint, error) from None
    with _closing_on_error(connection), reporting(endpoint, "setting up the session"):
        session.pin_session(connection, endpoint.side)
        connection.autocommit = autocommit
    return connection


@contextmanager
def _closing_on_error(connection: Connection[Row]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _unreachable(endpoint: Endpoint, error: psycopg.Error) -> PgcopydbError:
    text = _one_line(str(error))
    refusal = next((known for known in _REFUSALS if known.pattern.search(text)), None)
    if refusal is None:
        # Whatever else a server said with FATAL is its last word; silence may end.
        refusal = _UNREACHABLE if "FATAL" not in text else _Refusal(re.compile(""), "")
    return endpoint.error(
        f"cannot connect to {endpoint.side} {redacted(endpoint)}: {text}",
        hint=refusal.hint or None,
        retryable=refusal.retryable,
    )


def _reason(error: Exception) -> str:
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    return primary or _one_line(str(error)) or type(error).__name__


def _context(error: Exception) -> str:
    """Return what the server was doing, line by line from the inside; psycopg's or asyncpg's."""
    diagnosis = getattr(error, "diag", None)
    given = getattr(error if diagnosis is None else diagnosis, "context", None)
    return given if isinstance(given, str) else ""


def _one_line(text: str) -> str:
    """Return the first line of a libpq report, without psycopg's and libpq's own introductions."""
    lines = text.strip().splitlines()
    first = lines[0] if lines else ""
    return re.sub(r"^(connection (failed|is bad): )+", "", first).replace("FATAL:  ", "FATAL: ")


def _lost(error: Exception) -> bool:
    lost = (psycopg.OperationalError, psycopg.InterfaceError, OSError, TimeoutError)
    return isinstance(error, lost)
