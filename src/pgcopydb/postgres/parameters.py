"""Connection strings: checked, completed, and shown without what is secret in them.

libpq does the parsing, and the lookups in the environment, service files and password files. This
module only refuses what libpq would report with a piece of the string in its message: a password
that is not percent-encoded in a URI ends up as a "port" or a "host name" there.
"""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgcopydb.errors import UsageError
from pgcopydb.model.endpoint import Endpoint

Parameters = Mapping[str, str]

DEFAULTS: Final[Parameters] = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "6",
}
"""What is added where the user does not say: a silent server is noticed in one and a half minutes.

A TCP connection without keepalives outlives its peer for two hours on Linux.
"""

_PORTS = re.compile(r"\s*\d{0,5}\s*(,\s*\d{0,5}\s*)*")
_UNKNOWN = re.compile(
    r'invalid (?:connection option|URI query parameter): ?"?([^"\n]*)|option "(.*)"'
)
_ENCODE = (
    "characters such as @ : / ? # % in a user name or password must be percent-encoded in a URI"
)


def parse(endpoint: Endpoint) -> dict[str, str]:
    """Return the parameters that the connection string itself gives, nothing looked up.

    Raises UsageError when it is malformed; the message quotes no part of it.
    """
    try:
        given = {key: str(value) for key, value in conninfo_to_dict(endpoint.conninfo).items()}
    except psycopg.Error as error:
        raise _malformed(endpoint, str(error)) from None
    except UnicodeError:
        raise UsageError(
            f"the {endpoint.side} connection string is not UTF-8", hint="write it in UTF-8"
        ) from None
    if _PORTS.fullmatch(given.get("port", "")) is None:
        raise UsageError(
            f"the {endpoint.side} connection string has a malformed port", hint=_ENCODE
        )
    if "replication" in given:
        raise UsageError(
            f"the {endpoint.side} connection string has the parameter replication",
            hint="leave it out: pgcopydb sets it for the one session that needs it",
        )
    if "@" in given.get("host", "")[1:]:  # a leading @ is an abstract socket
        raise UsageError(
            f"the {endpoint.side} connection string has a malformed host name", hint=_ENCODE
        )
    return given


def with_database(endpoint: Endpoint, database: str) -> Endpoint:
    """Return the same server with another database; raises UsageError for a malformed string."""
    return replace(endpoint, conninfo=make_conninfo("", **(parse(endpoint) | {"dbname": database})))


def complete(endpoint: Endpoint, *, purpose: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the connection string with this program's name and the defaults that it lacks.

    Where a service is named nothing but the name is added: its file may hold the same parameters,
    and what stands in the string would win over them.
    """
    given = parse(endpoint)
    added: dict[str, str] = {"application_name": application_name(purpose)}
    if "service" not in given and "PGSERVICE" not in environ:
        added |= {key: value for key, value in DEFAULTS.items() if key not in given}
        if environ.get("PGCONNECT_TIMEOUT") and "connect_timeout" not in given:
            del added["connect_timeout"]
    return make_conninfo("", **{**given, "client_encoding": "UTF8", **added})


def application_name(purpose: str) -> str:
    """Return the name that a session shows in pg_stat_activity, within the server's 63 bytes."""
    return f"pgcopydb {purpose}"[:63]


def redacted(endpoint: Endpoint) -> str:
    """Return the server as a person knows it, ``user@host:port/dbname``, without secrets.

    Only what the string itself says; a malformed string gives the side's name alone.
    """
    try:
        given = parse(endpoint)
    except UsageError:
        return f"the {endpoint.side}"
    if "service" in given:
        return f"service {given['service']}"
    host = given.get("host") or given.get("hostaddr") or ""
    port = f":{given['port']}" if "port" in given else ""
    user = f"{given['user']}@" if "user" in given else ""
    database = f"/{given['dbname']}" if "dbname" in given else ""
    return f"{user}{host}{port}{database}" or f"the {endpoint.side}"


def _malformed(endpoint: Endpoint, text: str) -> UsageError:
    known = [option.keyword.decode() for option in pq.Conninfo.get_defaults()]
    match = _UNKNOWN.search(text)
    word = next((group for group in match.groups() if group), "") if match else ""
    close = difflib.get_close_matches(word.strip(), known, n=1)
    # Only a suggestion from libpq's own list is printed: the word itself may be part of a secret.
    hint = f'did you mean the parameter "{close[0]}"?' if close else _ENCODE
    if match:
        return UsageError(
            f"the {endpoint.side} connection string holds a parameter unknown to libpq", hint=hint
        )
    return UsageError(
        f"the {endpoint.side} connection string is malformed",
        hint="expected postgresql://user@host:port/dbname or keyword=value pairs; " + _ENCODE,
    )
