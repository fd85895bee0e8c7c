"""What the planner of the target knows of tables after a copy, and from where."""

import logging
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from pgcopydb.clone import statistics
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import connect
from tests.integration.test_clone import TWO_JOBS, run_clone
from tests.support.commands import Pgcopydb
from tests.support.servers import Database, SourceTarget

KNOWN: Final = """
create domain label as text;
create type mood as enum ('low', 'high');
create table "of ""every kind" (
  id int primary key, gone int, n numeric, t text, l label, m mood, tags text[], words tsvector,
  doc jsonb, place point, nothing int,
  twice int generated always as (id * 2) stored
);
alter table "of ""every kind" drop column gone;
insert into "of ""every kind"
  select g, g / 7.0, 'row ' || g % 10, 'label ' || g,
    case when g % 3 = 0 then 'low' else 'high' end::mood,
    array['tag ' || g % 5, 'x'], to_tsvector('simple', 'word' || g % 4),
    jsonb_build_object('k', g % 3), point(g, g), null
  from generate_series(1, 3000) g;
create index "of lower" on "of ""every kind" (lower(t), (n * 2));
alter table "of ""every kind" alter column t set statistics 7;
alter table "of ""every kind" alter column l set statistics 0;

create table parts (id int, v text) partition by range (id);
create table part_1 partition of parts for values from (0) to (1000);
create table part_2 partition of parts for values from (1000) to (2000);
insert into parts select g, 'v' || g % 20 from generate_series(0, 1999) g;

create table bulk (id int, pad text);
insert into bulk select g, repeat('x', 100) from generate_series(1, 20000) g;
create table small (id int);
insert into small select generate_series(1, 3);
"""
ALL: Final = ("bulk", 'of "every kind', "part_1", "part_2", "parts", "small")

# An expression's column is known by its number.
STATISTICS: Final = """
select tablename, attname, inherited, null_frac, avg_width, n_distinct, most_common_vals::text,
  most_common_freqs, histogram_bounds::text, correlation, most_common_elems::text,
  most_common_elem_freqs, elem_count_histogram
from pg_stats where schemaname = 'public' order by 1, 2, 3
"""
ANALYZED: Final = (
    'select relname::text, analyze_count from pg_stat_user_tables order by relname collate "C"'
)


def analyzed(target: Database) -> list[str]:
    return [name for name, count in target.rows(ANALYZED) if count]


@pytest.mark.parametrize(
    "source_target", [(18, 18, KNOWN), (15, 18, KNOWN)], indirect=True, ids=["18", "15"]
)
def test_what_the_source_knows_is_taken_over(source_target: SourceTarget, tmp_path: Path) -> None:
    source, target = source_target.source, source_target.target
    source.execute("analyze")
    run_clone(source_target, tmp_path / "work", TWO_JOBS)
    assert analyzed(target) == []
    assert target.rows(STATISTICS) == source.rows(STATISTICS)
    sizes = dict(
        target.rows("select relname::text, reltuples from pg_class where relkind in ('r', 'p')")
    )
    assert {name: sizes[name] for name in ALL} == {
        "bulk": 20000, 'of "every kind': 3000, "part_1": 1000, "part_2": 1000, "parts": 2000,
        "small": 3,
    }  # fmt: skip
    pages = target.rows(
        "select relname::text from pg_class where relkind = 'r' and relnamespace ="
        " 'public'::regnamespace and relpages <> pg_relation_size(oid) / 8192"
    )
    assert pages == []


@pytest.mark.parametrize("source_target", [(16, 18, KNOWN)], indirect=True)
def test_tables_are_analyzed_when_that_is_asked_for(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    source_target.source.execute("analyze")
    run_clone(source_target, tmp_path / "work", replace(TWO_JOBS, no_statistics=True))
    assert analyzed(source_target.target) == list(ALL)


UNKNOWN: Final = """
create table never (id int); insert into never select generate_series(1, 500);
create table outdated (id int); insert into outdated select generate_series(1, 500);
create table current (id int); insert into current select generate_series(1, 500);
create table dependent (a int, b int);
insert into dependent select g, g from generate_series(1, 500) g;
create statistics both_columns on a, b from dependent;
create table spans (during int4range);
insert into spans select int4range(g, g + 2) from generate_series(1, 500) g;
create table otherwise (t text collate ucs_basic);
insert into otherwise select g from generate_series(1, 500) g;
create table above (id int); insert into above select generate_series(1, 500);
create table below () inherits (above); insert into below select generate_series(1, 500);
create table rolling (id int) partition by range (id);
create table rolling_1 partition of rolling for values from (0) to (1000);
insert into rolling select generate_series(1, 500);
"""
# Each in a transaction of its own: what that has written itself is counted when it ends.
SINCE: Final = (
    "analyze outdated, current, dependent, otherwise, spans, above, below, rolling, rolling_1",
    "create table rolling_2 partition of rolling for values from (1000) to (2000)",
    "insert into rolling select generate_series(1000, 1500)",
    "analyze rolling_2",
    "insert into outdated select generate_series(501, 700)",
)


@pytest.mark.parametrize("source_target", [(15, 18, UNKNOWN)], indirect=True)
def test_what_the_source_does_not_know_is_found_out(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    target = source_target.target
    for statement in SINCE:
        source_target.source.execute(statement)
    run_clone(source_target, tmp_path / "work", TWO_JOBS)
    assert analyzed(target) == [
        "above", "dependent", "never", "otherwise", "outdated", "rolling", "spans"
    ]  # fmt: skip
    known = target.rows("select distinct tablename::text from pg_stats where schemaname = 'public'")
    everything = target.rows("select relname::text from pg_stat_user_tables")
    assert sorted(known) == sorted(everything)


@pytest.mark.parametrize("source_target", [(16, 18, KNOWN)], indirect=True)
def test_of_a_table_of_which_filters_leave_out_partitions_the_copy_is_analyzed(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    source_target.source.execute("analyze")
    filters = tmp_path / "filters.ini"
    filters.write_text("[exclude-table]\npublic.part_2\n\n[exclude-table-data]\npublic.small\n")
    done = pgcopydb_command(
        "clone", "--filters", filters, "--dir", tmp_path / "work",
        "--source", source_target.source.conninfo, "--target", source_target.target.conninfo,
    )  # fmt: skip
    assert done.status == 0, done.stderr
    assert analyzed(source_target.target) == ["parts", "small"]


@pytest.mark.parametrize("source_target", [(16, 18, KNOWN)], indirect=True)
def test_a_source_that_gives_no_session_for_it_stops_nothing(
    source_target: SourceTarget,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO, logger="pgcopydb")
    source, target = source_target.source, source_target.target
    source.execute("analyze")

    def connect_and_lose(endpoint: Endpoint, *, purpose: str) -> statistics.Session:
        session = connect(endpoint, purpose=purpose)
        source.execute(f"select pg_terminate_backend({session.info.backend_pid}, 5000)")
        return session

    monkeypatch.setattr(statistics, "connect", connect_and_lose)
    run_clone(source_target, tmp_path / "work", TWO_JOBS)
    assert "statistics are not taken over from the source: " in caplog.text
    assert caplog.text.count("statistics are not taken over") == 1
    assert analyzed(target) == list(ALL)
