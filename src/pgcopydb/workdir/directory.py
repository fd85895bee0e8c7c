"""The work directory itself: private, locked, and never silently overwritten.

::

    DIR/                     0700, owned by the user who runs the command
      <role>.lock            held while a command works in that role; names its process
      catalogue.db           SQLite: the migration's header, jobs, sentinel
      schema/                pg_dump archives
      cdc/                   SQLite segments of stored changes

Several commands of one migration may work in one directory at once (a snapshot holder, a clone, a
prefetch), each in roles of its own; two commands in the same role exclude each other.
"""

import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec import Struct

from pgcopydb.errors import StateError
from pgcopydb.model.options import WorkOptions
from pgcopydb.workdir import store
from pgcopydb.workdir.locks import LETTING_GO, in_use, lock, working_command
from pgcopydb.workdir.own_files import (
    CATALOGUE,
    catalogues,
    holds_run,
    refuse_files_of_others,
    refuse_prepared_by_others,
)
from pgcopydb.workdir.restart import (
    GOES_ON,
    discard_previous,
    remembered,
    settle_interrupted,
    started_over,
)
from pgcopydb.workdir.store import RunHeader
from pgcopydb.workdir.transaction import transaction

PHASES = (
    "dump schema",
    "restore schema",
    "restore pre-data",
    "restore post-data",
    "copy schema",
    "copy data",
    "copy table-data",
    "copy indexes",
    "copy constraints",
)
"""Commands that make one part of a base copy, which is done once."""

_SUPPLEMENTS = (
    "copy blobs",
    "copy extensions",
    "copy roles",
    "dump roles",
    "restore roles",
    "restore parse-list",
)
"""Commands that only add what is missing: they may be repeated, and run beside any other's work."""

_NEED_A_RUN = GOES_ON | {
    "restore schema",
    "restore pre-data",
    "restore post-data",
    "restore roles",
    "restore parse-list",
}
"""Commands that have nothing to do in a directory in which nothing was begun or dumped."""

_OTHER_DIRECTORY = "give the --dir of the migration"
_DUMP_FIRST = "give the --dir of the dump, or run pgcopydb dump schema first"

ROLES: dict[str, tuple[str, ...]] = {
    "clone": ("clone",),
    "clone --all-databases": ("clone",),
    "copy db": ("clone",),
    **dict.fromkeys(PHASES, ("clone",)),
    **dict.fromkeys(_SUPPLEMENTS, ("supplement",)),
    "copy sequences": ("sequences",),
    "clone --follow": ("clone", "receive", "apply"),
    "follow": ("receive", "apply"),
    "snapshot": ("snapshot",),
    "stream setup": ("setup",),
    "stream cleanup": ("setup", "clone", "receive", "apply"),
    "stream receive": ("receive",),
    "stream prefetch": ("receive",),
    "stream catchup": ("apply",),
    "stream conflicts": ("apply",),
    "stream apply": ("apply",),
    "stream replay": ("receive", "apply"),
}
"""What each command does in the directory; a command not named here only reads it."""

_REPEATABLE = {
    *_SUPPLEMENTS,
    "copy sequences",
    "snapshot",
    "stream setup",
    "stream cleanup",
    "stream prefetch",
    "stream catchup",
    "stream conflicts",
    "stream apply",
    "stream replay",
}
"""Commands that go on by themselves where they stopped, so that repeating one is no accident."""


class WorkDirectory(Struct, frozen=True):
    """An open work directory.

    ``resume`` says that a previous run is to be continued; ``previous`` are the headers of the
    migrations that ``--restart`` started over, newest first, whose slots, origins and rows may
    still be there: a run that failed before it came to that leaves them to the next one.
    """

    path: Path
    resume: bool = False
    not_consistent: bool = False
    previous: tuple[RunHeader, ...] = ()

    @property
    def catalogue(self) -> Path:
        """The SQLite catalogue."""
        return self.path / CATALOGUE

    @property
    def schema(self) -> Path:
        """The folder of schema dumps."""
        return self.path / "schema"

    @property
    def cdc(self) -> Path:
        """The folder of stored changes."""
        return self.path / "cdc"

    @property
    def streams(self) -> Path:
        """The folder of transactions that are being received in progress."""
        return self.cdc / "streams"

    @contextmanager
    def store(self) -> Iterator[sqlite3.Connection]:
        """Open the catalogue for the length of the block."""
        with store.open_store(self.catalogue) as connection:
            yield connection

    def header(self) -> RunHeader | None:
        """Return the header of the migration kept here, or None before it is begun."""
        with self.store() as connection:
            return store.read_header(connection)

    def discard_previous(self) -> None:
        """Remove what ``--restart`` has set aside, before anything that it needs is dropped.

        Until then a command that is refused puts it back.
        """
        discard_previous(self.path)


def default_directory() -> Path:
    """Return the directory used without ``--dir``: ``$TMPDIR/pgcopydb``, else /tmp/pgcopydb."""
    return Path(os.environ.get("TMPDIR") or "/tmp") / "pgcopydb"  # noqa: S108 - the documented place


@contextmanager
def open_directory(options: WorkOptions, *, command: str) -> Iterator[WorkDirectory]:
    """Open the work directory for ``command``, alone in its roles, for the length of the block.

    Raises StateError when the directory is not safe to use, when another process works in it in
    the same role, or when it holds a previous run that neither ``--resume`` nor ``--restart``
    was given for. A command that goes on with something makes no directory, and leaves alone one
    that holds nothing to go on with.
    """
    path = options.directory or default_directory()
    if command in _NEED_A_RUN:
        hint = _DUMP_FIRST if command.startswith("restore ") else _OTHER_DIRECTORY
        _refuse_without_run(require_directory(options, hint=hint), hint)
    os.umask(0o077)  # everything that this process and its children write here is private
    _make_private(path)
    roles = ROLES.get(command, ())
    with ExitStack() as stack:
        for role in roles:
            stack.enter_context(lock(path, role, command, patience=LETTING_GO))
        settle_interrupted(path)
        removed: tuple[RunHeader, ...] = ()
        if options.restart:
            others = sorted({role for known in ROLES.values() for role in known} - set(roles))
            removed = stack.enter_context(started_over(path, command, others))
        work = WorkDirectory(
            path=path,
            resume=options.resume,
            not_consistent=options.not_consistent,
            previous=remembered(path, removed),
        )
        work.schema.mkdir(mode=0o700, exist_ok=True)
        work.cdc.mkdir(mode=0o700, exist_ok=True)
        # Who closes a SQLite file last empties and removes its log, with three waits for the disk.
        stack.enter_context(work.store())
        with _recorded(work, options, command, roles):
            yield work


@contextmanager
def attach_directory(options: WorkOptions) -> Iterator[WorkDirectory]:
    """Open the directory of a migration that exists, to read or steer it while it runs.

    Raises StateError when there is none, or it is not safe to use.
    """
    path = require_directory(options)
    _refuse_unsafe(path)
    work = WorkDirectory(path=path)
    if not work.catalogue.exists():
        raise _no_migration(path, _OTHER_DIRECTORY)
    yield work


def is_missing(path: Path) -> bool:
    """Tell whether nothing is at ``path``; what cannot be looked at may be there."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False


def _refuse_without_run(path: Path, hint: str) -> None:
    _refuse_unsafe(path)
    if not holds_run(path):
        raise _no_migration(path, hint)


def _no_migration(path: Path, hint: str) -> StateError:
    return StateError(f"{path} is not the work directory of a migration", hint=hint)


def require_directory(options: WorkOptions, *, hint: str = _OTHER_DIRECTORY) -> Path:
    """Return where the work directory is, for a command that makes none.

    Raises StateError, with ``hint``, when there is none.
    """
    path = options.directory or default_directory()
    try:
        path.stat()
    except OSError as error:
        why = "" if isinstance(error, FileNotFoundError) else f": {error.strerror}"
        raise StateError(f"there is no work directory at {path}{why}", hint=hint) from None
    return path


def refuse_unusable(path: Path) -> None:
    """Raise StateError where no command could open ``path``, as far as that shows by looking."""
    try:
        path.lstat()
    except FileNotFoundError:
        parent = next(one for one in path.absolute().parents if one.exists())
        if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
            return
        raise _not_created(path, f"{parent} cannot be written to") from None
    except OSError as error:
        raise _not_created(path, error.strerror) from None
    _refuse_unsafe(path)
    refuse_files_of_others(path)


def refuse_used(path: Path, command: str) -> None:
    """Raise StateError where ``command`` would not begin without ``--resume`` or ``--restart``.

    Only looks: takes no lock, and opens no catalogue but one that is there.
    """
    roles = ROLES[command]
    for role in roles:
        working = working_command(path, role)
        if working is not None:
            raise in_use(path, working)
    catalogue = next((one for one in catalogues(path) if one.exists()), None)
    if catalogue is None:
        return
    with store.open_store(catalogue) as connection:
        store.refuse_damaged(catalogue, connection)
        _refuse_mixture(connection, path, command)
        _refuse_previous(connection, path, command, roles)


def _not_created(path: Path, why: str | None) -> StateError:
    return StateError(
        f"the work directory {path} cannot be created: {why}",
        hint="choose another place with --dir",
    )


def _make_private(path: Path) -> None:
    """Create ``path`` for this user alone, or make sure that it already is."""
    try:
        path.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        _refuse_unsafe(path)
        refuse_files_of_others(path)
    except OSError as error:
        raise _not_created(path, error.strerror) from error
    else:
        return
    if stat.S_IMODE(path.stat().st_mode) != 0o700:
        path.chmod(0o700)


def _refuse_unsafe(path: Path) -> None:
    """Raise StateError for a directory that somebody else could have prepared."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise StateError(f"the work directory {path} is a symbolic link", hint="name its target")
    if not stat.S_ISDIR(status.st_mode):
        raise StateError(f"{path} is not a directory", hint="choose another place with --dir")
    if status.st_uid != os.geteuid():
        raise StateError(
            f"the work directory {path} belongs to another user",
            hint="choose another place with --dir",
        )
    refuse_prepared_by_others(path, stat.S_IMODE(status.st_mode))


@contextmanager
def _recorded(
    work: WorkDirectory, options: WorkOptions, command: str, roles: Sequence[str]
) -> Iterator[None]:
    """Write down that ``command`` runs here and how it ended; refuse to run over another."""
    if not roles:
        yield
        return
    with work.store() as connection:
        store.refuse_damaged(work.catalogue, connection)
        if "clone" in roles:
            _refuse_mixture(connection, work.path, command)
        if command not in _REPEATABLE and not options.resume:
            _refuse_previous(connection, work.path, command, roles)
        begun = _finished_steps(connection)
        numbers = [
            connection.execute(
                "insert into command_run (role, command, pid) values (?, ?, ?) returning id",
                (role, command, os.getpid()),
            ).fetchone()[0]
            for role in roles
        ]
    outcome = "failed"
    try:
        yield
        outcome = "done"
    finally:
        with work.store() as connection, transaction(connection):
            idle = command in PHASES and _finished_steps(connection) == begun
            if outcome == "failed" and (idle or not store.has_begun(connection)):
                # refused before anything was done: the same command may simply be given again
                connection.executemany(
                    "delete from command_run where id = ?", [(number,) for number in numbers]
                )
            connection.executemany(
                "update command_run set outcome = ?,"
                " finished = strftime('%Y-%m-%dT%H:%M:%SZ', 'now') where id = ?",
                [(outcome, number) for number in numbers],
            )


def _finished_steps(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute(
        "select count(*) from fact where name like 'copy step: %'"
    ).fetchone()
    return int(count)


def _refuse_mixture(connection: sqlite3.Connection, path: Path, command: str) -> None:
    """Raise StateError for a whole copy where phases were run, or a phase where a whole one was."""
    earlier = {
        name
        for (name,) in connection.execute("select command from command_run where role = 'clone'")
    }
    others = earlier - set(PHASES) if command in PHASES else earlier.intersection(PHASES)
    if others - {"stream cleanup"}:
        raise StateError(
            f"{path} is the work directory of pgcopydb {min(others)}",
            hint=f"use another --dir for pgcopydb {command}, or start over with --restart",
        )


def _refuse_previous(
    connection: sqlite3.Connection, path: Path, command: str, roles: Sequence[str]
) -> None:
    """Raise StateError when an earlier command already did this work here."""
    column, values = ("command", [command]) if command in PHASES else ("role", [*roles])
    marks = ", ".join("?" * len(values))
    row = connection.execute(
        "select command, started, coalesce(outcome, 'was interrupted') from command_run"
        f" where {column} in ({marks}) order by id desc limit 1",
        values,
    ).fetchone()
    if row is None:
        return
    command, started, outcome = row
    raise StateError(
        f"{path} holds a previous run: pgcopydb {command}, started {started}, {outcome}",
        hint="go on with it (--resume), start over (--restart), or use another --dir",
    )
