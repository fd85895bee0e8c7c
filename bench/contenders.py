"""Those who replay a recording: this program, and PostgreSQL's own subscription."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from measure import Usage, Watch
from psycopg import sql
from recording import PUBLICATION, Recording
from servers import Servers, client_environment, digest, fresh_target

from pgcopydb.lsn import format_lsn

LIMIT = 3600.0
"""Seconds after which a run is given up."""

_POLL = 0.01
COMMAND = "command"
PROGRAM = (sys.executable, "-m", "pgcopydb")


@dataclass(frozen=True, slots=True)
class Run:
    """What one replay took, in seconds and MB; ``wrong`` names tables that differ from the source.

    ``seconds`` ends when the target has everything, ``command_seconds`` when the command ends.
    ``cpu`` is by process: ours by name, the server's two by what they do.
    """

    seconds: float
    command_seconds: float
    cpu: Mapping[str, float]
    peak_mb: Mapping[str, float]
    wrong: Sequence[str]

    @property
    def client_cpu(self) -> float:
        """CPU seconds of all client processes together."""
        return sum(v for name, v in self.cpu.items() if name not in ("walsender", "target"))


Contender = Callable[[Recording, str], Run]


def ours(recording: Recording, name: str, *options: str) -> Run:
    """Run `pgcopydb stream replay` until endpos, with the interpreter's start in the time."""
    servers = recording.servers
    with (
        fresh_target(servers.target, recording.base, name) as database,
        recording.slot(name),
        recording.work_directory(name) as directory,
        no_origin_left(servers, name),
        server_watch(servers, database) as server,
    ):
        start = time.monotonic()
        command = [*replay_command(recording, directory, database), *options]
        with running(command) as process:
            with Watch(lambda: [process.pid]) as client:
                seconds = _wait(servers, name, recording.last, start, process)
                status = process.wait(LIMIT)
            taken = time.monotonic() - start
        if status:
            raise SystemExit(f"pgcopydb stream replay ended with status {status}")
        found = by_role(client.processes)
        return _run(recording, database, seconds, taken, found | server())


def ours_streaming(recording: Recording, name: str) -> Run:
    """Run the same, with transactions received in progress."""
    return ours(recording, name, "--streaming", "on")


def replay_command(recording: Recording, directory: Path, database: str) -> list[str]:
    """Return the command that replays a recording into ``database``, up to its endpos."""
    return [
        *[*PROGRAM, "stream", "replay", "--quiet", "--dir", str(directory)],
        *["--source", recording.source, "--target", recording.servers.target.conninfo(database)],
        *(["--endpos", format_lsn(recording.endpos)] if recording.endpos else []),
    ]


@contextmanager
def running(command: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command beside the block; it is killed if it outlives it."""
    process = subprocess.Popen(command, env=client_environment(), stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def by_role(processes: Mapping[int, Usage]) -> dict[str, Usage]:
    """Name our processes: workers, and the process that forks them, say what they are."""
    return {_role(usage.name): usage for usage in processes.values()}


def _role(name: str) -> str:
    said = name.removeprefix("pgcopydb ")  # cut off after 15 bytes
    return next(
        (role for role in ("receive", "apply", "workers") if role.startswith(said)), COMMAND
    )


def subscription(streaming: str) -> Contender:
    """Return PostgreSQL's own subscription with a setting of ``streaming``."""

    def run(recording: Recording, name: str) -> Run:
        servers = recording.servers
        with (
            fresh_target(servers.target, recording.base, name) as database,
            recording.slot(name),
            server_watch(servers, database) as server,
        ):
            start = time.monotonic()
            with subscribed(recording, database, name, streaming) as origin:
                seconds = _wait(servers, origin, recording.last, start, None)
                return _run(recording, database, seconds, seconds, server())

    return run


@contextmanager
def subscribed(recording: Recording, database: str, slot: str, streaming: str) -> Iterator[str]:
    """Subscribe ``database`` by a slot, which goes with it; give the subscription's origin."""
    statement = sql.SQL(
        "create subscription {} connection {} publication {} with (create_slot = false,"
        " slot_name = {}, copy_data = false, synchronous_commit = 'off', streaming = {})"
    ).format(
        sql.Identifier(slot),
        sql.Literal(recording.source),
        sql.Identifier(PUBLICATION),
        sql.Literal(slot),
        sql.Literal(streaming),
    )
    with recording.servers.target.connect(database) as connection:
        connection.execute(statement)
        try:
            row = connection.execute(
                "select 'pg_' || oid from pg_subscription where subname = %s", (slot,)
            ).fetchone()
            assert row is not None
            yield row[0]
        finally:
            connection.execute(sql.SQL("drop subscription {}").format(sql.Identifier(slot)))


def _wait(
    servers: Servers,
    origin: str,
    last: int,
    start: float,
    process: "subprocess.Popen[bytes] | None",
) -> float:
    """Return the seconds from ``start`` until the target's origin is beyond ``last``."""
    with servers.target.connect() as connection:
        while True:
            row = connection.execute(
                "select pg_replication_origin_progress(roname, false) > %s::pg_lsn"
                " from pg_replication_origin where roname = %s",
                (format_lsn(last), origin),
            ).fetchone()
            taken = time.monotonic() - start
            if row is not None and row[0]:
                return taken
            if process is not None and process.poll():
                raise SystemExit(f"pgcopydb ended with status {process.returncode}")
            if taken > LIMIT:
                raise SystemExit(f"not done after {LIMIT:.0f} s")
            time.sleep(_POLL)


def _run(
    recording: Recording, database: str, seconds: float, taken: float, found: Mapping[str, Usage]
) -> Run:
    return Run(
        seconds=seconds,
        command_seconds=taken,
        cpu={name: usage.cpu for name, usage in found.items()},
        peak_mb={name: usage.peak_mb for name, usage in found.items() if usage.peak_mb},
        wrong=differing(recording.expected, digest(recording.servers.target, database)),
    )


def differing(
    expected: Mapping[str, tuple[int, str]], found: Mapping[str, tuple[int, str]]
) -> list[str]:
    """Return the tables whose rows are not those of the source, with both counts."""
    return [
        f"{table}: {found.get(table, (0, ''))[0]} rows for {rows[0]}"
        for table, rows in expected.items()
        if found.get(table) != rows
    ]


@contextmanager
def no_origin_left(servers: Servers, name: str) -> Iterator[None]:
    """Drop the origin ``name`` of the target at the end."""
    try:
        yield
    finally:
        with servers.target.connect() as connection:
            connection.execute(
                "select pg_replication_origin_drop(roname) from pg_replication_origin"
                " where roname = %s",
                (name,),
            )


@contextmanager
def server_watch(servers: Servers, database: str) -> Iterator[Callable[[], dict[str, Usage]]]:
    """Watch both servers; the function given returns what walsender and target backends used."""

    def roots() -> list[int]:
        return [pid for pid in (servers.source.pid, servers.target.pid) if pid is not None]

    with Watch(roots) as watch:

        def used() -> dict[str, Usage]:
            sender, target = Usage("walsender"), Usage("target")
            for usage in list(watch.processes.values()):
                if "walsender" in usage.title:
                    sender.cpu += usage.cpu
                elif f" {database} " in usage.title or "logical replication" in usage.title:
                    target.cpu += usage.cpu
            return {"walsender": sender, "target": target}

        yield used
