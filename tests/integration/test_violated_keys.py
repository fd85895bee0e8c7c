"""Rows of the source that violate a foreign key: all else is done, and the status says so."""

from pathlib import Path

import pytest

from tests.support.clock import wait_for
from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.equality import differing_tables, sequence_places
from tests.support.servers import SourceTarget

VIOLATED = """
create table a (id integer primary key); create table b (id serial primary key, a integer);
alter table b add constraint b_a_fkey foreign key (a) references a;
insert into a values (1);
set session_replication_role = replica; insert into b (a) values (1), (2);
"""

STATE = "select conname, convalidated from pg_constraint where contype = 'f'"


@pytest.mark.parametrize("source_target", [(16, 18, VIOLATED)], indirect=True)
@pytest.mark.parametrize("mended", [False, True], ids=["violated", "mended"])
def test_a_follow_ends_with_what_is_violated(
    source_target: SourceTarget,
    mended: bool,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
    tmp_path: Path,
) -> None:
    source, target = source_target.source, source_target.target
    work = ["--dir", str(tmp_path / "work")]
    with pgcopydb_background("clone", "--follow", *source_target.options, *work) as running:
        assert wait_for(lambda: "applying what changed since" in running.stderr), running.stderr
        source.execute("insert into b (a) values (1)")
        if mended:
            source.execute("delete from b where a = 2")
        endpos = ["stream", "sentinel", "set", "endpos", "--current"]
        assert pgcopydb_command(*endpos, "--source", source.conninfo, *work).status == 0
        done = running.wait(60)
    assert done.status == (0 if mended else 4), done.stderr
    assert ('violate "b_a_fkey" of public.b' in done.stderr) is not mended
    assert target.rows(STATE) == [("b_a_fkey", mended)]
    assert differing_tables(source, target) == []
    assert sequence_places(target) == sequence_places(source)
