"""Options that leave something out of a clone: what they name is left out, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Pgcopydb
from tests.support.equality import differing_tables
from tests.support.servers import SourceTarget

pytestmark = pytest.mark.forked_commands

OBJECTS = """
    create role keeper; create role reader;
    create collation mine (provider = libc, locale = 'C');
    create table t (id integer primary key, v text);
    insert into t select i, i::text from generate_series(1, 500) as i;
    create index t_v on t (v) tablespace elsewhere;
    create table placed (id integer primary key) tablespace elsewhere;
    alter table t owner to keeper; grant select on t to reader; comment on table t is 'told';
    create view seen as select id from t; alter view seen owner to keeper;
    create function f() returns integer language sql as 'select 1'; comment on function f() is 'g';
"""

FACTS = """
    select
      (select relowner::regrole::text from pg_class where relname = 't'),
      (select relacl is not null from pg_class where relname = 't'),
      (select obj_description('t'::regclass, 'pg_class')),
      (select array_agg(relname::text order by relname) from pg_class
        where reltablespace <> 0 and relname in ('placed', 't_v')),
      (select count(*) from pg_collation where collname = 'mine')
"""

WHOLE = ("keeper", True, "told", ["placed", "t_v"], 1)


@pytest.fixture
def sides(source_target: SourceTarget) -> Iterator[SourceTarget]:
    for side in (source_target.source, source_target.target):
        with side.connect() as session:
            session.execute("set allow_in_place_tablespaces = on")
            session.execute("create tablespace elsewhere location ''")
    source_target.source.execute(OBJECTS)
    yield source_target
    for side in (source_target.source, source_target.target):
        side.execute("drop table if exists t, placed cascade")
        side.execute("drop tablespace elsewhere")


@pytest.mark.parametrize("source_target", [(15, 15), (16, 18)], indirect=True)
def test_what_is_left_out(sides: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path) -> None:
    left_out = {
        ("--roles",): WHOLE,
        ("--no-owner",): ("postgres", *WHOLE[1:]),
        ("--no-acl",): (*WHOLE[:1], False, *WHOLE[2:]),
        ("--no-comments", "--restore-jobs", "3"): (*WHOLE[:2], None, *WHOLE[3:]),
        ("--no-tablespaces",): (*WHOLE[:3], None, WHOLE[4]),
        ("--skip-collations", "--skip-vacuum"): (*WHOLE[:4], 0),
    }
    assert sides.source.rows(FACTS) == [WHOLE]
    for number, (options, expected) in enumerate(left_out.items()):
        if number:
            sides.target.execute("drop collation if exists mine")
        arguments = [*options, "--drop-if-exists", "--dir", str(tmp_path / str(number))]
        finished = pgcopydb_command("clone", *arguments, *sides.options)
        assert finished.status == 0, finished.stderr
        assert sides.target.rows(FACTS) == [expected], options
        assert differing_tables(sides.source, sides.target) == []
