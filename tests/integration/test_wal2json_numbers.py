"""wal2json prints NaN and infinities as null: no exit status of 0 may hide that."""

from pathlib import Path

import pytest

from tests.support.clock import wait_for
from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.servers import SourceTarget
from tests.support.steps import Stream

pytestmark = pytest.mark.forked_commands

SCHEMA = "create table reading (id int primary key, value float8, exact numeric(10, 2))"


@pytest.mark.parametrize("source_target", [(15, 15, SCHEMA)], indirect=True)
@pytest.mark.parametrize(("value", "status"), [("null", 0), ("'NaN'", 3), ("'-Infinity'", 3)])
def test_a_number_that_wal2json_cannot_print_is_found_in_the_end(
    source_target: SourceTarget,
    value: str,
    status: int,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
) -> None:
    pair = source_target
    arguments = (*pair.options, "--dir", str(tmp_path / "work"))
    with pgcopydb_background("clone", "--follow", "--plugin", "wal2json", *arguments) as running:
        assert wait_for(lambda: "applying from" in running.stderr or not running.is_running)
        pair.source.execute(f"insert into reading values (1, {value}, 1.5), (2, 0.5, null)")
        done = pgcopydb_command(
            "stream", "sentinel", "set", "endpos", "--current", *arguments[:2], *arguments[-2:]
        )
        assert done.status == 0, done.stderr
        result = running.wait(60)
    assert result.status == status, result.stderr
    assert ("public.reading.value" in result.stderr) == (status != 0)
    replayed = pgcopydb_command("stream", "replay", *arguments, "--resume")
    assert replayed.status == status, replayed.stderr


@pytest.mark.parametrize("source_target", [(15, 15, SCHEMA)], indirect=True)
@pytest.mark.parametrize("plugin", ["wal2json"])
def test_what_was_dropped_on_both_sides_is_not_looked_into(stream: Stream) -> None:
    """A null came in each of the two tables' columns; the drops are told, and no difference."""
    stream.pair.source.execute(SCHEMA.replace("reading", "other"))
    with stream.migrating() as running:
        stream.pair.source.execute(
            "insert into reading values (1, null, null); insert into other values (1, null, null)"
        )
        assert wait_for(lambda: stream.count("other") == 1)
        stream.both("drop table reading; alter table other drop value")
    assert "public.reading was dropped" in running.stderr
