"""Every option of every command, with what it cannot take: one line, the right status, no more.

The commands are found by walking the command line, so that a new one is tried without being named
here. Nothing runs: each refusal comes before the command itself begins, or at its work directory.
"""

import errno
import fcntl
import logging
import os
import sqlite3
import stat
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from pgcopydb.cli import main
from pgcopydb.cli.verbosity import VERBOSITY
from pgcopydb.workdir.filters import read_filters
from pgcopydb.workdir.store import open_store

NOWHERE = "postgres://joe:s3cret@127.0.0.1:1/db"
"""A server that is not there: whatever gets as far as a connection ends with 6 or 7."""

WRONG: dict[str, tuple[str, ...]] = {
    "lsn": (
        "",
        "0",
        "16-1",
        "0/",
        "/0",
        "0/G",
        "123456789/0",
        "0/-1",
        "now",
        "\u0660/\u0661",
        "80000000/0",
    ),
    "size": ("", "0", "-1", "1 XB", "MB", "1e3", "0x10", "\u0661", "nan", "-1GB", "9" * 310),
    "count": ("", "0", "-1", "1.5", "many", "\u0661", "\u00b2", "0x1", "1 2", "9" * 10),
    "seconds": ("", "-1", "nan", "inf", "soon", "1s"),
    "slot": ("", "UPPER", "a b", "a-b", "\u00e9", "x" * 64, "a\n"),
    "name": ("", "x" * 64, "\u00e9" * 32, "a\nb", "\udcff"),
    "origin": ("", "none", "ANY", "pg_x", "x" * 513, "a\nb"),
    "snapshot": ("", "nonsense", "'; drop table t;--", "00000003", "1-2\n"),
    "choice": ("", "nonsense", "PGOUTPUT "),
    "path": ("",),
    "integer": ("", "x", "1.5"),
    "boolean": ("perhaps",),
}
"""Texts that no option of a type takes, by the name of the type."""


@dataclass(frozen=True)
class Command:
    """A command and the words that lead to it."""

    words: tuple[str, ...]
    command: click.Command

    def __str__(self) -> str:
        return " ".join(self.words)

    @property
    def options(self) -> list[click.Option]:
        return [one for one in self.command.params if isinstance(one, click.Option)]

    def has(self, *flags: str) -> bool:
        known = {flag for option in self.options for flag in option.opts}
        return known.issuperset(flags)


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[Command]:
    context = click.Context(group)
    for name in group.list_commands(context):
        inner = group.get_command(context, name)
        assert inner is not None
        if isinstance(inner, click.Group):
            yield from leaves(inner, (*path, name))
        else:
            yield Command((*path, name), inner)


COMMANDS = [one for one in leaves(main.root) if one.words not in {("help",), ("version",)}]


@dataclass(frozen=True)
class Told:
    status: int
    stdout: str
    stderr: str


Run = Callable[..., Told]


@pytest.fixture
def run(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Run]:
    """Run a command line in this process; no variable of the person who tests is seen."""
    for name in list(os.environ):
        if name.startswith("PGCOPYDB"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "default"))
    handlers = list(logging.getLogger().handlers)
    level = logging.getLogger().level

    def run_it(*arguments: str) -> Told:
        capfd.readouterr()
        logging.getLogger().handlers.clear()
        status = main.run(arguments)
        output = capfd.readouterr()
        return Told(status, output.out, output.err)

    yield run_it
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


def assert_refused(told: Told, status: int, *arguments: str) -> None:
    """Assert that there is one clear line, without a secret and without a traceback."""
    shown = f"{arguments}: {told}"
    assert told.status == status, shown
    assert told.stdout == "", shown
    lines = told.stderr.splitlines()
    assert lines, shown
    assert lines[0].startswith("ERROR: "), shown
    assert sum("ERROR" in line for line in lines) == 1, shown
    assert len(lines[0]) < 500, shown
    for forbidden in ("Traceback", "s3cret", "a defect of", "Error:"):
        assert forbidden not in told.stderr, shown


def kind(option: click.Option) -> str:
    return "boolean" if option.is_flag else option.type.name


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_value_that_is_missing_or_malformed(command: Command, run: Run, tmp_path: Path) -> None:
    for option in command.options:
        flag = max(option.opts, key=len)
        if option.is_flag:
            arguments = [(*command.words, f"{flag}=yes")]
        else:
            arguments = [(*command.words, flag)]
            arguments += [
                (*command.words, f"{flag}={text}") for text in WRONG.get(kind(option), ())
            ]
        for words in arguments:
            assert_refused(run(*words), 1, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_malformed_variable(
    command: Command, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for option in command.options:
        if not isinstance(option.envvar, str):
            continue
        for text in WRONG.get(kind(option), ()):
            if not text:  # an empty variable is one that is not set
                continue
            monkeypatch.setenv(option.envvar, text)
            told = run(*command.words)
            assert_refused(told, 2, *command.words, f"{option.envvar}={text}")
            assert option.envvar in told.stderr
        monkeypatch.delenv(option.envvar, raising=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_words_too_many_and_options_that_contradict(
    command: Command, run: Run, tmp_path: Path
) -> None:
    assert_refused(run(*command.words, "--no-such-option"), 1)
    if not any(isinstance(one, click.Argument) for one in command.command.params):
        assert_refused(run(*command.words, "postgres://joe:s3cret@host/db"), 1)
    sides = servers(command)
    for pair in (("--restart", "--resume"), ("--restart", "--not-consistent")):
        if command.has(*pair) and command.words[0] != "list":  # where they are for scripts only
            assert_refused(run(*command.words, *sides, *pair), 1, *pair)
    levels = [option.opts[0] for option in VERBOSITY]
    assert_refused(run(*command.words, *sides, "--quiet", levels[0], "--trace"), 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS, ids=str)
@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize(
    "text", ["host='s3cret", "postgres://joe:s3cret@h:x/db", "sslmod=s3cret", "postgres://j:s3/c@h"]
)
def test_a_malformed_connection_string(
    command: Command, side: str, text: str, run: Run, tmp_path: Path
) -> None:
    """Whatever else is wrong, no part of the string is told."""
    if not command.has(f"--{side}"):
        return
    directory = ["--dir", str(tmp_path / "work")] if command.has("--dir") else []
    arguments = [*command.words, *servers(command), f"--{side}", text, *directory]
    told = run(*arguments, *positional(command, tmp_path))
    assert told.status != 0, told
    assert "Traceback" not in told.stderr
    assert "s3cret" not in told.stderr
    assert "a defect of" not in told.stderr, told


def servers(command: Command) -> list[str]:
    """Return options that name servers which are not there, and that nobody waits for."""
    sides = [side for side in ("--source", "--target") if command.has(side)]
    at_once = ["--retry-for", "0"] if command.has("--retry-for") else []
    return [word for side in sides for word in (side, NOWHERE)] + at_once


def positional(command: Command, tmp_path: Path) -> list[str]:
    """Return values for the arguments that a command insists on."""
    known = {"endpos": "0/1", "startpos": "0/1", "start": "0/1", "end": "0/2"}
    return [
        known.get(one.name or "", str(tmp_path / "none"))
        for one in command.command.params
        if isinstance(one, click.Argument) and one.required
    ]


# -- files -----------------------------------------------------------------------------------------

MALFORMED = {
    "--filters": (
        b"public.t\n",
        b"[exclude-tables]\na.b\n",
        b"[exclude-table]\nt\n",
        b"[exclude-schema]\n~/(/\n",
        b"[include-only-schema]\na\n[exclude-schema]\nb\n",
        b"[exclude-schema]\n\xff\xfe\n",
        b"[exclude-schema]\na\x00b\n",
        b'[{"name": "x", "version": "1"}]',
    ),
    "--requirements": (
        b"",
        b"{",
        b"[1]",
        b'[{"name": "x"}]',
        b'[{"name": "x", "version": "1"}, {"name": "x", "version": "2"}]',
        b"\xff\xfe[",
        b"[" * 100_000,
        b"[exclude-schema]\na\n",
    ),
}
"""What a file that an option names cannot say, by the option."""


def with_file(flag: str) -> list[Command]:
    """Return the commands whose ``flag`` takes a file, and does not stand alone."""
    return [
        one
        for one in COMMANDS
        if any(flag in option.opts and not option.is_flag for option in one.options)
    ]


@pytest.mark.parametrize(
    ("command", "flag"),
    [(command, flag) for flag in MALFORMED for command in with_file(flag)],
    ids=str,
)
def test_a_malformed_file(command: Command, flag: str, run: Run, tmp_path: Path) -> None:
    """It is read before a server is asked, and what is wrong with it is said with its name."""
    path, directory = tmp_path / "a file", tmp_path / "work"
    where = ["--dir", str(directory)] if command.has("--dir") else []
    words = [*command.words, *servers(command), *where, f"{flag}={path}"]
    words += positional(command, tmp_path)
    assert_refused(run(*words), 2, *words)
    path.mkdir()
    assert_refused(run(*words), 2, *words)
    path.rmdir()
    for content in MALFORMED[flag]:
        path.write_bytes(content)
        told = run(*words)
        assert_refused(told, 2, *words, repr(content[:40]))
        assert str(path) in told.stderr
        assert told.stderr.count("\n") <= 2
    assert not directory.exists()


# -- the work directory ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_more_at_the_same_time_than_any_machine_bears(command: Command, run: Run) -> None:
    """Each is a thread or a process: ten million took all memory of the machine."""
    for option in command.options:
        flag = max(option.opts, key=len)
        if flag.endswith("jobs"):
            told = run(*command.words, f"{flag}=1001")
            assert_refused(told, 1, *command.words, flag)
            assert "more than 1000 at the same time" in told.stderr


def test_a_file_that_is_a_pipe_is_read_once_and_known_twice() -> None:
    """As of --filters <(...): the second time there would be no filters, and nothing left out."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(b"[exclude-table]\r\npublic.b\r\n")
    path = Path(f"/dev/fd/{reading}")
    first = read_filters(path)
    assert not first.selects_all
    assert read_filters(path) == first
    os.close(reading)


def test_a_file_without_an_end(run: Run) -> None:
    for words in (
        ("list", "tables", "--filters", "/dev/zero"),
        ("clone", "--requirements", "/dev/zero"),
    ):
        assert_refused(run(*words), 2, *words)


def not_sqlite(path: Path) -> None:
    (path / "catalogue.db").write_bytes(b"not a database at all\n" * 100)


def truncated(path: Path) -> None:
    with open_store(path / "catalogue.db"):
        pass
    whole = (path / "catalogue.db").read_bytes()
    (path / "catalogue.db").write_bytes(whole[: len(whole) // 2 + 100])


def without_tables(path: Path) -> None:
    with sqlite3.connect(path / "catalogue.db") as connection:
        connection.execute("create table x (y)")
    with open_store(path / "catalogue.db") as connection:
        connection.execute("drop table header")
        connection.execute("drop table command_run")


def of_another_version(path: Path) -> None:
    with sqlite3.connect(path / "catalogue.db") as connection:
        connection.execute("pragma user_version = 4711")


def with_a_directory_for_catalogue(path: Path) -> None:
    (path / "catalogue.db").mkdir()


def with_a_link_for_catalogue(path: Path) -> None:
    elsewhere = path.parent / "elsewhere.db"
    elsewhere.write_bytes(b"precious")
    (path / "catalogue.db").symlink_to(elsewhere)


def with_a_broken_header(path: Path) -> None:
    with open_store(path / "catalogue.db") as connection:
        connection.execute(
            "insert into header (id, content, checksum) values (1, ?, ?)",
            (b'{"run_id": 1}', zlib.crc32(b'{"run_id": 1}', zlib.crc32(b"header"))),
        )


def with_a_link_for_lock(path: Path) -> None:
    for role in ("clone", "receive", "apply", "snapshot", "setup"):
        (path / f"{role}.lock").symlink_to(path.parent / "elsewhere.db")


def as_a_link(path: Path) -> None:
    path.rmdir()
    (path.parent / "real").mkdir(mode=0o700)
    path.symlink_to(path.parent / "real")


def of_other_files(path: Path) -> None:
    (path / "thesis").write_text("ten years")
    path.chmod(0o755)


def as_a_file(path: Path) -> None:
    path.rmdir()
    path.write_text("")


def open_to_everybody(path: Path) -> None:
    (path / "planted").write_text("")
    path.chmod(0o777)


def of_somebody_else(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    os.chown(path, 65534, 65534)


STATES: list[Callable[[Path], None]] = [
    not_sqlite,
    truncated,
    without_tables,
    of_another_version,
    with_a_directory_for_catalogue,
    with_a_link_for_catalogue,
    with_a_broken_header,
    with_a_link_for_lock,
    as_a_link,
    as_a_file,
    of_other_files,
    open_to_everybody,
    of_somebody_else,
]
WITH_DIRECTORY = [one for one in COMMANDS if one.has("--dir") and one.words != ("check",)]


def named(one: object) -> str:
    return getattr(one, "__name__", str(one))


def each_state_with_some_commands() -> Iterator[tuple[Command, Callable[[Path], None]]]:
    """Give every command a third of the states, and clone and follow all of them."""
    for number, command in enumerate(WITH_DIRECTORY):
        for other, state in enumerate(STATES):
            if (number + other) % 3 == 0 or command.words in {("clone",), ("follow",)}:
                yield command, state


@pytest.mark.parametrize(("command", "state"), [*each_state_with_some_commands()], ids=named)
def test_a_work_directory_that_is_not_one(
    command: Command, state: Callable[[Path], None], run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "work"
    path.mkdir(mode=0o700)
    state(path)
    before, mode = snapshot_of(tmp_path), path.lstat().st_mode
    arguments = [*command.words, *servers(command), "--dir", str(path)]
    told = run(*arguments, *positional(command, tmp_path))
    # Commands that do not write there may get on to servers, which are not there.
    # A command that only looks at what is there needs neither lock nor header.
    unneeded = state in {with_a_link_for_lock, with_a_broken_header} and "stream" in command.words
    assert told.status in ({0, 1, 3} if unneeded else {1, 3, 6, 7}), told
    for forbidden in ("Traceback", "s3cret", "a defect of"):
        assert forbidden not in told.stderr, told
    assert told.status == 0 or told.stderr.startswith(("ERROR: ", "WARNING: ")), told
    if state not in {with_a_link_for_lock, with_a_broken_header}:
        assert told.status != 6 or "snapshot" not in command.words, told
    assert snapshot_of(tmp_path, names=before) == before
    assert path.lstat().st_mode == mode


@pytest.mark.parametrize("command", WITH_DIRECTORY, ids=str)
@pytest.mark.parametrize("name", ["x" * 300, "file/work"], ids=["too long", "below a file"])
def test_a_work_directory_that_cannot_be_there(
    command: Command, name: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    arguments = [*command.words, *servers(command), "--dir", str(tmp_path / name)]
    told = run(*arguments, *positional(command, tmp_path))
    assert told.status in {1, 3, 6, 7}, told  # those that need none get on to servers
    assert_refused(told, told.status, *command.words)


def test_where_no_directory_can_be_nothing_is_received_to_stdout(run: Run) -> None:
    words = ("stream", "receive", "--to-stdout", "--source", NOWHERE, "--dir", "x" * 300)
    assert_refused(run(*words), 3)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.EBADF], ids=os.strerror)
def test_a_work_directory_in_which_nothing_can_be_locked(
    code: int, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on NFS without its locks; commands that need none get on to servers, or to nothing."""
    asked = []

    def refuse(_descriptor: int, operation: int) -> None:
        asked.append(operation)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    refused = set()
    for command in WITH_DIRECTORY:
        path = tmp_path / "-".join(command.words)
        arguments = [*command.words, *servers(command), "--dir", str(path)]
        asked.clear()
        told = run(*arguments, *positional(command, tmp_path))
        if not asked:
            assert told.status in {1, 3, 6, 7}, told
            continue
        refused.add(command.words)
        assert_refused(told, 3, *command.words)
        assert f"nothing can be locked in {path}: {os.strerror(code)}" in told.stderr
        assert "on a local disk" in told.stderr
    assert {("clone",), ("snapshot",), ("copy", "table-data"), ("stream", "setup")} <= refused


def snapshot_of(path: Path, names: dict[str, bytes] | None = None) -> dict[str, bytes]:
    """Return the contents of files that the command has not made itself."""
    found = {}
    for one in path.rglob("*"):
        name = str(one.relative_to(path))
        if names is not None and name not in names:
            continue
        mode = one.lstat().st_mode
        if one.name.endswith((".lock", "-wal", "-shm")) or "catalogue" in one.name:
            continue
        found[name] = one.read_bytes() if stat.S_ISREG(mode) else b""
    return found
