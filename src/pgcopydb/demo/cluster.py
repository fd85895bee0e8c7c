"""Run a real PostgreSQL server for as long as a demonstration or a test needs it.

A :class:`Cluster` makes a data directory of its own, starts the server on a free port of the
loopback interface, and stops and removes everything when it is closed, when the program ends and
on SIGTERM. A program that is killed takes its servers with it on Linux; its data directories,
which nobody can remove any more, stay in the temporary directory.

PostgreSQL refuses to run as root, so root's servers belong to ``postgres`` or ``nobody``.
"""

import atexit
import ctypes
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgcopydb.demo.places import LOOPBACK, free_port, traversable_temporary_directory
from pgcopydb.demo.processes import (
    children,
    exit_on_sigterm,
    launch_command,
    server_user,
    wait_until_gone,
)
from pgcopydb.errors import ConfigurationError, ExternalToolError, first_line

logger = logging.getLogger(__name__)

_Connection = psycopg.Connection[tuple[Any, ...]]

SUPERUSER = "postgres"
"""The name of every cluster's superuser."""

_PORT_ATTEMPTS = 20
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
# sockaddr_un holds 107 bytes of path; the server appends "/.s.PGSQL.NNNNN.lock".
_LONGEST_SOCKET_DIRECTORY = 80
_IPC_RMID = 0  # sys/ipc.h

_LOGICAL_SETTINGS = {
    "wal_level": "logical",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
}
_CARELESS_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    # A killed server leaves nothing of it outside its data directory then.
    "dynamic_shared_memory_type": "mmap",
}


class StopMode(Enum):
    """How a server is asked to stop; the value is the signal that the server knows it by."""

    FAST = signal.SIGINT
    IMMEDIATE = signal.SIGQUIT


class Cluster:
    """A PostgreSQL server with a data directory of its own; a context manager.

    ``bindir`` is the folder of initdb and postgres. ``settings`` are added to postgresql.conf over
    those that logical replication needs. Clients on the loopback interface are trusted, or asked
    for ``password`` by SCRAM when one is given; ``hba_lines`` stand before that rule in
    pg_hba.conf. A cluster that is not ``durable`` does not wait for the disk: it survives the death
    of its processes, but not that of the machine. ``directory`` is where its temporary folder is
    made.

    Start it from the main thread: the kernel ties a child's life to the thread that made it, so a
    server started elsewhere is not stopped when this program is killed.
    """

    def __init__(
        self,
        bindir: Path,
        *,
        settings: Mapping[str, str] | None = None,
        password: str | None = None,
        hba_lines: Sequence[str] = (),
        durable: bool = False,
        directory: Path | None = None,
    ) -> None:
        self.bindir = bindir
        self._settings = _LOGICAL_SETTINGS | ({} if durable else _CARELESS_SETTINGS)
        self._settings |= dict(settings or {})
        self._password = password
        self._hba_lines = tuple(hba_lines)
        self._parent_directory = directory
        self._owner = os.getpid()
        self._user = server_user()
        self._directory: Path | None = None
        self._socket_directory: Path | None = None
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Cluster {self.bindir} port {self._port}>"

    @property
    def directory(self) -> Path:
        """The temporary folder that holds the data, the log and the socket."""
        if self._directory is None:
            raise ConfigurationError("the server was never started, or is closed")
        return self._directory

    @property
    def data_directory(self) -> Path:
        """The server's PGDATA."""
        return self.directory / "data"

    @property
    def socket_directory(self) -> Path:
        """The folder of the server's Unix socket, to be used as a host name."""
        if self._socket_directory is None:
            raise ConfigurationError("the server was never started, or is closed")
        return self._socket_directory

    @property
    def port(self) -> int:
        """The server's port, the same after every restart."""
        if self._port is None:
            raise ConfigurationError("the server was never started, or is closed")
        return self._port

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, or None while the server is stopped."""
        return None if self._process is None else self._process.pid

    @property
    def log(self) -> str:
        """What the server has logged so far."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def conninfo(self, dbname: str = "postgres", **parameters: str | int) -> str:
        """Return a libpq connection string for the superuser, with further ``parameters``."""
        known: dict[str, str | int] = {
            "host": LOOPBACK,
            "port": self.port,
            "user": SUPERUSER,
            "dbname": dbname,
        }
        if self._password is not None:
            known["password"] = self._password
        return make_conninfo("", **(known | parameters))

    def connect(self, dbname: str = "postgres") -> _Connection:
        """Return an autocommit connection of the superuser.

        Over the server's own socket, where neither TLS nor passwords are asked for, and where no
        other server can answer.
        """
        conninfo = self.conninfo(dbname, host=str(self.socket_directory), connect_timeout=5)
        return psycopg.connect(conninfo, autocommit=True)

    def start(self) -> None:
        """Start the server and wait until it answers; the first time, make its data directory.

        Raises ExternalToolError with the server's own reason when it does not start.
        """
        if self._process is not None:
            return
        exit_on_sigterm()
        try:
            if self._directory is None:
                self._create()
            self._start_on_some_port()
        except BaseException:
            self.close()
            raise

    def stop(self, mode: StopMode = StopMode.FAST) -> None:
        """Stop the server and keep its data; harsher ways follow when it does not obey in time."""
        process, self._process = self._process, None
        if process is None:
            return
        harsher = (StopMode.IMMEDIATE.value, signal.SIGKILL)
        for number in (mode.value, *harsher):
            with suppress(ProcessLookupError):
                process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
                return

    def restart(self, mode: StopMode = StopMode.FAST) -> None:
        """Stop the server and start it again on the same port."""
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """Kill every process of the server at once, as a crash of the machine would."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGSTOP)  # so that it makes no child behind our back
        victims = [process.pid, *children(process.pid)]
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(_STOP_SECONDS)
        wait_until_gone(victims)

    def close(self) -> None:
        """Stop the server and remove everything it had; harmless when repeated."""
        if os.getpid() != self._owner:  # a forked child owns nothing of it
            return
        self.stop()
        if self._directory is not None:
            self._remove_shared_memory()
            shutil.rmtree(self._directory, ignore_errors=True)
        if self._socket_directory is not None:
            shutil.rmtree(self._socket_directory, ignore_errors=True)
        self._directory = self._socket_directory = self._port = None
        atexit.unregister(self.close)

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, cloned from the database ``template``; return its conninfo."""
        statement = sql.SQL("create database {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" template {}").format(sql.Identifier(template))
        with self.connect() as connection:
            connection.execute(statement)
        return self.conninfo(name)

    def drop_database(self, name: str) -> None:
        """Drop a database with all that holds on to it: sessions, slots, prepared transactions."""
        with self.connect() as connection:
            self._end_prepared_transactions(connection, name)
            _drop_slots(connection, name)
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )

    def _end_prepared_transactions(self, connection: _Connection, name: str) -> None:
        prepared = connection.execute(
            "select gid from pg_prepared_xacts where database = %s", [name]
        ).fetchall()
        if not prepared:
            return
        with self.connect(name) as owner:
            for (identifier,) in prepared:
                owner.execute(sql.SQL("rollback prepared {}").format(sql.Literal(identifier)))

    def _create(self) -> None:
        atexit.register(self.close)
        parent = self._parent_directory or traversable_temporary_directory()
        self._directory = Path(tempfile.mkdtemp(prefix="pgcopydb-server-", dir=parent))
        self._directory.chmod(0o755)
        self._socket_directory = self._make_socket_directory()
        self._give_to_server(self.data_directory, 0o700)
        self._initialise()
        self._configure()

    def _make_socket_directory(self) -> Path:
        directory = self.directory / "socket"
        if len(os.fsencode(directory)) > _LONGEST_SOCKET_DIRECTORY:
            directory = Path(tempfile.mkdtemp(prefix="pgcopydb-", dir="/tmp"))
        self._give_to_server(directory, 0o755)
        return directory

    def _give_to_server(self, directory: Path, mode: int) -> None:
        directory.mkdir(exist_ok=True)
        directory.chmod(mode)
        if self._user is not None:
            shutil.chown(directory, self._user)

    def _initialise(self) -> None:
        """Run initdb, with C where the machine does not know C.UTF-8."""
        with self._password_file() as password_arguments:
            failure = self._initdb("C.UTF-8", password_arguments)
            if failure is not None and "locale" in failure:
                failure = self._initdb("C", password_arguments)
        if failure is not None:
            raise ExternalToolError(f"initdb failed: {failure}")

    def _initdb(self, locale: str, password_arguments: Sequence[str]) -> str | None:
        """Run initdb once; return its reason when it failed."""
        command = [
            str(self.bindir / "initdb"),
            f"--pgdata={self.data_directory}",
            "--no-sync",
            "--encoding=UTF8",
            f"--locale={locale}",
            f"--username={SUPERUSER}",
            "--auth-local=trust",
            *password_arguments,
        ]
        finished = subprocess.run(
            launch_command(command, self._user),
            cwd="/",
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return None if finished.returncode == 0 else _reason(finished.stderr)

    @contextmanager
    def _password_file(self) -> Iterator[Sequence[str]]:
        """Yield initdb's arguments for the way clients on the loopback interface prove themselves.

        The password travels in a file that only the server's user can read.
        """
        if self._password is None:
            yield ["--auth-host=trust"]
            return
        path = self.directory / "password"
        try:
            path.touch(mode=0o600)
            path.write_text(self._password)
            if self._user is not None:
                shutil.chown(path, self._user)
            yield ["--auth-host=scram-sha-256", f"--pwfile={path}"]
        finally:
            path.unlink(missing_ok=True)

    def _configure(self) -> None:
        with (self.data_directory / "postgresql.conf").open("a") as file:
            file.writelines(
                f"{name} = {_quoted_setting(value)}\n" for name, value in self._settings.items()
            )
        access = self.data_directory / "pg_hba.conf"
        access.write_text("".join(f"{line}\n" for line in self._hba_lines) + access.read_text())

    def _start_on_some_port(self) -> None:
        """Start on the port of last time, or on a free one that nobody takes in between."""
        if self._port is not None:
            self._start_server()
            return
        for attempt in range(_PORT_ATTEMPTS):
            self._port = free_port()
            try:
                self._start_server()
            except ExternalToolError:
                if attempt + 1 == _PORT_ATTEMPTS or "could not bind" not in self.log:
                    raise
                (self.directory / "log").unlink()
            else:
                return

    def _start_server(self) -> None:
        # These three are the cluster's own affair, so they stand where postgresql.conf and ALTER
        # SYSTEM cannot change them.
        own = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_directory),
        }
        command = [str(self.bindir / "postgres"), "-D", str(self.data_directory)]
        for name, value in own.items():
            command += ["-c", f"{name}={value}"]
        with (self.directory / "log").open("ab") as log:
            log_start = log.tell()
            self._process = subprocess.Popen(
                launch_command(command, self._user),
                cwd="/",
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # The terminal's Ctrl-C is for us: the server goes on until we stop it.
                start_new_session=True,
            )
        self._wait_until_ready(log_start)
        logger.debug("server %s is ready on port %d", self.bindir, self.port)

    def _wait_until_ready(self, log_start: int) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError as error:
                self._require_alive(log_start)
                if time.monotonic() > deadline:
                    self.stop(StopMode.IMMEDIATE)
                    raise ExternalToolError(
                        f"the server did not answer within {_START_SECONDS:.0f} s: "
                        f"{first_line(error)}"
                    ) from error
                time.sleep(0.02)
            else:
                return

    def _require_alive(self, log_start: int) -> None:
        if self._process is None or self._process.poll() is None:
            return
        self._process = None
        with (self.directory / "log").open(errors="replace") as log:
            log.seek(log_start)
            raise ExternalToolError(f"the server did not start: {_reason(log.read())}")

    def _remove_shared_memory(self) -> None:
        """Remove the System V segment that a killed server leaves behind.

        Its id is the second number of the seventh line of postmaster.pid, a file that a server
        which stopped by itself has removed (pg_ctl.c and miscadmin.h).
        """
        try:
            lines = (self.data_directory / "postmaster.pid").read_text().splitlines()
            segment = int(lines[6].split()[1])
        except (OSError, IndexError, ValueError):
            return
        ctypes.CDLL(None).shmctl(segment, _IPC_RMID, None)


def _drop_slots(connection: _Connection, database: str) -> None:
    """End the sessions that stream from a database's slots, and drop the slots.

    The end of a walsender is not instant, so this is tried again for a while.
    """
    deadline = time.monotonic() + _STOP_SECONDS
    while True:
        slots = connection.execute(
            "select slot_name, active_pid from pg_replication_slots where database = %s",
            [database],
        ).fetchall()
        if not slots:
            return
        for name, active_pid in slots:
            if active_pid is not None:
                connection.execute("select pg_terminate_backend(%s)", [active_pid])
                continue
            with suppress(psycopg.errors.UndefinedObject, psycopg.errors.ObjectInUse):
                connection.execute("select pg_drop_replication_slot(%s)", [name])
        if time.monotonic() > deadline:
            raise ExternalToolError(f"the slots of database {database} could not be dropped")
        time.sleep(0.01)


def _environment() -> dict[str, str]:
    """Return the environment of the server's programs: English, and nothing of ours."""
    kept = {name: os.environ[name] for name in ("TZ",) if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C", **kept}


def _quoted_setting(value: str) -> str:
    """Return a value as postgresql.conf wants it between quotes (guc-file.l, GUC_scanstr)."""
    doubled = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{doubled}'"


def _reason(output: str) -> str:
    """Return the line of a server program's output that says why it failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for previous, line in pairwise(["", *lines]):
        # The server names a wrong setting in the line before the one that gives up.
        if "FATAL" in line and "configuration file" in line:
            return previous
        if "FATAL" in line or "error:" in line:
            return line
    return lines[-1] if lines else "no reason given"
