"""``stream prune``: stored changes go only when the target has them on its disk."""

from pathlib import Path

from tests.support.commands import Pgcopydb
from tests.support.equality import differing_tables
from tests.support.servers import SourceTarget

SCHEMA = "create table item (id integer primary key, name text)"


def test_only_applied_changes_are_pruned(
    source_target: SourceTarget, tmp_path: Path, pgcopydb_command: Pgcopydb
) -> None:
    pair, directory = source_target, tmp_path / "work"
    pair.source.execute(SCHEMA)
    pair.target.execute(SCHEMA)

    def run(*words: str, target: bool = True) -> str:
        options = pair.options if target else ["--source", pair.source.conninfo]
        if words[0] == "prune":
            options = options[2:]
        finished = pgcopydb_command("stream", *words, "--dir", str(directory), *options)
        assert finished.status == 0, finished.stderr
        return finished.stdout

    run("setup", "--create-slot")
    for number in range(6):
        pair.source.execute(
            f"insert into item select g, repeat(md5(g::text), 30)"
            f" from generate_series({number * 100}, {number * 100 + 99}) g"
        )
    run("sentinel", "set", "endpos", "--current", target=False)
    run("prefetch", "--max-replaydb-size", "8kB")
    files = sorted((directory / "cdc").glob("*.db"))
    assert len(files) > 2

    for options in (("--dry-run",), ()):
        for target in (True, False):
            assert run("prune", *options, target=target).startswith("0 files with 0 B")
    assert sorted((directory / "cdc").glob("*.db")) == files

    run("catchup")
    before = sorted(path.name for path in (directory / "cdc").glob("*.db"))
    told = run("prune", "--dry-run", target=False)
    assert "would be removed, 1 file " in told
    assert sorted(path.name for path in (directory / "cdc").glob("*.db")) == before
    told = run("prune")
    removed = [line.split()[0] for line in told.splitlines()[:-1]]
    assert removed == before[:-1]
    assert sorted(path.name for path in (directory / "cdc").iterdir()) == before[-1:]
    assert run("prune").startswith("0 files with 0 B removed, 1 file ")

    pair.source.execute("update item set name = 'later'")
    run("sentinel", "set", "endpos", "--current", target=False)
    run("replay")
    assert differing_tables(pair.source, pair.target) == []
    run("cleanup")
