"""Logs: formats, destinations, and above all that no secret gets into them."""

import json
import logging
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgcopydb.errors import ConfigurationError
from pgcopydb.runtime import logs
from pgcopydb.runtime.logs import LogOptions, redact

log = logging.getLogger("pgcopydb.test")


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("pgcopydb")
    handlers, levels, options = list(root.handlers), (root.level, own.level), logs.current()
    yield
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(levels[0])
    own.setLevel(levels[1])
    logs._current = options


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgres://joe:s3cret@host/db", "postgres://joe:****@host/db"),
        ("postgresql://joe:s3cret@h1:1,h2:2/db", "postgresql://joe:****@h1:1,h2:2/db"),
        ("postgres://:s3cret@/db", "postgres://:****@/db"),
        ("postgres://joe:s3c@ret@host/db", "postgres://joe:****@host/db"),
        ("postgres://joe:s3c:/ret@host/db", "postgres://joe:****@host/db"),
        ("POSTGRES://joe:s3cret@host", "POSTGRES://joe:****@host"),
        (
            "postgres://joe@host/db?password=s3cret&sslmode=require",
            "postgres://joe@host/db?password=****",
        ),
        ("host=h password=s3cret dbname=d", "host=h password=**** dbname=d"),
        ("host=h password = 's3 \\' cret' dbname=d", "host=h password = **** dbname=d"),
        ("host=h password='s3 cret", "host=h password=****"),
        ("password=s3\\ cret dbname=d", "password=**** dbname=d"),
        ("password=s3\"cret's dbname=d", "password=**** dbname=d"),
        ("password=s3&cret dbname=d", "password=**** dbname=d"),
        ("sslpassword=s3cret", "sslpassword=****"),
        ("PGPASSWORD=s3cret psql", "PGPASSWORD=**** psql"),
        ("{'password': 's3cret', 'host': 'h'}", "{'password': '****', 'host': 'h'}"),
        ('{"password": "s3\\"cret"}', "{\"password\": '****'}"),
        ("ALTER ROLE joe PASSWORD 's3''cret' LOGIN", "ALTER ROLE joe PASSWORD '****' LOGIN"),
        ("oauth_client_secret=s3cret", "oauth_client_secret=****"),
    ],
)
def test_secrets_are_replaced(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "fe_sendauth: no password supplied",
        'password authentication failed for user "joe"',
        "postgres://joe@host:5432/db",
        "host=h dbname=d user=joe passfile=/x",
        "clone of public.accounts took 1.2 s",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@given(secret=st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=4))
def test_a_quoted_keyword_password_never_survives(secret: str) -> None:
    quoted = secret.replace("\\", "\\\\").replace("'", "\\'")
    assert redact(f"password='{quoted}' dbname=d") == "password=**** dbname=d"


@given(secret=st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=4))
def test_a_password_in_a_uri_never_survives(secret: str) -> None:
    assert redact(f"at postgres://joe:{secret}@host/db x") == "at postgres://joe:****@host/db x"


def test_records_are_redacted_wherever_the_secret_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file, json_file = tmp_path / "text.log", tmp_path / "json.log"
    logs.configure(LogOptions(level=logging.DEBUG, file=file, json_file=json_file))
    try:
        raise RuntimeError("cannot connect to postgres://joe:s3cret@host")
    except RuntimeError:
        log.exception("tried %s", "password=s3cret", extra={"conninfo": "password='s3cret'"})
    everything = capsys.readouterr().err + file.read_text() + json_file.read_text()
    assert "s3cret" not in everything
    assert everything.count("tried password=****") == 3
    assert everything.count("Traceback") == 3


def test_text_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogOptions())
    log.info("copied %s", "public.t")
    log.debug("not shown")
    line = capsys.readouterr().err
    assert re.fullmatch(
        rf"\d\d:\d\d:\d\d\.\d{{3}} {os.getpid()} INFO    copied public\.t\n", line
    ), line


def test_a_time_format_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(logs.from_environment({"PGCOPYDB_LOG_TIME_FORMAT": "<%Y-%m-%d>"}))
    log.warning("hello")
    assert re.match(r"<\d{4}-\d\d-\d\d>\.\d{3} ", capsys.readouterr().err)


def test_a_message_cannot_fake_another_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogOptions())
    log.info("one\n10:00:00.000 1 ERROR two")
    assert capsys.readouterr().err.splitlines()[1].startswith("  ")


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        (logging.ERROR, ["ERROR"]),
        (logging.INFO, ["INFO", "ERROR"]),
        (logs.NOTICE, ["NOTICE", "INFO", "ERROR"]),
        (logging.DEBUG, ["DEBUG", "NOTICE", "INFO", "ERROR"]),
        (logs.TRACE, ["TRACE", "DEBUG", "NOTICE", "INFO", "ERROR"]),
    ],
)
def test_levels(level: int, shown: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogOptions(level=level))
    for number in (logs.TRACE, logging.DEBUG, logs.NOTICE, logging.INFO, logging.ERROR):
        log.log(number, "x")
    assert [line.split()[2] for line in capsys.readouterr().err.splitlines()] == shown


def test_libraries_speak_for_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogOptions(level=logs.TRACE))
    logging.getLogger("asyncio").debug("internal")
    logging.getLogger("psycopg").warning("shown")
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == ["shown"]


def test_what_the_driver_leaves_undone_is_for_those_who_look_closer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(LogOptions())
    logging.getLogger("psycopg").warning("error ignored in rollback")
    logging.getLogger("asyncio").warning("shown")
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == ["shown"]


def test_json_lines_carry_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(logs.from_environment({"PGCOPYDB_LOG_JSON": "on"}))
    log.info("copied", extra={"table": "public.t", "rows": 3})
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert record["message"] == "copied"
    assert record["level"] == "INFO"
    assert record["pid"] == os.getpid()
    assert (record["table"], record["rows"]) == ("public.t", 3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4}", record["timestamp"])


def test_files_are_private_and_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "log"
    for _ in range(2):
        logs.configure(LogOptions(file=file))
        log.info("once more")
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(file.read_text().splitlines()) == 2


def test_a_log_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no/such/log"):
        logs.configure(LogOptions(file=tmp_path / "no" / "such" / "log"))


def test_a_bad_boolean_is_named() -> None:
    with pytest.raises(ConfigurationError, match='PGCOPYDB_LOG_JSON is "maybe"'):
        logs.from_environment({"PGCOPYDB_LOG_JSON": "maybe"})


def test_arguments_that_do_not_fit_stop_nothing() -> None:
    record = log.makeRecord(log.name, logging.INFO, "file.py", 7, "two: %s %s", ("one",), None)
    assert logs.redacted(record).getMessage() == (
        "two: %s %s (at file.py:7, with unfitting arguments)"
    )


def test_options_travel_to_workers(tmp_path: Path) -> None:
    options = LogOptions(level=logs.NOTICE, json=True, file=tmp_path / "log")
    logs.configure(options)
    assert pickle.loads(pickle.dumps(logs.current())) == options


def test_colours_are_for_terminals_only() -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    assert logs.wants_colour(terminal, {})  # type: ignore[arg-type] # only isatty is asked
    assert not logs.wants_colour(terminal, {"NO_COLOR": "1"})  # type: ignore[arg-type] # as above
    assert not logs.wants_colour(terminal, {"TERM": "dumb"})  # type: ignore[arg-type] # as above
    assert not logs.wants_colour(None, {})


_WRITER = """
import logging, sys
from pgcopydb.runtime import logs
logs.configure(logs.LogOptions())
for number in range(300):
    logging.getLogger("pgcopydb").info("%s %d %s", sys.argv[1], number, sys.argv[1] * 200)
"""


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    file = tmp_path / "stderr"
    with file.open("wb") as stream:
        writers = [
            subprocess.Popen([sys.executable, "-c", _WRITER, name], stderr=stream) for name in "abc"
        ]
        assert [writer.wait() for writer in writers] == [0, 0, 0]
    lines = file.read_text().splitlines()
    assert len(lines) == 900
    assert all(re.search(r" INFO    (\w) \d+ \1{200}$", line) for line in lines)


def test_a_name_in_a_message_does_not_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogOptions())
    hostile = "a\x1b[2Jb\rc\u202ed\nERROR: forged"
    logging.getLogger("pgcopydb.test").warning("table %s", hostile, extra={"hint": hostile})
    written = capsys.readouterr().err
    assert "\x1b[2J" not in written
    assert "\r" not in written
    assert "\u202e" not in written
    assert r"a\x1b[2Jb\rc\u202ed" in written
    assert "\nERROR: forged" not in written, "a second line is indented"
