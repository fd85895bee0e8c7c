"""Rows that are easily lost or spoilt: formats, very wide ones, and where they are stored."""

import logging
from pathlib import Path

import pytest
from msgspec.structs import replace

from pgcopydb.clone.planning import copies
from pgcopydb.model.options import CopyOptions
from tests.integration.test_clone import TWO_JOBS, run_clone
from tests.support.equality import differences
from tests.support.servers import SourceTarget

FORMATS = """
create type mood as enum ('sad', 'glad');
create domain word as text check (value <> '');
create table fit (
  id bigint primary key, b boolean, i2 smallint, n numeric, f4 real, f8 double precision, t text,
  v varchar(20), c char(5), ch "char", na name, ba bytea, u uuid, d date, ti time, tz timetz,
  ts timestamp(3), tstz timestamptz, iv interval, j json, jb jsonb, ip inet, ci cidr, ma macaddr,
  m8 macaddr8, bi bit(5), vb varbit, mo money, po point, li line, ls lseg, bo box, pa path,
  pg polygon, ci2 circle, ta text[], ia integer[], w word
);
insert into fit values
  (1, true, -32768, 'NaN', '-0', 'infinity', E'tab\\t\\\\ \\u20ac', 'x', 'a', 'z', 'name',
   '\\x00ff5c', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '4713-01-01 BC', '23:59:59.999999',
   '12:00+05:30', 'infinity', '-infinity', '-1 year 2 mons -3 days 04:05:06.789',
   '{"b": 1, "a":  2}', '[1.10]',
   '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', '10101', '1',
   '-$1.23', '(1.1,-0)', '{1,2,3}', '[(0,0),(1,1)]', '(2,2),(0,0)', '[(0,0),(1,1)]',
   '((0,0),(1,1),(2,0))',
   '<(1,1),2>', '{a,NULL,"b c"}', '[-1:1]={1,NULL,3}', 'word'),
  (2, null, null, 12345678901234567890.1234567890, 1.1754944e-38, 5e-324, '', '', '', '', '', '',
   null, null, null, null, null, '294276-12-31 23:59:59.999999+00', '178000000 years', null, null,
   null, null, null, null, null, '', null, null, null, null, null, null, null, null, '{}',
   '{{1,2},{3,4}}', null);
create domain shade as mood;
create table enumerated (id integer primary key, m mood, s shade, t text);
insert into enumerated values (1, 'glad', 'sad', 'text'), (2, null, null, null);
create table unfit (
  id integer primary key, r regclass, m mood, ms mood[], f fit, rg int4range, x text
);
insert into unfit select 1, 'fit', 'glad', '{sad,glad}', fit, '[1,5)', 'text' from fit limit 1;
"""


@pytest.mark.parametrize("source_target", [(15, 18, FORMATS), (16, 18, FORMATS)], indirect=True)
@pytest.mark.parametrize("binary", [False, True], ids=["chosen", "binary"])
def test_each_type_in_the_format_that_fits(
    source_target: SourceTarget, binary: bool, tmp_path: Path
) -> None:
    source, target = source_target.source, source_target.target
    # The same name has another oid on the target: in binary the reference would be to nothing.
    target.execute("create table moves_oids (); drop table moves_oids")
    run_clone(source_target, tmp_path / "work", replace(TWO_JOBS, use_copy_binary=binary))
    assert differences(source, target) == []


WIDE = """
create type colour as enum ('red', 'green');
create table wide (id integer primary key, body bytea, colour colour default 'green');
alter table wide alter column body set storage external;
"""


@pytest.mark.parametrize("source_target", [(16, 18, WIDE)], indirect=True)
def test_a_row_whose_text_would_pass_a_gigabyte(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    available = next(
        int(line.split()[1]) >> 10
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemAvailable")
    )
    if available < 8 << 10:
        pytest.skip("needs 8 GB of free memory")
    source, target = source_target.source, source_target.target
    source.execute(
        "insert into wide (id, body) select 1, half || half"
        " from (select decode(repeat('5c00ff27', 67500000), 'hex') as half) as h"
    )
    run_clone(source_target, tmp_path / "work")
    digest = "select id, length(body), encode(sha256(body), 'hex'), colour::text from wide"
    assert target.rows(digest) == source.rows(digest)
    assert target.rows("select length(body) from wide") == [(540_000_000,)]


KEPT_ELSEWHERE = """
create foreign data wrapper nowhere; create server there foreign data wrapper nowhere;
create foreign table far (id integer) server there;
create table parent (id integer, t text) partition by range (id);
create table below partition of parent for values from (0) to (100) partition by list (t);
create table leaf partition of below for values in ('a');
create foreign table far_leaf partition of parent for values from (100) to (200) server there;
insert into parent values (1, 'a'), (2, 'a');
create table base (id integer); create table derived (more integer) inherits (base);
insert into base values (1); insert into derived values (2, 2);
create unlogged table scratch (id integer); insert into scratch values (1), (2);
create sequence descending increment -3 start -5 minvalue -1000 maxvalue -1 cycle;
create sequence never_called start 9; create sequence small as smallint cache 20;
create table counts (n integer generated always as identity (start 5 increment 5));
insert into counts default values; insert into counts default values;
select nextval('descending'), nextval('descending'), setval('small', 32767);
"""


@pytest.mark.parametrize("source_target", [(15, 18, KEPT_ELSEWHERE)], indirect=True)
def test_rows_are_copied_once_from_where_they_are(
    source_target: SourceTarget, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    source, target = source_target.source, source_target.target
    caplog.set_level(logging.INFO, logger="pgcopydb")
    summary = run_clone(source_target, tmp_path / "work")
    assert {table.name: table.rows for table in summary.tables} == {
        "leaf": 2, "base": 1, "derived": 1, "scratch": 2, "counts": 2,
    }  # fmt: skip
    assert differences(source, target) == []
    assert "rows of foreign tables stay where they are: public.far, public.far_leaf" in caplog.text


NEGATIVE_KEYS = """
create table keyed (id bigint primary key, pad text);
insert into keyed select g * 3 - 15000, repeat('x', 100) from generate_series(1, 10000) g;
insert into keyed values (-9223372036854775808, 'lowest'), (9223372036854775807, 'highest');
create table by_domain (id smallint primary key, pad text);
insert into by_domain select g, repeat('y', 500) from generate_series(-500, 500) g;
create table without_key (t text, pad text);
insert into without_key select g, repeat('z', 500) from generate_series(1, 1000) g;
"""


@pytest.mark.parametrize("source_target", [(16, 18, NEGATIVE_KEYS)], indirect=True)
@pytest.mark.parametrize("by_ctid", [True, False], ids=["blocks", "keys"])
def test_parts_hold_each_row_once(
    source_target: SourceTarget, by_ctid: bool, tmp_path: Path
) -> None:
    copy = replace(
        TWO_JOBS, split_tables_larger_than=50_000, split_max_parts=7, skip_split_by_ctid=not by_ctid
    )
    summary = run_clone(source_target, tmp_path / "work", copy)
    assert differences(source_target.source, source_target.target) == []
    assert sum(table.rows for table in summary.tables) == 10002 + 1001 + 1000


@pytest.mark.parametrize("source_target", [(16, 18, NEGATIVE_KEYS)], indirect=True)
def test_small_tables_need_no_vacuum(source_target: SourceTarget, tmp_path: Path) -> None:
    run_clone(source_target, tmp_path / "work", CopyOptions(table_jobs=1, index_jobs=1))
    assert differences(source_target.source, source_target.target) == []
    looks = source_target.target.rows(
        "select c.relname, vacuum_count, analyze_count, relallvisible * 2 > relpages"
        " from pg_class as c join pg_stat_user_tables as s on s.relid = c.oid order by 1"
    )
    assert looks == [("by_domain", 0, 1, True), ("keyed", 1, 1, True), ("without_key", 0, 1, True)]


TINY = """
create table first (id integer primary key); insert into first values (1), (2);
create table second (t text); insert into second values ('a');
"""


@pytest.mark.parametrize("source_target", [(15, 15, TINY)], indirect=True)
def test_of_many_tables_even_tiny_ones_need_no_vacuum_on_an_older_target(
    source_target: SourceTarget, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(copies, "_MANY_TABLES", 2)
    run_clone(source_target, tmp_path / "work", TWO_JOBS)
    assert differences(source_target.source, source_target.target) == []
    looks = source_target.target.rows(
        "select vacuum_count, analyze_count, relallvisible > 0"
        " from pg_class as c join pg_stat_user_tables as s on s.relid = c.oid"
    )
    assert looks == [(0, 1, True)] * 2
