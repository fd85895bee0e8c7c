"""Stored changes that are not what was stored end a command with a reason, and are not applied.

Every kind of damage of every file: ``tests/unit/test_damage.py``.
"""

from pathlib import Path

from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.servers import SourceTarget
from tests.support.steps import Stream


def test_a_changed_byte_of_a_stored_row_is_noticed(
    source_target: SourceTarget,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
) -> None:
    stream = Stream(source_target, tmp_path / "work", pgcopydb_command, pgcopydb_background)
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
