"""Large objects: bytes, owners, privileges and comments, many small ones and a very large one."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from pgcopydb.errors import ConfigurationError, TargetError
from tests.integration.test_clone import TWO_JOBS, run_clone
from tests.integration.test_clone_failures import disturbing, ending
from tests.support.clock import wait_for
from tests.support.commands import PgcopydbBackground
from tests.support.memory import MemoryWatch
from tests.support.servers import Database, SourceTarget

MANY = """
select count(lo_from_bytea(0, decode(repeat(md5(g::text), g % 50), 'hex')))
  from generate_series(1, 3000) g;
select lo_from_bytea(90001, decode(repeat('ab', 32768), 'hex'));
select lo_from_bytea(90002, decode(repeat('cd', 32767), 'hex'));
select lo_create(90003);
select lo_put(90003, 5000000, 'the end of a hole');
"""

ROLES = """
create role "lo ""owner"; create role lo_reader; create role lo_giver;
"""

PROPERTIES = """
alter large object 90001 owner to "lo ""owner";
comment on large object 90001 is E'it''s \\\\ a "comment"; %s\\n\\u00e9';
grant select on large object 90001 to public;
grant select, update on large object 90001 to lo_giver with grant option;
set role lo_giver; grant select on large object 90001 to lo_reader; reset role;
alter large object 90002 owner to lo_reader;
revoke all on large object 90002 from lo_reader;
grant update on large object 90003 to lo_reader;
"""

_HUGE = """
select lo_create(77);
do $$begin for piece in 1..{pieces} loop
  perform lo_put(77, (piece - 1) * 1048576::bigint, decode(repeat(md5(piece::text), 65536), 'hex'));
end loop; end$$;
"""

LARGE = _HUGE.format(pieces=80)
HUGE = _HUGE.format(pieces=300)


def objects(database: Database) -> dict[int, tuple[object, ...]]:
    """Return all large objects: a digest of each, its owner, privileges and comment."""
    found = database.rows("""
        select m.oid::int8, p.digest, pg_get_userbyid(m.lomowner), m.lomacl::text,
          obj_description(m.oid, 'pg_largeobject')
        from pg_largeobject_metadata m
        left join lateral (
          select string_agg(md5(lo_get(m.oid, n * 1048576, 1048576)), '' order by n) as digest
          from generate_series(0, coalesce((select max(pageno) / 512 from pg_largeobject
            where loid = m.oid), 0)) as n) p on true
    """)
    return {oid: tuple(rest) for oid, *rest in found}


def make(sides: SourceTarget, script: str) -> None:
    for database in (sides.source, sides.target):
        database.execute(ROLES)
    sides.source.execute(script)


@pytest.mark.parametrize("source_target", [(15, 18), (16, 18)], indirect=True)
def test_all_of_it_is_copied(source_target: SourceTarget, tmp_path: Path) -> None:
    make(source_target, MANY + PROPERTIES)
    wanted = objects(source_target.source)
    assert len(wanted) == 3003
    assert wanted[90001][1] == 'lo "owner'
    assert "lo_reader=r/lo_giver" in str(wanted[90001][2])
    run_clone(source_target, tmp_path / "work", replace(TWO_JOBS, large_objects_jobs=3))
    assert objects(source_target.target) == wanted


def test_what_is_left_out(source_target: SourceTarget, tmp_path: Path) -> None:
    source_target.source.execute(ROLES + MANY + PROPERTIES)
    with pytest.raises(ConfigurationError, match='"lo "owner", "lo_giver", "lo_reader"') as refused:
        run_clone(source_target, tmp_path / "refused")
    assert "--roles" in (refused.value.hint or "")
    target = source_target.target
    bare = replace(TWO_JOBS, no_owner=True, no_acl=True, no_comments=True)
    run_clone(source_target, tmp_path / "bare", bare)
    wanted = objects(source_target.source)
    assert objects(target) == {
        oid: (digest, "postgres", None, None) for oid, (digest, *_) in wanted.items()
    }


def test_objects_of_the_target_are_kept_or_replaced(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    source_target.source.execute("select lo_from_bytea(5, 'new')")
    target = source_target.target
    target.execute("select lo_from_bytea(5, 'old'), lo_from_bytea(6, 'other')")
    with pytest.raises(TargetError, match="not empty: it has large objects"):
        run_clone(source_target, tmp_path / "refused")
    run_clone(source_target, tmp_path / "without", replace(TWO_JOBS, skip_large_objects=True))
    contents = "select oid::int8, lo_get(oid) from pg_largeobject_metadata order by 1"
    assert target.rows(contents) == [(5, b"old"), (6, b"other")]
    run_clone(source_target, tmp_path / "replacing", replace(TWO_JOBS, drop_if_exists=True))
    assert target.rows(contents) == [(5, b"new"), (6, b"other")]


def test_a_very_large_one_in_bounded_memory(
    source_target: SourceTarget, pgcopydb_background: PgcopydbBackground, tmp_path: Path
) -> None:
    make(source_target, HUGE)
    options = [*source_target.options, "--dir", str(tmp_path / "work")]
    with pgcopydb_background("clone", *options) as running, MemoryWatch(running.pid) as memory:
        finished = running.wait(120)
    assert finished.status == 0, finished.stderr
    assert source_target.target.rows("select sum(length(data)) from pg_largeobject") == [
        (300 << 20,)
    ]
    assert objects(source_target.target) == objects(source_target.source)
    assert 0 < memory.highest < 120 << 20


MOVING = "select pid from pg_stat_activity where application_name = 'pgcopydb large objects'"


def test_lost_connections_are_made_again(source_target: SourceTarget, tmp_path: Path) -> None:
    make(source_target, MANY + LARGE)
    with (
        disturbing(source_target.source, ending(MOVING + " and query like '%lo_get(%'", times=2)),
        disturbing(source_target.target, ending(MOVING + " and query like '%lo_put(%'", times=2)),
    ):
        run_clone(source_target, tmp_path / "work")
    assert objects(source_target.target) == objects(source_target.source)


def test_killed_in_the_middle_it_resumes(
    source_target: SourceTarget, pgcopydb_background: PgcopydbBackground, tmp_path: Path
) -> None:
    make(source_target, MANY + LARGE)
    with source_target.source.connect() as holder:
        holder.execute("begin isolation level repeatable read")
        (snapshot,) = holder.execute("select pg_export_snapshot()").fetchone() or ("",)
        source_target.source.execute("select lo_unlink(90001)")
        options = [*source_target.options, "--dir", str(tmp_path / "work"), "--snapshot", snapshot]
        with pgcopydb_background("clone", *options) as running:
            some = "select from pg_largeobject_metadata limit 1"
            assert wait_for(lambda: bool(source_target.target.rows(some)))
            running.kill_all()
            running.wait(5)
        before = source_target.target.rows("select oid, xmin from pg_largeobject_metadata")
        assert 0 < len(before) < 3004
        with pgcopydb_background("clone", *options, "--resume") as resumed:
            done = resumed.wait(60)
        assert done.status == 0, done.stderr
    after = source_target.target.rows("select oid, xmin from pg_largeobject_metadata")
    assert set(before) <= set(after)
    wanted = objects(source_target.source)
    found = objects(source_target.target)
    assert {oid: found[oid] for oid in wanted} == wanted
    assert found.keys() - wanted.keys() == {90001}
