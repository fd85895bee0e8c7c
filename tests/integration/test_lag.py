"""The lag that ``stream sentinel get`` tells, with every plugin, on real servers."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import wait_for
from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.servers import SourceTarget

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
