"""A clone with filters is what the source would be if PostgreSQL had dropped the rest."""

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from pgcopydb.clone import rows
from pgcopydb.compare.data import compare_data
from pgcopydb.compare.schema import compare_schema
from pgcopydb.errors import ConfigurationError, StateError
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.filters import Filters
from pgcopydb.model.options import CompareOptions, CopyOptions, WorkOptions
from pgcopydb.postgres import selection
from pgcopydb.rules.selection import Selection
from tests.integration.test_clone import TWO_JOBS, ended_after, run_clone
from tests.support.equality import differences
from tests.support.servers import AsRole, Connection, Database, MakeDatabase, SourceTarget

SCRIPT = (Path(__file__).parents[1] / "support" / "filtered.sql").read_text()

SIDES = pytest.mark.parametrize(
    "source_target", [(15, 18, SCRIPT), (16, 16, SCRIPT)], indirect=True
)


@pytest.fixture
def expected(source_target: SourceTarget, make_database: MakeDatabase) -> Database:
    """A database that begins as the source does."""
    return make_database(source_target.source.cluster, SCRIPT)


def filtered(folder: Path, text: str) -> CopyOptions:
    file = folder / "filters.ini"
    file.write_text(text)
    return replace(TWO_JOBS, filters=file)


def assert_compared_equal(sides: SourceTarget, copy: CopyOptions) -> None:
    """``compare`` knows by the same file what is not there, and why."""
    source, target = sides.source.endpoint(Side.SOURCE), sides.target.endpoint(Side.TARGET)
    options, work = CompareOptions(filters=copy.filters), WorkOptions()
    assert compare_schema(source, target, options, work).differences == ()
    compared = compare_data(source, target, options, work)
    assert (compared.table_differences, compared.object_differences) == ((), ())


@SIDES
def test_a_table_with_all_that_depends_on_it(
    source_target: SourceTarget, expected: Database, tmp_path: Path
) -> None:
    expected.execute(
        "alter sequence app.gone_id_seq owned by none;"
        "drop table app.holds_row, app.audit;"
        "drop table app.gone cascade;"
        'drop table "Odd ""Sch""ema."."ta\'ble %s"'
    )
    copy = filtered(
        tmp_path,
        '[exclude-table]\napp.gone\napp.~/^aud/\n"Odd ""Sch""ema."."ta\'ble %s"\n',
    )
    summary = run_clone(source_target, tmp_path / "work", copy)
    assert differences(expected, source_target.target) == []
    assert_compared_equal(source_target, copy)
    assert "app.gone" not in {f"{table.schema}.{table.name}" for table in summary.tables}


@SIDES
def test_a_schema(source_target: SourceTarget, expected: Database, tmp_path: Path) -> None:
    expected.execute(
        "drop table old.things, old.measures_2023;"
        "drop view old.looks_at_kept; drop function util.touch cascade"
    )
    copy = filtered(tmp_path, "[exclude-schema]\nold\nutil")
    run_clone(source_target, tmp_path / "work", copy)
    assert differences(expected, source_target.target) == []
    assert_compared_equal(source_target, copy)


@SIDES
def test_only_some_tables(source_target: SourceTarget, expected: Database, tmp_path: Path) -> None:
    expected.execute(
        "alter sequence app.gone_id_seq owned by none;"
        "drop table app.holds_row, app.audit, app.key_to_unique, app.typed_child, app.uses_old,"
        ' old.things, app.measures_2025, old.measures_2023, "Odd ""Sch""ema."."ta\'ble %s";'
        "drop table app.gone cascade; drop materialized view app.filled_kept"
    )
    copy = filtered(tmp_path, "[include-only-table]\napp.kept\napp.measures_2024\n")
    run_clone(source_target, tmp_path / "work", copy)
    assert differences(expected, source_target.target) == []
    assert_compared_equal(source_target, copy)


@SIDES
def test_no_rows_and_no_indexes(
    source_target: SourceTarget, expected: Database, tmp_path: Path
) -> None:
    expected.execute(
        "truncate app.audit, app.measures_2025; refresh materialized view app.filled with no data;"
        "drop index app.kept_note, app.kept_code, app.measures_value;"
        "alter table app.gone drop constraint gone_name_key cascade"
    )
    copy = filtered(
        tmp_path,
        "[exclude-table-data]\napp.audit\napp.measures_2025\napp.filled\n"
        "[exclude-index]\napp.~/^kept_/\napp.measures_value\napp.gone_name_key\n",
    )
    run_clone(source_target, tmp_path / "work", copy)
    assert differences(expected, source_target.target) == []
    assert_compared_equal(source_target, copy)


@pytest.mark.parametrize("source_target", [(16, 18, SCRIPT)], indirect=True)
def test_what_the_role_may_not_read_can_be_left_out(
    source_target: SourceTarget, expected: Database, tmp_path: Path
) -> None:
    source_target.source.execute(
        """
        create role filters_reader login;
        grant usage on schema app, old, util, "Odd ""Sch""ema." to filters_reader;
        grant select on all tables in schema app, old, "Odd ""Sch""ema." to filters_reader;
        grant select on all sequences in schema app, old, util to filters_reader;
        revoke select on app.audit from filters_reader;
        """
    )
    reader = SourceTarget(
        AsRole(source_target.source.cluster, source_target.source.name, "filters_reader"),
        source_target.target,
    )
    try:
        with pytest.raises(ConfigurationError, match=r"may not read app\.audit"):
            run_clone(reader, tmp_path / "whole", TWO_JOBS)
        copy = replace(filtered(tmp_path, "[exclude-table]\napp.audit"), no_acl=True)
        run_clone(reader, tmp_path / "work", copy)
    finally:
        source_target.source.execute("drop owned by filters_reader; drop role filters_reader")
    expected.execute("drop table app.audit; revoke all (id) on app.gone, app.kept from public")
    assert differences(expected, source_target.target) == []


@pytest.mark.parametrize("source_target", [(16, 18, SCRIPT)], indirect=True)
def test_replacing_touches_only_what_is_selected(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    target = source_target.target
    target.execute(
        "create schema app; create table app.audit (mine int); insert into app.audit values (1);"
        "create table app.kept (mine int)"
    )
    copy = replace(filtered(tmp_path, "[exclude-table]\napp.audit"), drop_if_exists=True)
    run_clone(source_target, tmp_path / "work", copy)
    assert target.rows("select * from app.audit") == [(1,)]
    assert target.rows("select count(*) from only app.kept") == [(5,)]


@pytest.mark.parametrize("source_target", [(16, 18, SCRIPT)], indirect=True)
def test_filters_that_do_not_fit_are_refused_before_anything_is_made(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"has no table app\.gonne"):
        run_clone(
            source_target, tmp_path / "work", filtered(tmp_path, "[exclude-table]\napp.gonne")
        )
    assert source_target.target.rows("select from pg_namespace where nspname = 'pgcopydb'") == []
    run_clone(
        source_target, tmp_path / "work", filtered(tmp_path, "[include-only-table]\napp.gone")
    )
    with pytest.raises(StateError, match="begun with the filters of"):
        run_clone(
            source_target,
            tmp_path / "work",
            filtered(tmp_path, "[exclude-table]\napp.kept"),
            resume=True,
        )


EXTENSIONS = """
create schema ext;
create extension hstore schema ext;
create extension citext;
create extension pg_trgm schema ext;
create table tags (id int primary key, pairs ext.hstore);
create table names (id int primary key, name citext, plain text);
create index names_plain on names using gin (plain ext.gin_trgm_ops);
create view of_tags as select pairs operator(ext.->) 'a' as a from tags;
create function note() returns event_trigger language plpgsql as $$ begin end $$;
create event trigger note_ddl on ddl_command_end execute function note();
create event trigger note_drop on sql_drop execute function note();
insert into tags values (1, 'a=>1');
insert into names values (1, 'n', 'p');
"""


@pytest.mark.parametrize("source_target", [(15, 15, EXTENSIONS)], indirect=True)
def test_extensions_and_event_triggers(
    source_target: SourceTarget, make_database: MakeDatabase, tmp_path: Path
) -> None:
    expected = make_database(source_target.source.cluster, EXTENSIONS)
    expected.execute(
        "drop event trigger note_ddl; drop table tags cascade; drop extension hstore;"
        "drop index names_plain; drop extension pg_trgm"
    )
    copy = filtered(
        tmp_path,
        "[include-only-extension]\ncitext\n[exclude-event-trigger]\nnote_ddl\n"
        "[exclude-schema]\next\n",
    )
    run_clone(source_target, tmp_path / "work", copy)
    expected.execute("drop schema ext")
    assert differences(expected, source_target.target) == []
    assert target_extensions(source_target) == {"citext", "plpgsql"}
    assert source_target.target.rows("select evtname from pg_event_trigger") == [("note_drop",)]
    assert_compared_equal(source_target, copy)


def target_extensions(sides: SourceTarget) -> set[str]:
    return {name for (name,) in sides.target.rows("select extname from pg_extension")}


@pytest.mark.parametrize("source_target", [(15, 15, EXTENSIONS)], indirect=True)
def test_an_extension_that_is_taken_brings_its_schema(
    source_target: SourceTarget, make_database: MakeDatabase, tmp_path: Path
) -> None:
    expected = make_database(source_target.source.cluster, EXTENSIONS)
    expected.execute("drop index names_plain; drop extension pg_trgm")
    copy = filtered(tmp_path, "[exclude-schema]\next\n[exclude-extension]\npg_trgm\n")
    run_clone(source_target, tmp_path / "work", copy)
    assert differences(expected, source_target.target) == []
    assert target_extensions(source_target) == {"citext", "hstore", "plpgsql"}


@pytest.mark.parametrize("source_target", [(16, 18, SCRIPT)], indirect=True)
def test_what_follows_from_filters_is_found_once_before_the_snapshot_and_once_in_it(
    source_target: SourceTarget, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read: list[str] = []
    original = selection.read_selection

    def noting(where: str) -> Callable[[Endpoint, Connection, Filters], Selection]:
        def read_selection(source: Endpoint, session: Connection, filters: Filters) -> Selection:
            read.append(where)
            return original(source, session, filters)

        return read_selection

    monkeypatch.setattr(selection, "read_selection", noting("before"))
    monkeypatch.setattr(rows, "read_selection", noting("in it"))
    run_clone(source_target, tmp_path / "work", filtered(tmp_path, "[exclude-schema]\nold"))
    assert read == ["before", "in it"]


@pytest.mark.parametrize("source_target", [(16, 18, SCRIPT)], indirect=True)
@pytest.mark.parametrize(
    "moment", ["schema before the data begun", "jobs planned", "objects after the data", "triggers"]
)
def test_interrupted_it_goes_on_with_the_same_part(
    source_target: SourceTarget,
    expected: Database,
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The run ends right after a step is noted; without the file, what it said still holds."""
    expected.execute(
        "drop table old.things, old.measures_2023;"
        "drop view old.looks_at_kept; drop function util.touch cascade"
    )
    copy = filtered(tmp_path, "[exclude-schema]\nold\nutil")
    with ended_after(moment, monkeypatch):
        run_clone(source_target, tmp_path / "work", copy)
    again = moment == "jobs planned"
    run_clone(source_target, tmp_path / "work", TWO_JOBS, resume=True, not_consistent=again)
    assert differences(expected, source_target.target) == []


GAPS = """
create table parent (id int primary key);
create table child (id int primary key, parent int references parent);
create table spread (id int primary key) partition by range (id);
create table spread_1 partition of spread for values from (0) to (10);
create table spread_2 partition of spread for values from (10) to (20);
create table of_spread (id int primary key references spread);
create materialized view filled as select count(*) from child;
create view over as select * from filled;
create materialized view above as select * from over;
create function seen() returns event_trigger language plpgsql as $$ begin end $$;
create schema gone;
alter function seen() set schema gone;
create event trigger watching on ddl_command_end execute function gone.seen();
insert into parent values (1), (2);
insert into child values (1, 1), (2, 2);
insert into spread values (1), (11);
insert into of_spread values (1), (11);
refresh materialized view filled;
refresh materialized view above;
"""


@pytest.mark.parametrize("source_target", [(16, 18, GAPS)], indirect=True)
def test_what_refers_to_rows_that_are_left_out_is_made_and_no_error(
    source_target: SourceTarget, tmp_path: Path
) -> None:
    copy = filtered(
        tmp_path,
        "[exclude-schema]\ngone\n"
        "[exclude-table-data]\npublic.parent\npublic.spread_2\npublic.filled\n",
    )
    run_clone(source_target, tmp_path / "work", copy)
    target = source_target.target
    assert target.rows(
        "select conname::text, convalidated from pg_constraint"
        " where contype = 'f' and conparentid = 0 order by 1"
    ) == [("child_parent_fkey", False), ("of_spread_id_fkey", False)]
    assert target.rows("select count(*) from child") == [(2,)]
    unfilled = "select relname::text from pg_class where not relispopulated order by 1"
    assert target.rows(unfilled) == [("above",), ("filled",)]
    assert_compared_equal(source_target, copy)


@pytest.mark.parametrize("source_target", [(16, 18, GAPS)], indirect=True)
def test_a_view_that_nobody_can_fill_stays_unfilled(
    source_target: SourceTarget, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source_target.source.execute("refresh materialized view filled with no data")
    run_clone(source_target, tmp_path / "work", CopyOptions())
    assert "the materialized view public.above stays unfilled" in caplog.text
    assert source_target.target.rows("select count(*) from child") == [(2,)]
