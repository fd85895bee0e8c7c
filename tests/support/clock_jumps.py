"""A migration whose machine's clock jumps by days and by the hour of a time zone, while it goes on.

Only the wall clock does: what ``adjtime`` or an administrator changes. Intervals are measured by
the monotonic clock, which nobody can set.
"""

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path

from pgcopydb.runtime.logs import TIME_FORMAT_VARIABLE
from tests.support.clock import wait_for
from tests.support.requirements import missing
from tests.support.steps import Stream

SCHEMA = "create table item (id integer primary key, name text)"

DAY = 86400

JUMPS = (DAY, -DAY, 3600, 20 * 365 * DAY, 0)
"""Seconds by which the clock is off, one after the other."""

_SITE = """
import os, time
_time, _time_ns, _path = time.time, time.time_ns, os.environ["CLOCK_IS_OFF_BY"]
def _seconds():
    with open(_path) as file:
        return int(file.read() or 0)
time.time = lambda: _time() + _seconds()
time.time_ns = lambda: _time_ns() + _seconds() * 10**9
"""


def python_clock(directory: Path) -> tuple[Mapping[str, str], Callable[[int], None]]:
    """Return the environment of a command whose Python reads a clock, and what sets that."""
    place = directory / "clock"
    place.mkdir()
    (place / "sitecustomize.py").write_text(_SITE)
    return _kept_in(place / "off", {"PYTHONPATH": str(place)})


def library_clock(directory: Path) -> tuple[Mapping[str, str], Callable[[int], None]]:
    """Return the same for all libraries of a command's processes; needs a C compiler.

    Debian's libfaketime does not do: it makes Python's ``time.sleep`` fail.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        missing("there is no C compiler")
    code, library = Path(__file__).with_name("clock_shift.c"), directory / "clock_shift.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, code, "-ldl"], check=True)
    return _kept_in(directory / "off", {"LD_PRELOAD": str(library)})


def _kept_in(
    path: Path, environment: Mapping[str, str]
) -> tuple[Mapping[str, str], Callable[[int], None]]:
    def jump(seconds: int) -> None:
        new = path.with_suffix(".new")
        new.write_text(str(seconds))
        new.rename(path)

    jump(0)
    return {**environment, "CLOCK_IS_OFF_BY": str(path)}, jump


def follow_while_the_clock_jumps(
    stream: Stream, environment: Mapping[str, str], jump: Callable[[int], None]
) -> None:
    """Follow, with a lost connection after each jump; assert that nothing is lost and none waits.

    A connection that is lost is waited for in seconds, whatever the clock says.
    """
    source, target = stream.pair.source, stream.pair.target
    stream.both(SCHEMA)
    stream.set_up()
    options = ["--dir", str(stream.directory), *stream.pair.options]
    then = date.today() + timedelta(seconds=max(JUMPS))
    shown = {TIME_FORMAT_VARIABLE: "year %Y"}
    with stream.background("stream", "replay", *options, env={**environment, **shown}) as running:
        assert wait_for(lambda: "applying from" in running.stderr), running.stderr
        for number, seconds in enumerate(JUMPS):
            jump(seconds)
            source.execute(f"insert into item values ({number}, 'before')")
            for database, purpose in ((source, "receive"), (target, "apply")):
                database.rows(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    f" where application_name like 'pgcopydb {purpose}%'"
                )
            source.execute(f"update item set name = 'after' where id = {number}")
            began = time.monotonic()
            done = f"select from item where id = {number} and name = 'after'"
            assert wait_for(lambda: target.rows(done) != [], seconds=60), running.stderr  # noqa: B023
            assert time.monotonic() - began < 30
        jump(-DAY)
        stream.set_endpos()
        finished = running.wait(60)
    assert finished.status == 0, finished.stderr
    assert f"year {then.year}" in finished.stderr  # it did jump
    stream.assert_equal()
