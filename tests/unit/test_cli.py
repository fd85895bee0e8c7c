"""The command line: help everywhere, clear refusals, and options that arrive as they were given."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from pgcopydb import __version__, errors
from pgcopydb.cli import groups, reference
from pgcopydb.cli.command import OptionGroup, command
from pgcopydb.cli.main import COMMANDS, root
from pgcopydb.cli.render import aligned, clone_summary, duration, sentinel_fields, size
from pgcopydb.cli.types import parse_size
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.options import CopyOptions, FollowOptions, Plugin, WorkOptions
from pgcopydb.model.results import CloneSummary, StepSummary, TableSummary
from pgcopydb.runtime.logs import printable
from tests.support.commands import Finished, Pgcopydb, clean_environment

SOURCE = ("--source", "postgres://joe:s3cret@source.invalid/db")
TARGET = ("--target", "postgres://joe:s3cret@target.invalid/db")
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def walk(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Give the words of every command, groups among them."""
    context = click.Context(group)
    for name in group.list_commands(context):
        yield (*path, name)
        inner = group.get_command(context, name)
        if isinstance(inner, click.Group):
            yield from walk(inner, (*path, name))


EVERY_COMMAND = sorted(walk(root))


def refused(finished: Finished, status: int, *words: str) -> None:
    """Assert that a command ended with one clear line and no traceback."""
    assert finished.status == status, finished.stderr
    assert finished.stdout == ""
    lines = finished.stderr.splitlines()
    assert lines[0].startswith("ERROR: ")
    for word in words:
        assert word in lines[0]
    assert "Traceback" not in finished.stderr
    assert "s3cret" not in finished.stderr


def refused_with_usage(finished: Finished, *words: str) -> None:
    """Assert that a command ended with one clear line and its usage."""
    refused(finished, 1, *words)
    assert finished.stderr.splitlines()[-1].startswith("usage: pgcopydb")


# -- help ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), *EVERY_COMMAND], ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(root, [*words, "--help"], prog_name="pgcopydb")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: {' '.join(['pgcopydb', *words])}")


@pytest.mark.parametrize("words", [(), *EVERY_COMMAND], ids=" ".join)
def test_help_is_the_same_as_the_option(words: tuple[str, ...]) -> None:
    runner = CliRunner()
    by_command = runner.invoke(root, ["help", *words], prog_name="pgcopydb")
    by_option = runner.invoke(root, [*words, "--help"], prog_name="pgcopydb")
    assert by_command.exit_code == 0, by_command.output
    assert by_command.output == by_option.output


def test_the_listed_summaries_open_the_help_texts() -> None:
    for name, entry in COMMANDS.items():
        if name not in {"clone", "fork", "follow"}:
            assert (entry.load().help or "").startswith(entry.summary), name


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_the_program_lists_its_commands(
    arguments: tuple[str, ...], pgcopydb_command: Pgcopydb
) -> None:
    finished = pgcopydb_command(*arguments)
    assert (finished.status, finished.stderr) == (0, "")
    for name in COMMANDS:
        assert f"\n  {name} " in finished.stdout


@pytest.mark.parametrize("arguments", ["version", "--version"])
def test_version(arguments: str, pgcopydb_command: Pgcopydb) -> None:
    finished = pgcopydb_command(arguments)
    assert finished == Finished(0, f"pgcopydb version {__version__}\n", "")


def test_help_imports_only_what_it_needs() -> None:
    script = (
        "import sys; from pgcopydb.cli.main import run; status = run(['--help']);"
        "print(*sys.modules, file=sys.stderr); sys.exit(status)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(finished.stderr.split())
    heavy = {"psycopg", "asyncpg", "rich", "msgspec", "sqlite3", "multiprocessing", "asyncio"}
    assert not loaded & heavy
    assert {name for name in loaded if name.startswith("pgcopydb")} == {
        "pgcopydb",
        "pgcopydb.cli",
        "pgcopydb.cli.command",
        "pgcopydb.cli.main",
        "pgcopydb.cli.verbosity",
        "pgcopydb.errors",
        "pgcopydb.runtime",
        "pgcopydb.runtime.logs",
    }


def test_the_reference_is_current() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == reference.reference(), (
        "run: python -m pgcopydb.cli.reference docs/reference/cli.md"
    )


def test_the_reference_can_be_written_and_checked(tmp_path: Path) -> None:
    page = tmp_path / "cli.md"
    page.write_text("old")
    assert reference.main(["--check", str(page)]) == 1
    assert reference.main([str(page)]) == 0
    assert reference.main(["--check", str(page)]) == 0


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.forked_commands
@pytest.mark.parametrize("words", EVERY_COMMAND, ids=" ".join)
def test_an_unknown_option_is_refused(words: tuple[str, ...], pgcopydb_command: Pgcopydb) -> None:
    refused_with_usage(pgcopydb_command(*words, "--no-such-option"), "--no-such-option")


def test_the_module_is_the_program(tmp_path: Path) -> None:
    """Which works in a checkout that is not installed, too."""
    finished = subprocess.run(
        [sys.executable, "-m", "pgcopydb", "clone", "--no-such-option"],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    told = Finished(finished.returncode, finished.stdout, finished.stderr)
    refused_with_usage(told, "--no-such-option")


NEEDS_SOURCE = [
    ("ping",),
    ("snapshot",),
    ("clone",),
    ("fork",),
    ("follow",),
    ("list", "tables"),
    ("stream", "setup"),
    ("stream", "cleanup"),
    ("stream", "receive"),
    ("stream", "prefetch"),
    ("stream", "catchup"),
    ("stream", "replay"),
    ("stream", "sentinel", "set", "endpos", "--current"),
]
NEEDS_TARGET = [
    ("ping",),
    ("clone",),
    ("follow",),
    ("stream", "setup"),
    ("stream", "cleanup"),
    ("stream", "apply"),
    ("stream", "catchup"),
    ("stream", "replay"),
]


@pytest.mark.parametrize("words", NEEDS_SOURCE, ids=" ".join)
def test_a_missing_source_is_named(words: tuple[str, ...], pgcopydb_command: Pgcopydb) -> None:
    target = () if {"snapshot", "list", "sentinel"} & set(words) else TARGET
    refused_with_usage(
        pgcopydb_command(*words, *target), "source", "--source", "PGCOPYDB_SOURCE_PGURI"
    )


@pytest.mark.parametrize("words", NEEDS_TARGET, ids=" ".join)
def test_a_missing_target_is_named(words: tuple[str, ...], pgcopydb_command: Pgcopydb) -> None:
    source = () if words == ("stream", "apply") else SOURCE
    refused_with_usage(
        pgcopydb_command(*words, *source), "target", "--target", "PGCOPYDB_TARGET_PGURI"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("clnoe",), ("clnoe",)),
        (("stream",), ("command",)),
        (("stream", "sentinel"), ("command",)),
        (("help", "stream", "nothing"), ("nothing",)),
        (("help", "clone", "nothing"), ("nothing",)),
        (("ping", "postgres://joe:s3cret@host/db"), ("joe:****@host",)),
        (("ping", "--source", "", *TARGET), ("no source server",)),
        (("ping", *SOURCE, *TARGET, "--retry-for", "long"), ("--retry-for", "seconds")),
        (("follow", "--endpos", "16-B374D848"), ("--endpos", "16/B374D848")),
        (("follow", "--endpos", "16/"), ("--endpos", "16/B374D848")),
        (("stream", "sentinel", "set", "endpos", "now"), ("16/B374D848",)),
        (("stream", "sentinel", "set", "endpos"), ("--current",)),
        (("stream", "sentinel", "set", "endpos", "0/1", "--current"), ("--current",)),
        (("stream", "sentinel", "setup", "0/1"), ("END",)),
        (("clone", "--plugin", "decoderbufs"), ("pgoutput, test_decoding, wal2json",)),
        (("clone", "--table-jobs", "0"), ("--table-jobs", "above zero")),
        (("clone", "--jobs", "many"), ("--jobs", "above zero")),
        (("clone", "--split-tables-larger-than", "1 XB"), ("--split-tables-larger-than", "1GB")),
        (("clone", "--dir", ""), ("--dir", "empty")),
        (("clone", *SOURCE, *TARGET, "--restart", "--resume"), ("--restart", "--resume")),
        (
            (*("follow", "--publication", "p", "--plugin", "wal2json"), *SOURCE, *TARGET),
            ("--publication", "wal2json", "pgoutput"),
        ),
        (("clone", *SOURCE, *TARGET, "--follow", "--resume", "-C"), ("--not-consistent",)),
        (("clone", *SOURCE, *TARGET, "--quiet", "--debug"), ("--quiet", "--debug")),
        (("stream", "apply", "--target", "-", "changes.sql"), ("--target -",)),
    ],
    ids=" ".join,
)
def test_nonsense_is_refused(
    arguments: tuple[str, ...], words: tuple[str, ...], pgcopydb_command: Pgcopydb
) -> None:
    refused_with_usage(pgcopydb_command(*arguments), *words)


def test_versions_of_extensions_that_are_not_to_be_created(tmp_path: Path) -> None:
    versions = tmp_path / "versions.json"
    versions.write_text("[]")
    with pytest.raises(click.UsageError, match="--requirements contradicts --skip-extensions"):
        built(groups.COPY, "--requirements", str(versions), "--skip-extensions")


OF_A_FOLLOW = [
    ("--slot-name", "mine"),
    ("--plugin", "wal2json"),
    ("--plugin", "pgoutput"),  # what it is anyway, but the user thinks of following
    ("--streaming", "on"),
    ("--on-conflict", "skip"),
    ("--publication", "mine"),
    ("--origin", "mine"),
    ("--create-slot",),
    ("--endpos", "0/1"),
    ("--no-identity", "full"),
    ("--apply-mode", "transaction"),
    ("--max-replaydb-size", "1GB"),
    ("--max-store-size", "1GB"),
]


@pytest.mark.parametrize("words", OF_A_FOLLOW, ids=" ".join)
def test_what_only_a_follow_heeds_is_refused_without_one(words: tuple[str, ...]) -> None:
    with pytest.raises(click.UsageError, match=f"^{words[0]} needs --follow$"):
        built(groups.FOLLOW_IF_ASKED, *words)
    assert built(groups.FOLLOW_IF_ASKED, *words, "--follow") is not None


@pytest.mark.parametrize("name", ["clone", "fork", "snapshot", "check"])
def test_each_command_that_may_follow_refuses_it(name: str, pgcopydb_command: Pgcopydb) -> None:
    finished = pgcopydb_command(name, *SOURCE, *TARGET, "--slot-name", "mine")
    refused_with_usage(finished, "--slot-name needs --follow")


def test_what_scripts_give_or_export_for_all_commands_needs_no_follow() -> None:
    exported = {"PGCOPYDB_OUTPUT_PLUGIN": "wal2json", "PGCOPYDB_STREAMING": "on"}
    for words in ((), ("--wal2json-numeric-as-string",), ("--replay-no-op-updates",)):
        assert built(groups.FOLLOW_IF_ASKED, *words, **exported) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PGCOPYDB_TABLE_JOBS", "many"),
        ("PGCOPYDB_OUTPUT_PLUGIN", "decoderbufs"),
        ("PGCOPYDB_SPLIT_TABLES_LARGER_THAN", "large"),
        ("PGCOPYDB_FAIL_FAST", "perhaps"),
        ("PGCOPYDB_LOG_JSON", "perhaps"),
        ("PGCOPYDB_LOG_FILENAME", "/no/such/folder/log"),
    ],
)
def test_nonsense_in_the_environment_is_a_matter_of_configuration(
    name: str, value: str, pgcopydb_command: Pgcopydb
) -> None:
    finished = pgcopydb_command("clone", *SOURCE, *TARGET, "--follow", env={name: value})
    refused(finished, 2)
    assert name in finished.stderr


def test_errors_are_json_where_the_logs_are(pgcopydb_command: Pgcopydb) -> None:
    finished = pgcopydb_command("clone", env={"PGCOPYDB_LOG_JSON": "1"})
    assert finished.status == 1
    (line,) = finished.stderr.splitlines()
    assert '"message": "no source server: ' in line


# -- how errors end --------------------------------------------------------------------------------


def failing(error: BaseException | str, tmp_path: Path, *arguments: str) -> Finished:
    """Run a command whose use-case raises ``error``."""
    raised = error if isinstance(error, str) else repr(error)
    script = f"""
import sys
from pgcopydb.cli import main
from pgcopydb.cli.command import command
from pgcopydb.errors import *

class Entry:
    summary = ""
    def load(self):
        def fail():
            {raised if isinstance(error, str) else f"raise {raised}"}
        return command("fail")(fail)

main.COMMANDS["fail"] = Entry()
sys.exit(main.run(["fail", *sys.argv[1:]]))
"""
    finished = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return Finished(finished.returncode, finished.stdout, finished.stderr)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("UsageError", 1),
        ("ConfigurationError", 2),
        ("StateError", 3),
        ("SqlError", 4),
        ("ExternalToolError", 5),
        ("SourceError", 6),
        ("TargetError", 7),
        ("ConflictError", 7),
        ("DifferencesFound", 8),
        ("NotComparable", 9),
        ("ProtocolError", 12),
        ("WorkerError", 12),
    ],
)
def test_an_error_ends_in_its_status(name: str, status: int, tmp_path: Path) -> None:
    finished = failing(f"raise {name}('it\\nfailed, password=s3cret', hint='do this')", tmp_path)
    refused(finished, status, "it failed, password=****")
    assert finished.stderr.splitlines()[1:] == ["HINT: do this"]


def test_every_error_class_has_a_status_that_is_documented() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    statuses = {cls.exit_code for cls in classes if issubclass(cls, errors.PgcopydbError)}
    assert statuses <= set(reference.STATUSES)


def test_a_defect_is_called_one(tmp_path: Path) -> None:
    finished = failing("raise ValueError('odd postgres://joe:s3cret@host')", tmp_path)
    refused(finished, 12, "defect", "ValueError: odd postgres://joe:****@host")
    assert "--debug" in finished.stderr


@pytest.mark.parametrize("flag", ["--debug", "--trace", "-d", "-z"])
def test_the_traceback_is_for_those_who_ask(flag: str, tmp_path: Path) -> None:
    finished = failing("raise ValueError('odd, password=s3cret')", tmp_path, flag)
    assert finished.status == 12
    assert "Traceback" in finished.stderr
    assert "s3cret" not in finished.stderr


def test_an_interrupt_ends_in_130(tmp_path: Path) -> None:
    finished = failing("raise KeyboardInterrupt", tmp_path)
    assert (finished.status, finished.stderr) == (130, "ERROR: interrupted\n")


def test_a_stop_on_request_ends_as_the_signal_would(tmp_path: Path) -> None:
    finished = failing(f"raise Interrupted({signal.SIGTERM:d})", tmp_path)
    assert finished.status == 143
    assert "--resume" in finished.stderr


def test_an_end_of_file_inside_is_no_interrupt(tmp_path: Path) -> None:
    refused(failing("raise EOFError", tmp_path), 12, "EOFError")


def test_a_broken_pipe_elsewhere_is_no_silent_end(tmp_path: Path) -> None:
    refused(failing("raise BrokenPipeError(32, 'Broken pipe')", tmp_path), 12, "BrokenPipeError")


def test_a_reader_that_left_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        finished = subprocess.run(
            [sys.executable, "-m", "pgcopydb", "help", "clone"],
            env=clean_environment(tmp_path),
            stdout=nobody,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert (finished.returncode, finished.stderr) == (141, b"")


def test_a_command_without_standard_files_is_no_defect(tmp_path: Path) -> None:
    """As some schedulers start it: clone failed with status 12 before it looked at a server."""
    clone = ["clone", "--source", "host=/nowhere", "--target", "host=/nowhere", "--dir", "work"]
    finished = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-m", "pgcopydb", *clone],
        env=clean_environment(tmp_path),
        cwd=tmp_path,
        check=False,
        timeout=60,
    )
    assert finished.returncode == 2  # neither server is there


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a device of Linux")
def test_a_result_that_cannot_be_written_is_no_success(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        finished = subprocess.run(
            [sys.executable, "-m", "pgcopydb", "version"],
            env=clean_environment(tmp_path),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert finished.returncode == 2
    assert finished.stderr.startswith(b"ERROR: No space left on device")
    assert b"Traceback" not in finished.stderr


# -- options ---------------------------------------------------------------------------------------


def built(group: OptionGroup, *arguments: str, **env: str) -> Any:
    """Return what ``group`` makes of a command line."""
    result: list[object] = []

    def take(**values: object) -> None:
        assert group.name is not None
        result.append(values[group.name])

    runner = CliRunner(env={name: None for name in os.environ if name.startswith("PGCOPYDB")})
    probe = command("probe", group)(take)
    outcome = runner.invoke(probe, arguments, env=env, standalone_mode=False)
    if outcome.exception:
        raise outcome.exception
    return result[0]


def test_defaults_are_those_of_the_model() -> None:
    assert built(groups.COPY) == CopyOptions()
    assert built(groups.FOLLOW) == FollowOptions()
    assert built(groups.FOLLOW_IF_ASKED) is None
    assert built(groups.WORK) == WorkOptions()


def test_the_work_directory() -> None:
    work = built(groups.WORK, "-D", "/x", "--resume", "-C")
    assert work == WorkOptions(directory=Path("/x"), resume=True, not_consistent=True)


def test_servers_come_from_option_or_environment() -> None:
    assert built(groups.SOURCE, "-S", "a", PGCOPYDB_SOURCE_PGURI="b") == Endpoint(Side.SOURCE, "a")
    assert built(groups.SOURCE, PGCOPYDB_SOURCE_PGURI="b") == Endpoint(Side.SOURCE, "b")
    assert built(groups.OPTIONAL_TARGET) is None


@pytest.mark.parametrize(
    ("arguments", "env", "expected"),
    [
        ((), {}, (4, 4)),
        (("--jobs", "8"), {}, (8, 8)),
        (("--jobs", "8", "-J", "2"), {}, (2, 8)),
        (("-I", "3"), {}, (4, 3)),
        ((), {"PGCOPYDB_TABLE_JOBS": "6"}, (6, 4)),
        (("--jobs", "8"), {"PGCOPYDB_TABLE_JOBS": "6"}, (8, 8)),
    ],
)
def test_jobs(arguments: tuple[str, ...], env: dict[str, str], expected: tuple[int, int]) -> None:
    copy = built(groups.COPY, *arguments, **env)
    assert (copy.table_jobs, copy.index_jobs) == expected


def test_other_names_of_options(tmp_path: Path) -> None:
    file = tmp_path / "f.ini"
    file.write_text("[exclude-table]\npublic.left_out\n")
    copy = built(groups.COPY, "--split-at", "1 GB", "--skip-blobs", "--filter", str(file))
    assert copy == CopyOptions(
        split_tables_larger_than=1 << 30, skip_large_objects=True, filters=file
    )


@pytest.mark.parametrize("word", ["1", "on", "true", "yes"])
def test_booleans_of_the_environment(word: str) -> None:
    assert built(groups.COPY, PGCOPYDB_FAIL_FAST=word).fail_fast


def test_an_environment_variable_can_say_no() -> None:
    assert not built(groups.COPY, PGCOPYDB_FAIL_FAST="off").fail_fast


def test_what_was_given_is_told_from_what_was_not() -> None:
    follow = built(groups.FOLLOW, "--slot-name", "pgcopydb", PGCOPYDB_OUTPUT_PLUGIN="wal2json")
    assert follow.plugin is Plugin.WAL2JSON
    assert follow.given == {"slot_name", "plugin"}


def test_positions_are_integers() -> None:
    assert built(groups.FOLLOW, "--endpos", "16/B374D848").endpos == 0x16B374D848
    assert built(groups.FOLLOW, "--endpos", "0/0").endpos is None


def test_numbers_as_text_may_be_asked_for_and_change_nothing() -> None:
    follow = built(groups.FOLLOW, "--wal2json-numeric-as-string")
    assert follow == FollowOptions()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("200 MB", 200 << 20),
        ("10GB", 10 << 30),
        ("1.5kB", 1536),
        ("2tb", 2 << 40),
        ("512 bytes", 512),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1 GiB", "1,5GB", "0", "0.1", "1e3", "nan"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


# -- results ---------------------------------------------------------------------------------------


def test_tables_are_aligned() -> None:
    assert aligned(["name", "rows"], [["a", 1], ["long name", 1000]]).splitlines() == [
        "name       rows",
        "---------  ----",
        "a             1",
        "long name  1000",
    ]
    assert aligned(["name", "rows"], []).splitlines() == ["name  rows", "----  ----"]


def test_a_name_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\n") == "a\\x1b[2Jb\\n"
    assert printable("Möbel 家具") == "Möbel 家具"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12 ms"), (1.25, "1.2 s"), (75, "1 min 15 s"), (3725, "1 h 02 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1536, "1.5 kB"), (490 << 20, "490.0 MB"), (3 << 40, "3.0 TB")]
)
def test_sizes_have_units(count: int, text: str) -> None:
    assert size(count) == text


def test_the_summary_of_a_clone() -> None:
    table = TableSummary(
        schema="public", name="t", bytes=2048, rows=7, copy_seconds=0.5, index_count=1
    )
    summary = CloneSummary(
        tables=(table,),
        steps=(
            StepSummary(name="copy tables", started=0, finished=1.5, concurrency=4, bytes=2048),
        ),
        total_seconds=2.0,
        bytes=2048,
    )
    text = clone_summary(summary)
    assert re.search(r"public +t +7 +2\.0 kB +500 ms +1 +0 ms", text)
    assert re.search(r"copy tables +\d\d:\d\d:00 +1\.5 s +2\.0 kB +4", text)
    assert text.endswith("1 table, 2.0 kB copied in 2.0 s")


def test_one_field_of_the_sentinel_stands_alone() -> None:
    assert sentinel_fields({"endpos": 0x16B374D848}, as_json=False) == "16/B374D848"
    assert sentinel_fields({"apply": True}, as_json=False) == "enabled"


def test_several_fields_of_the_sentinel() -> None:
    values = {"startpos": 1, "apply": False}
    assert sentinel_fields(values, as_json=False) == "startpos  0/1\napply     disabled"
    assert sentinel_fields(values, as_json=True) == '{\n  "startpos": "0/1",\n  "apply": false\n}'


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_program_is_imported_ends_it_quietly(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """As a Ctrl-C right after Enter: it came as a traceback of Python."""
    here = tmp_path / "click.py"
    here.write_text(f"import os, time; os.kill(os.getpid(), {int(number)}); time.sleep(60)")
    finished = subprocess.run(
        [sys.executable, "-m", "pgcopydb", "version"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert finished.returncode == status
    assert finished.stdout + finished.stderr == ""


def test_a_signal_that_is_ignored_stays_so_while_the_program_is_imported(tmp_path: Path) -> None:
    """A shell's script starts what it puts into the background so."""
    (tmp_path / "click.py").write_text(
        "import os; os.kill(os.getpid(), 2); print('going on', flush=True); os._exit(0)"
    )
    finished = subprocess.run(
        ["/bin/sh", "-c", f"trap '' INT; exec {sys.executable} -m pgcopydb version"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert finished.stdout == "going on\n"
