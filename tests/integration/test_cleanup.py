"""Cleaning up and starting over drop all that a run made, and nothing of anybody else."""

import pytest

from tests.support.commands import Finished
from tests.support.litter import litter
from tests.support.servers import Database
from tests.support.steps import Stream

SCHEMA = "create table item (id integer primary key, name text); create table other (id integer)"
KEYED = "drop table other"
MAKE_AGAIN = """
select pg_drop_replication_slot('pgcopydb');
select pg_create_logical_replication_slot('pgcopydb', 'pgoutput');
"""
STANDS = "select confirmed_flush_lsn from pg_replication_slots"


def publications(source: Database) -> list[str]:
    return [name for (name,) in source.rows("select pubname from pg_publication order by 1")]


def slots(source: Database) -> list[str]:
    return [name for (name,) in source.rows("select slot_name from pg_replication_slots")]


def set_up(stream: Stream, *options: str, status: int = 0) -> Finished:
    words = ["stream", "setup", "--create-slot", "--no-identity", "insert-only", *options]
    return stream.run(*words, status=status)


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
