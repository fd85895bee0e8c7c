"""Cleaning up and starting over drop all that a run made, and nothing of anybody else."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pgcopydb.demo import cluster
from tests.integration.test_clone_failures import IN_THE_MIDDLE, MANY_OBJECTS, any_rows
from tests.support.clock import wait_for
from tests.support.commands import Finished, Pgcopydb, PgcopydbBackground
from tests.support.litter import assert_quiet, litter
from tests.support.servers import Database, MakeCluster, SourceTarget
from tests.support.steps import Stream

pytestmark = pytest.mark.forked_commands

SCHEMA = "create table item (id integer primary key, name text); create table other (id integer)"
KEYED = "drop table other"
MAKE_AGAIN = """
select pg_drop_replication_slot('pgcopydb');
select pg_create_logical_replication_slot('pgcopydb', 'pgoutput');
"""
FOLLOWED = "select from pg_replication_origin where roname = 'pgcopydb'"
STANDS = "select confirmed_flush_lsn from pg_replication_slots"


NOWHERE = "host=/nowhere"


def publications(source: Database) -> list[str]:
    return [name for (name,) in source.rows("select pubname from pg_publication order by 1")]


def slots(source: Database) -> list[str]:
    return [name for (name,) in source.rows("select slot_name from pg_replication_slots")]


def set_up(stream: Stream, *options: str, status: int = 0) -> Finished:
    words = ["stream", "setup", "--create-slot", "--no-identity", "insert-only", *options]
    return stream.run(*words, status=status)


@pytest.mark.parametrize(
    "words",
    [
        ("follow",),
        ("stream", "apply"),
        ("stream", "catchup"),
        ("stream", "cleanup"),
        ("stream", "prefetch"),
        ("stream", "replay"),
        ("restore", "schema"),
        ("restore", "roles"),
        ("restore", "parse-list"),
    ],
    ids=" ".join,
)
def test_a_directory_that_is_no_migrations_is_neither_made_nor_changed(
    words: tuple[str, ...], tmp_path: Path, pgcopydb_command: Pgcopydb
) -> None:
    """With a mistyped --dir a command that goes on with something has nothing to do."""
    sides = ["--source", NOWHERE, "--target", NOWHERE]
    if words == ("stream", "apply") or words[0] == "restore":
        sides = sides[2:]
    mistyped = tmp_path / "wrok"
    finished = pgcopydb_command(*words, *sides, "--dir", mistyped)
    assert finished.status == 3, finished.stderr
    assert f"there is no work directory at {mistyped}" in finished.stderr
    assert not mistyped.exists()
    mistyped.mkdir(mode=0o755)
    finished = pgcopydb_command(*words, *sides, "--dir", mistyped)
    assert finished.status == 3, finished.stderr
    assert f"{mistyped} is not the work directory of a migration" in finished.stderr
    assert list(mistyped.iterdir()) == []
    assert mistyped.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    "words",
    [
        ("follow", "--source", NOWHERE, "--target", NOWHERE),
        ("stream", "sentinel", "get"),
        ("stream", "receive", "--to-stdout", "--source", NOWHERE),
        ("clone", "--source", NOWHERE, "--target", NOWHERE),
    ],
    ids=" ".join,
)
def test_a_directory_that_cannot_be_looked_at_is_told(
    words: tuple[str, ...], tmp_path: Path, pgcopydb_command: Pgcopydb
) -> None:
    """Its name is too long here; one without the right to get there meets the same answer."""
    finished = pgcopydb_command(*words, "--dir", tmp_path / ("x" * 300))
    assert finished.status == 3, finished.stderr
    assert "File name too long" in finished.stderr
    assert "--dir" in finished.stderr


def test_a_publication_that_was_never_made_here_stays(stream: Stream) -> None:
    """Without tables that lack a key there is no second publication; the name may be somebody's."""
    stream.both(SCHEMA + ";" + KEYED)
    source = stream.pair.source
    source.execute("create publication pgcopydb_insert for table item")
    set_up(stream)
    set_up(stream, "--restart")
    assert publications(source) == ["pgcopydb", "pgcopydb_insert"]
    stream.run("stream", "cleanup")
    assert publications(source) == ["pgcopydb_insert"]


def test_a_publication_that_was_ready_made_stays(stream: Stream) -> None:
    """An administrator's own, though the second one was made here."""
    stream.both(SCHEMA)
    source = stream.pair.source
    source.execute("create publication pgcopydb for table only item")
    set_up(stream)
    set_up(stream, "--restart")
    assert publications(source) == ["pgcopydb", "pgcopydb_insert"]
    stream.run("stream", "cleanup")
    assert publications(source) == ["pgcopydb"]


def test_a_publication_that_was_made_again_stays(stream: Stream) -> None:
    stream.both(SCHEMA)
    source = stream.pair.source
    set_up(stream)
    source.execute("drop publication pgcopydb; create publication pgcopydb for table item")
    stream.run("stream", "cleanup")
    assert publications(source) == ["pgcopydb"]


def test_a_slot_that_is_made_just_before_is_told_in_any_language(
    make_cluster: MakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    pgcopydb_background: PgcopydbBackground,
    tmp_path: Path,
) -> None:
    """After the check has looked; where the server has no translations it speaks English."""
    english = cluster._environment()
    monkeypatch.setattr(cluster, "_environment", lambda: {**english, "LANGUAGE": "de"})
    server = make_cluster(15, settings={"lc_messages": "C.UTF-8"})
    source, target = (Database(server, name) for name in ("here", "there"))
    for database in (source, target):
        server.create_database(database.name)
    source.execute(SCHEMA)
    words = ["stream", "setup", "--create-slot", "--no-identity", "insert-only"]
    words += ["--dir", str(tmp_path / "work"), *SourceTarget(source, target).options]
    with source.connect() as busy:
        busy.execute("begin; lock table item in share update exclusive mode")
        with pgcopydb_background(*words) as running:
            waits = "select from pg_locks where not granted"
            assert wait_for(lambda: source.rows(waits) != [] or not running.is_running, seconds=30)
            source.execute("select pg_create_physical_replication_slot('pgcopydb')")
            busy.execute("commit")
            finished = running.wait(60)
    assert finished.status == 3, finished.stderr
    assert "choose another with --slot-name" in finished.stderr
    assert "SELECT pg_catalog.pg_drop_replication_slot('pgcopydb');" in finished.stderr
    assert slots(source) == ["pgcopydb"]
    assert publications(source) == []


@pytest.mark.parametrize("stored", [False, True])
def test_a_slot_that_was_made_again_stays(stream: Stream, stored: bool) -> None:
    """Somebody else's, by the name of the one that was made here."""
    stream.both(SCHEMA)
    source = stream.pair.source
    set_up(stream)
    if stored:
        stream.set_endpos()
        stream.run("stream", "prefetch")
    source.execute(MAKE_AGAIN)
    cleaned = stream.run("stream", "cleanup")
    assert 'slot "pgcopydb" is left' in cleaned.stderr
    assert "SELECT pg_catalog.pg_drop_replication_slot('pgcopydb')" in cleaned.stderr
    assert slots(source) == ["pgcopydb"]
    assert publications(source) == litter(stream.pair.target) == []


def test_a_slot_that_was_made_again_stays_when_the_run_starts_over(stream: Stream) -> None:
    stream.both(SCHEMA)
    source = stream.pair.source
    set_up(stream)
    source.execute(MAKE_AGAIN)
    refused = set_up(stream, "--restart", status=3)
    assert 'slot "pgcopydb" is left' in refused.stderr
    assert slots(source) == ["pgcopydb"]
    stream.run("stream", "cleanup")
    assert slots(source) == ["pgcopydb"]
    assert publications(source) == litter(stream.pair.target) == []


@pytest.mark.parametrize("restarted", [False, True])
def test_a_slot_that_was_confirmed_to_the_text_pipeline_goes(
    stream: Stream, restarted: bool
) -> None:
    """What is told to the slot of what the target has is known too, and after a new start."""
    stream.both(SCHEMA)
    source = stream.pair.source
    set_up(stream)
    began = source.rows(STANDS)
    for number in range(2):
        source.execute(f"insert into item values ({number}, 'piped')")
        lines = stream.run("stream", "receive", "--to-stdout", "--endpos", stream.source_end())
        script = stream.command("stream", "transform", "-", "-", stdin=lines.stdout.encode())
        apply = ["stream", "apply", "-", *stream.pair.options[2:]]
        applied = stream.command(*apply, stdin=script.stdout.encode())
        assert applied.status == 0, applied.stderr
    assert stream.count("item") == 2
    assert source.rows(STANDS) > began
    if restarted:
        set_up(stream, "--restart")
        assert source.rows(STANDS) > began
    stream.run("stream", "cleanup")
    assert litter(source) == []


THEIRS = """
create publication {0}; create schema pgcopydb_{0};
create function pgcopydb_{0}() returns event_trigger language plpgsql as 'begin end';
create event trigger {0} on sql_drop execute function pgcopydb_{0}();
"""
STEPS = ("schema before the data", "rows", "foreign keys", "comments", "follow")


@pytest.fixture
def theirs(source_target: SourceTarget) -> Iterator[None]:
    """Others' objects on both sides, of every kind that a migration makes."""
    source, target = source_target.source, source_target.target
    source.execute(THEIRS.format("their_source"))
    source.execute("select pg_create_logical_replication_slot('theirs', 'pgoutput')")
    target.execute(THEIRS.format("their_target"))
    target.execute("select pg_replication_origin_create('theirs')")
    yield
    source.execute("select pg_drop_replication_slot('theirs')")
    target.execute("select pg_replication_origin_drop('theirs')")


def abort(stream: Stream, step: str) -> None:
    """Kill an online migration and all its processes when ``step`` is under way."""
    words = ["clone", "--follow", "--no-identity", "insert-only"]
    target = stream.pair.target
    with target.connect() as watching, stream.start(*words) as running:
        shown = partial(any_rows, watching, IN_THE_MIDDLE.get(step, FOLLOWED))
        assert wait_for(lambda: shown() or not running.is_running, seconds=60), running.stderr
        assert running.is_running, running.stderr
        running.kill_all()
        running.wait(5)


@pytest.mark.usefixtures("theirs")
@pytest.mark.parametrize("source_target", [(16, 18, MANY_OBJECTS)], indirect=True)
@pytest.mark.parametrize("step", STEPS)
def test_what_a_killed_migration_left_goes_and_nothing_else(stream: Stream, step: str) -> None:
    source, target = stream.pair.source, stream.pair.target
    before = litter(source), litter(target)
    abort(stream, step)
    assert set(litter(source)) > set(before[0])
    assert set(litter(target)) > set(before[1])
    stream.run("stream", "cleanup")
    assert_quiet(stream.pair)
    assert litter(source) == before[0]
    copied = [one for one in litter(target) if one not in before[1]]
    assert set(copied) <= set(before[0]), "what the user has on the source may be on the target"
    assert set(litter(target)) >= set(before[1])
    assert "nothing was left" in stream.run("stream", "cleanup").stderr
    assert litter(source) == before[0]
