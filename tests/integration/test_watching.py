"""A base copy as those see it who wait for it: in its terminal, from another shell, in its log."""

import json
import re
import time
from pathlib import Path

import pytest

from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.servers import Database, MakeDatabase, Servers, SourceTarget
from tests.support.terminal import run_in_terminal

# Each row takes 50 ms when the index is built, which is long enough to be looked at; who is to look
# for longer holds the advisory lock.
SCHEMA = """
create function public.slow(i int) returns int language plpgsql immutable
  as $$ begin perform pg_sleep(0.05), pg_advisory_xact_lock_shared(50); return i; end $$;
create schema "Odd\ns";
create table "Odd\ns"."t""x" (id int primary key, v text);
insert into "Odd\ns"."t""x" select i, repeat('x', 100) from generate_series(1, 80) i;
create index by_slow on "Odd\ns"."t""x" (public.slow(id));
create table child (id int primary key, t int references "Odd\ns"."t""x");
insert into child select i, i from generate_series(1, 10) i;
"""

CLONE = ("clone", "--skip-analyze")  # which would call the function too


@pytest.fixture
def sides(servers: Servers, make_database: MakeDatabase) -> SourceTarget:
    source = make_database(servers.get(16), SCHEMA)
    return SourceTarget(source, make_database(servers.get(16, "target")))


def _until_built(target: Database) -> None:
    """Wait until the slow index is being built."""
    for _ in range(600):
        if target.rows("select from pg_stat_progress_create_index"):
            return
        time.sleep(0.05)
    pytest.fail("the index was never built")


def test_a_copy_seen_from_another_shell(
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
    sides: SourceTarget,
    tmp_path: Path,
) -> None:
    work = ("--dir", str(tmp_path / "work"))
    target = ("--target", sides.target.conninfo)
    with (
        sides.target.connect() as holding,
        pgcopydb_background(*CLONE, *sides.options, *work) as clone,
    ):
        holding.execute("select pg_advisory_lock(50)")
        _until_built(sides.target)
        seen = pgcopydb_command("list", "progress", *work, *target, "--json")
        assert clone.is_running, "else nothing was seen of it"
        text = pgcopydb_command("list", "progress", *work)
        holding.execute("select pg_advisory_unlock(50)")
        finished = clone.wait()
    assert finished.status == 0, finished.stderr
    progress = json.loads(seen.stdout)
    assert (progress["command"], progress["state"]) == ("clone", "running")
    assert progress["tables"]["total"] == 2
    assert progress["rows"] >= 80
    builds = [one for one in progress["under_way"] if one["name"] == 't"x']
    assert builds[0]["schema"] == "Odd\ns"
    assert builds[0]["phase"].startswith("building index")
    assert re.search(r"parts of tables +[12] of 2\n", text.stdout)
    assert 'build      Odd\\ns.t"x ' in text.stdout

    after = json.loads(pgcopydb_command("list", "progress", *work, "--json").stdout)
    assert (after["state"], after["step"], after["under_way"]) == ("done", None, [])
    assert after["indexes"] == {"done": 3, "total": 3}
    assert after["foreign_keys"] == {"done": 1, "total": 1}
    summary = json.loads(pgcopydb_command("list", "progress", *work, "--summary", "--json").stdout)
    assert {
        (table["name"], table["rows"], table["index_count"]) for table in summary["tables"]
    } == {
        ('t"x', 80, 2),
        ("child", 10, 1),
    }
    steps = {step["name"]: step for step in summary["steps"]}
    assert steps["copy table data"]["bytes"] == summary["bytes"]
    assert steps["indexes, constraints, vacuum"]["seconds"] > 1
    as_text = pgcopydb_command("list", "progress", *work, "--summary").stdout
    assert "copy table data" in as_text
    # the summary that clone printed, but for its total time
    assert as_text.splitlines()[:-1] == finished.stdout.splitlines()[:-1]


def test_a_copy_in_a_terminal(sides: SourceTarget, tmp_path: Path) -> None:
    shown = run_in_terminal((*CLONE, *sides.options, "--dir", str(tmp_path / "work")), tmp_path)
    assert shown.status == 0, shown.screen
    assert "  90 rows  " in shown.written
    assert "2 of 2 tables  " in shown.written
    assert 'build  Odd\\ns.t"x' in shown.written
    assert "building index" in shown.written
    assert not any(" of 2 tables  " in line for line in shown.screen), shown.screen
    assert shown.screen[-2].startswith("2 tables, "), "the summary is the end"


def test_a_copy_interrupted_in_a_terminal(sides: SourceTarget, tmp_path: Path) -> None:
    command = [*CLONE, *sides.options, "--dir", str(tmp_path / "work")]
    shown = run_in_terminal(command, tmp_path, interrupt_when=lambda text: "build  Odd" in text)
    assert shown.status == 130
    lines = [line for line in shown.screen if line]
    assert lines[-2].startswith("ERROR: ")
    assert lines[-1].startswith("HINT: ")
    assert not any(" of 2 tables  " in line for line in lines)


def test_the_line_of_the_follow_takes_over(sides: SourceTarget, tmp_path: Path) -> None:
    command = [*CLONE, "--follow", *sides.options, "--dir", str(tmp_path / "work")]
    shown = run_in_terminal(command, tmp_path, interrupt_when=lambda text: "changes/s" in text)
    assert shown.status == 130
    copying, _, following = shown.written.partition("applying what changed since")
    assert 'build  Odd\\ns.t"x' in copying
    assert " of 2 tables  " not in following.partition("changes/s")[2], "one of them draws"
    assert [line for line in shown.screen if line][-2].startswith("ERROR: ")
    assert not any("changes/s" in line for line in shown.screen)


def test_a_directory_in_which_nothing_was_copied(
    pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    finished = pgcopydb_command("list", "progress", "--dir", tmp_path / "none")
    assert finished.status == 3
    assert "there is no work directory" in finished.stderr
