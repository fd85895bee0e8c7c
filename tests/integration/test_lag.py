"""The lag that ``stream sentinel get`` tells, with every plugin, on real servers."""

import json
from pathlib import Path
from typing import Any

import pytest

from pgcopydb.lsn import parse_lsn
from tests.support.clock import wait_for
from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.servers import Database, SourceTarget
from tests.support.steps import Stream

pytestmark = pytest.mark.forked_commands

SCHEMA = "create table item (id integer primary key, name text)"


@pytest.mark.parametrize(
    ("source_target", "plugin"),
    [
        ((16, 18, SCHEMA), "pgoutput"),
        ((15, 18, SCHEMA), "wal2json"),
        ((15, 15, SCHEMA), "test_decoding"),
    ],
    indirect=["source_target"],
)
def test_lag_grows_while_nothing_is_applied_and_ends_with_the_drain(
    source_target: SourceTarget,
    plugin: str,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
) -> None:
    pair, directory = source_target, tmp_path / "work"
    pair.target.execute(SCHEMA)

    def run(*words: str) -> str:
        finished = pgcopydb_command("stream", *words, "--dir", str(directory))
        assert finished.status == 0, finished.stderr
        return finished.stdout

    def progress() -> dict[str, Any]:
        told: dict[str, Any] = json.loads(run("sentinel", "get", "--json"))
        return told

    run("setup", "--create-slot", "--plugin", plugin, *pair.options)
    assert progress()["lag_seconds"] == 0
    pair.source.execute("insert into item select g, 'x' from generate_series(1, 100) g")
    run("sentinel", "set", "endpos", "--current", "--source", pair.source.conninfo)
    run("prefetch", *pair.options)
    first = progress()
    assert first["lag_bytes"] > 0
    assert first["changes"] == 0
    assert 0 < first["lag_seconds"] < 60
    assert progress()["lag_seconds"] > first["lag_seconds"]

    run("sentinel", "set", "endpos", "0/0")
    with pgcopydb_background("stream", "replay", "--dir", str(directory), *pair.options) as running:
        assert wait_for(lambda: progress()["lag_seconds"] == 0 or not running.is_running)
        assert wait_for(lambda: progress()["lag_bytes"] == 0 or not running.is_running)
        assert running.is_running, running.stderr
        assert progress()["changes"] >= 100
        pair.source.execute("update item set name = 'y'")
        assert wait_for(lambda: progress()["changes"] >= 200 or not running.is_running)
        run("sentinel", "set", "endpos", "--current", "--source", pair.source.conninfo)
        finished = running.wait(60)
    assert finished.status == 0, finished.stderr
    last = progress()
    assert (last["lag_bytes"], last["lag_seconds"]) == (0, 0)
    run("cleanup", *pair.options)


@pytest.mark.parametrize("source_target", [(16, 18, SCHEMA)], indirect=True)
def test_the_source_keeps_little_log_while_nothing_is_applied(stream: Stream) -> None:
    """What is stored here need not be kept there, whatever keeps the target from taking it."""
    source, target = stream.pair.source, stream.pair.target
    target.execute(SCHEMA)
    stream.set_up()
    with target.connect() as other, stream.start("stream", "replay") as running:
        other.execute("begin; lock table item in share mode")
        begin = parse_lsn(stream.source_end())
        for _ in range(20):
            source.execute(
                "insert into item select coalesce(max(id), 0) + 1, repeat('x', 3 << 20) from item"
            )
            source.execute("update item set name = 'y' where length(name) > 1")
            source.execute("select pg_logical_emit_message(true, 'app', repeat('x', 4 << 20))")
        written = parse_lsn(stream.source_end()) - begin
        assert written > 80 << 20
        assert wait_for(lambda: kept(source) < written / 4, seconds=60), running.stderr
        assert stream.count("item") == 0
        told = "target: waiting for table public.item, which session"
        assert wait_for(lambda: told in running.stderr), running.stderr
        assert f"pg_terminate_backend({other.info.backend_pid})" in running.stderr
        other.execute("commit")
        stream.set_endpos()
        finished = running.wait(60)
    assert finished.status == 0, finished.stderr
    stream.assert_equal()


def kept(source: Database) -> int:
    """Return how many bytes of its log a source keeps for the slot, after a checkpoint."""
    source.execute("checkpoint")
    ((size,),) = source.rows("select pg_current_wal_lsn() - restart_lsn from pg_replication_slots")
    return int(size)
