"""Gives pg_dump and pg_restore a connection without a secret in argv or from the wrong side.

Everything that libpq resolved goes into a private service file, the password into a private
password file (which unlike a service file takes any length and any space), and the child's
environment is made anew: no PG* variable of this process, which may be meant for the other side,
is handed down.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from psycopg import pq

from pgcopydb.errors import ConfigurationError
from pgcopydb.model.access import ChildAccess, without_libpq
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres import session
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.pooling import find_pooling
from pgcopydb.postgres.resolve import ResolvedServer, resolved_server

PREFIX: Final = "access-"
"""How the folders begin; one that a killed run left behind holds secrets and should be removed."""

_NOT_DURABLE: Final = {"synchronous_commit": "off"}
"""pg_restore commits each object by itself: 2,500 empty tables are 5,000 waits for the disk."""

_LONGEST_VALUE: Final = 900
"""libpq reads a service file in lines of at most 1023 bytes."""


@contextmanager
def child_environment(
    endpoint: Endpoint, directory: Path, *, durable: bool = True
) -> Iterator[ChildAccess]:
    """Yield how a child reaches ``endpoint``; the files exist, below ``directory``, only inside.

    Connects once to resolve the parameters and to see which settings of the role or database the
    child must override. Without ``durable`` the child's commits need not wait for the disk: the
    caller makes them durable afterwards. Raises as ``connect`` does.
    """
    with connect(endpoint, purpose="prepare a child") as connection:
        server = resolved_server(endpoint, connection)
        with reporting(endpoint, "reading the session's default settings"):
            overrides = session.child_overrides(connection, endpoint.side)
        # A pooler may refuse options at the start, and without these nothing goes wrong.
        if not durable and not find_pooling(endpoint, connection).pooled:
            overrides |= _NOT_DURABLE
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=directory))  # 0700
    try:
        yield _written(server, overrides, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _written(server: ResolvedServer, overrides: Mapping[str, str], folder: Path) -> ChildAccess:
    service = f"pgcopydb_{server.endpoint.side}"
    parameters = {**server.parameters, "options": _options(server, overrides)}
    password = parameters.pop("password", "")
    environment = without_libpq(os.environ) | {
        "PGSERVICEFILE": str(folder / "service"),
        "PGPASSFILE": str(folder / "password"),
        "PGAPPNAME": f"pgcopydb {server.endpoint.side} schema",
    }
    lines = [f"[{service}]"]
    for keyword, value in parameters.items():
        if _fits_service_file(value):
            lines.append(f"{keyword}={value}")
        elif value:
            environment[_variable(server, keyword)] = value
    _write_private(folder / "service", "\n".join(lines) + "\n")
    if "\n" in password or "\r" in password:
        environment["PGPASSWORD"] = password
    # The file is for this child alone, so every host, database and user may be a star. Without a
    # password it is empty all the same: the child must not look into the user's own file.
    entry = f"*:*:*:*:{_escaped(password)}\n" if password else ""
    _write_private(folder / "password", entry)
    return ChildAccess(server.endpoint.side, f"service={service}", environment)


def _options(server: ResolvedServer, overrides: Mapping[str, str]) -> str:
    pinned = [f"-c {name}={_option_escaped(value)}" for name, value in overrides.items()]
    return " ".join([server.parameters.get("options", ""), *pinned]).strip()


def _option_escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def _escaped(field: str) -> str:
    return field.replace("\\", "\\\\").replace(":", "\\:")


def _fits_service_file(value: str) -> bool:
    plain = value == value.strip() and "\n" not in value and "\r" not in value
    return plain and 0 < len(value.encode()) <= _LONGEST_VALUE


def _variable(server: ResolvedServer, keyword: str) -> str:
    for option in pq.Conninfo.get_defaults():
        if option.keyword.decode() == keyword and option.envvar:
            return option.envvar.decode()
    raise ConfigurationError(
        f"{server.endpoint.side}: the value of {keyword} cannot be given to pg_dump and pg_restore",
        hint="a value must not be longer than 900 bytes nor begin or end with a space",
    )


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
