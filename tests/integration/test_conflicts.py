"""``--on-conflict``: rows on the target that are not what the source says they were."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Finished, Pgcopydb
from tests.support.servers import SourceTarget

pytestmark = pytest.mark.forked_commands

SCHEMA = """
create table item (
  id integer primary key,
  code text unique,
  name text,
  big text
);
alter table item alter column big set storage external;
create table note (id integer primary key, content text);
alter table note replica identity full;
create table pair (a integer, b integer, primary key (a, b));
insert into item select g, 'code ' || g, 'name', repeat('x', 5000) from generate_series(1, 200) g;
insert into note select g, 'as it was' from generate_series(1, 20) g;
insert into pair select g, g from generate_series(1, 10) g;
"""

# What somebody does on the target, where nobody should do anything.
MEDDLING = """
delete from item where id in (1, 2, 5);
insert into item values (1000, 'code 1000', 'theirs', 'theirs');
insert into item values (1001, 'code 9', 'their code', 'theirs')
  on conflict (code) do update set id = 1001;
update item set id = 333 where id = 3;
update note set content = 'theirs' where id = 7;
delete from pair where a = 4;
insert into pair values (50, 50);
"""

CHANGES = (
    "update item set name = 'changed', big = repeat('y', 6000) where id = 1",
    "delete from item where id in (2, 10)",
    "update item set name = 'changed', big = 'y' where id = 3",
    "update item set name = 'changed' where id = 5",  # leaves out the large value
    "insert into item values (1000, 'code 1000', 'ours', 'ours')",
    """begin; insert into item values (1002, 'code 1002', 'ours', 'ours');
       update note set content = 'changed' where id in (6, 7); commit""",
    "insert into pair values (50, 50), (51, 51)",
    "delete from pair where a in (4, 5)",
    "update item set name = 'all' where id between 20 and 190",
)

# kind, key, and what becomes of it under overwrite; under skip all are skipped.
EXPECTED = [
    ("UPDATE", "id=1", "overwritten"),
    ("DELETE", "id=2", "skipped"),
    ("UPDATE", "id=3", "skipped"),  # its code is still there, under another key
    ("UPDATE", "id=5", "skipped"),
    ("INSERT", "id=1000", "overwritten"),
    ("UPDATE", "id=7, content=as it was", "overwritten"),
    ("INSERT", "a=50, b=50", "skipped"),
    ("DELETE", "a=4, b=4", "skipped"),
]


@dataclass
class Bench:
    """A capture between two databases that were equal when it began."""

    pair: SourceTarget
    directory: Path
    command: Pgcopydb

    def stream(self, *words: str, status: int = 0) -> Finished:
        options = [] if words[0] == "sentinel" else self.pair.options
        finished = self.command("stream", *words, "--dir", str(self.directory), *options)
        assert finished.status == status, finished.stderr
        return finished

    def end(self) -> None:
        self.stream("sentinel", "set", "endpos", "--current", "--source", self.pair.source.conninfo)

    def conflicts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.stream("conflicts", "--json").stdout)
        return found

    def item(self, number: int) -> list[tuple[Any, ...]]:
        return self.pair.target.rows(
            f"select code, name, length(big) from item where id = {number}"
        )


@pytest.fixture
def bench(
    request: pytest.FixtureRequest,
    source_target: SourceTarget,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
) -> Bench:
    made = Bench(source_target, tmp_path / "work", pgcopydb_command)
    made.pair.source.execute(SCHEMA)
    made.pair.target.execute(SCHEMA)
    made.stream("setup", "--create-slot", "--plugin", getattr(request, "param", "pgoutput"))
    return made


def test_a_conflict_is_an_error_unless_told_otherwise(bench: Bench) -> None:
    """Pitfall 25: it is found, and names table, key, transaction and position."""
    bench.pair.target.execute(MEDDLING)
    for change in CHANGES:
        bench.pair.source.execute(change)
    bench.end()
    finished = bench.stream("replay", status=7)
    assert "UPDATE on public.item (id=1) of source transaction" in finished.stderr
    assert "affected 0 rows instead of 1" in finished.stderr
    assert bench.conflicts() == []
    assert "commit" in bench.stream("conflicts").stdout
    bench.stream("cleanup")


def test_a_list_is_settled_when_its_tables_are_the_same_again(bench: Bench) -> None:
    """Only then: its owner's word is not taken for it."""
    source, target = bench.pair.source, bench.pair.target
    target.execute("delete from item where id = 1")
    source.execute("update item set name = 'late' where id = 1")
    bench.end()
    bench.stream("replay", "--on-conflict", "skip", status=7)
    assert "public.item" in bench.stream("conflicts", "--resolved", status=7).stderr
    bench.stream("replay", status=7)
    (row,) = source.rows("select quote_literal(i) from item i where id = 1")
    target.execute(f"insert into item select ({row[0]}::item).*")
    assert "1 conflicts are settled" in bench.stream("conflicts", "--resolved").stdout
    bench.stream("replay")
    assert bench.conflicts() == []


@pytest.mark.parametrize("mode", ["batch", "transaction"])
@pytest.mark.parametrize("policy", ["skip", "overwrite"])
def test_what_is_skipped_or_overwritten_is_listed(bench: Bench, policy: str, mode: str) -> None:
    """Ruling 23: every such row is listed, and the status is not 0."""
    bench.pair.target.execute(MEDDLING)
    for change in CHANGES:
        bench.pair.source.execute(change)
    bench.end()
    finished = bench.stream("replay", "--on-conflict", policy, "--apply-mode", mode, status=7)
    assert "stream conflicts --dir" in finished.stderr

    overwrites = policy == "overwrite"
    found = bench.conflicts()
    assert [(each["kind"], each["key"], each["action"]) for each in found] == [
        (kind, key, action if overwrites else "skipped") for kind, key, action in EXPECTED
    ]
    assert len({each["lsn"] for each in found}) == len(found)
    assert all(each["xid"] > 0 for each in found)
    assert f"{len(found)} changes met a row" in finished.stderr
    assert "id=7, content=as it was" in bench.stream("conflicts").stdout

    assert bench.item(1) == ([("code 1", "changed", 6000)] if overwrites else [])
    assert bench.item(1000) == [
        ("code 1000", "ours", 4) if overwrites else ("code 1000", "theirs", 6)
    ]
    assert bench.item(333) == [("code 3", "name", 5000)]
    assert bench.item(1002) == [("code 1002", "ours", 4)]
    target = bench.pair.target
    assert target.rows("select count(*) from item where name = 'all'") == [(171,)]
    assert target.rows("select content from note where id in (6, 7) order by id") == [
        ("changed",),
        ("changed" if overwrites else "theirs",),
    ]
    assert target.rows("select a from pair where a in (4, 5, 50, 51) order by a") == [(50,), (51,)]

    assert bench.stream("replay", "--on-conflict", policy, status=7).status == 7
    assert bench.conflicts() == found
    bench.stream("cleanup")


@pytest.mark.parametrize(
    ("source_target", "bench"),
    [((15, 18), "wal2json"), ((15, 15), "test_decoding")],
    indirect=True,
)
def test_every_plugin_meets_the_same_conflicts(bench: Bench) -> None:
    bench.pair.target.execute(MEDDLING)
    for change in CHANGES:
        bench.pair.source.execute(change)
    bench.end()
    bench.stream("replay", "--on-conflict", "overwrite", status=7)
    found = bench.conflicts()
    assert [(each["kind"], each["key"], each["action"]) for each in found] == EXPECTED
    bench.stream("cleanup")


def test_many_conflicts_in_a_transaction_of_many_changes(bench: Bench) -> None:
    """Only the rows in conflict are left out, and the order of the others is kept."""
    bench.pair.target.execute(
        "insert into item select g * 100, 'theirs ' || g, 'theirs' from generate_series(20, 60) g"
    )
    bench.pair.source.execute(
        """begin;
        insert into item select g, 'ours ' || g, 'ours' from generate_series(1000, 7000) g;
        update item set name = 'again' where id > 6500;
        delete from item where id between 3001 and 3100;
        truncate pair;
        insert into pair values (1, 1);
        commit"""
    )
    bench.end()
    bench.stream("replay", "--on-conflict", "overwrite", status=7)
    found = bench.conflicts()
    assert [each["key"] for each in found] == [f"id={number * 100}" for number in range(20, 61)]
    assert {each["action"] for each in found} == {"overwritten"}
    rows = "select id, code, name from item order by id"
    assert bench.pair.target.rows(rows) == bench.pair.source.rows(rows)
    assert bench.pair.target.rows("select a, b from pair") == [(1, 1)]
    bench.stream("cleanup")


def test_no_conflict_under_a_policy_is_no_conflict(bench: Bench) -> None:
    for change in CHANGES:
        bench.pair.source.execute(change)
    bench.end()
    bench.stream("replay", "--on-conflict", "skip", "--apply-mode", "transaction")
    assert bench.conflicts() == []
    bench.stream("cleanup")


def test_what_is_no_conflict_is_not_skipped(bench: Bench) -> None:
    """A target that cannot take a row for another reason is no reason to leave it out."""
    bench.pair.target.execute("create index on item ((1 / (id - 1002)))")
    bench.pair.source.execute("insert into item values (1002, 'code 1002')")
    bench.end()
    finished = bench.stream("replay", "--on-conflict", "skip", status=7)
    assert "division by zero" in finished.stderr
    assert bench.conflicts() == []
    bench.stream("cleanup")


def test_sql_text_knows_no_policy(bench: Bench, tmp_path: Path) -> None:
    text = tmp_path / "changes.sql"
    text.write_text("")
    finished = bench.stream("catchup", "--on-conflict", "nonsense", status=1)
    assert "skip" in finished.stderr
    finished = bench.command(
        "stream", "apply", str(text), "--on-conflict", "skip", *bench.pair.options[2:]
    )
    assert finished.status == 1
    assert "stored changes" in finished.stderr
    bench.stream("cleanup")
