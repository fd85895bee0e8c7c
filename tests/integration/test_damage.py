"""Stored changes that are not what was stored end a command with a reason, and are not applied.

Every kind of damage of every file: ``tests/unit/test_damage.py``.
"""

from pathlib import Path

from tests.support.commands import Pgcopydb
from tests.support.servers import SourceTarget
from tests.support.steps import Stream


def test_a_changed_byte_of_a_stored_row_is_noticed(stream: Stream) -> None:
    stream.both("create table account (id integer primary key, balance text)")
    stream.set_up()
    stream.pair.source.execute("insert into account values (1, 'balance: 1000')")
    stream.set_endpos()
    stream.run("stream", "prefetch")
    (segment,) = (stream.directory / "cdc").glob("*.db")
    stored = segment.read_bytes()
    assert stored.count(b"balance: 1000") == 1
    segment.write_bytes(stored.replace(b"balance: 1000", b"balance: 9000"))
    refused = stream.run("stream", "catchup", status=3)
    assert f"ERROR: the stored changes in {segment} are damaged: a checksum" in refused.stderr
    assert stream.count("account") == 0
    segment.write_bytes(stored)
    stream.run("stream", "catchup")
    stream.assert_equal()


def test_a_changed_letter_of_the_dumped_schema_is_noticed(
    source_target: SourceTarget, tmp_path: Path, pgcopydb_command: Pgcopydb
) -> None:
    """Its definitions are plain text, and pg_restore makes of them whatever they say."""
    source_target.source.execute("create table account (id integer, owed numeric check (owed > 0))")
    options = ["--dir", str(tmp_path / "work"), *source_target.options]
    assert pgcopydb_command("dump", "schema", *options).status == 0
    archive = tmp_path / "work" / "schema" / "schema.dump"
    dumped = archive.read_bytes()
    assert dumped.count(b"owed > ") == 1
    archive.write_bytes(dumped.replace(b"owed > ", b"owed < "))
    refused = pgcopydb_command("restore", "schema", *options)
    assert refused.status == 3, refused.stderr
    assert f"ERROR: {archive} is damaged: its checksum is wrong" in refused.stderr
    assert source_target.target.rows("select from pg_class where relname = 'account'") == []
    archive.write_bytes(dumped)
    assert pgcopydb_command("restore", "schema", *options).status == 0
