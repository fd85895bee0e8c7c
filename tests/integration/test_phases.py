"""A base copy phase by phase, as scripts make it, ends where a clone does."""

import signal
import stat
import time

import pytest

from pgcopydb.clone.context import PLANNED, Copying
from pgcopydb.clone.phases import copy_data
from pgcopydb.errors import Interrupted
from pgcopydb.model.endpoint import Side
from pgcopydb.model.options import WorkOptions
from pgcopydb.workdir.directory import open_directory
from tests.integration.test_clone import OBJECTS, TWO_JOBS
from tests.support.clock import wait_for
from tests.support.commands import PgcopydbBackground
from tests.support.equality import differences, differing_tables
from tests.support.phases import Phases

pytestmark = pytest.mark.forked_commands


@pytest.mark.parametrize(
    "source_target", [(15, 15, OBJECTS), (15, 18, OBJECTS), (16, 18, OBJECTS)], indirect=True
)
def test_every_phase_by_itself(phases: Phases) -> None:
    for phase in ("restore pre-data", "restore parse-list"):
        refused = phases.run(*phase.split(), status=3)
        assert "there is no work directory" in refused.stderr
        assert "run pgcopydb dump schema first" in refused.stderr
    dumped = phases.run("dump", "schema")
    assert "tables and views dumped" in dumped.stdout
    archive = phases.directory / "schema" / "schema.dump"
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    for phase in ("copy table-data", "copy indexes", "copy constraints", "restore post-data"):
        assert "tables are not there yet" in phases.run(*phase.split(), status=3).stderr

    phases.run("restore", "pre-data")
    assert "indexes are not there yet" in phases.run("copy", "constraints", status=3).stderr
    copied = phases.run("copy", "table-data")
    assert "tables" in copied.stdout
    assert "holds a previous run" in phases.run("copy", "table-data", status=3).stderr
    phases.run("copy", "table-data", "--resume")
    assert "rows have" not in phases.run("copy", "blobs").stderr
    assert "sequences set" in phases.run("copy", "sequences").stdout
    # What scripts written for the C program give to every later phase.
    phases.run("copy", "indexes", "--resume", "--not-consistent")
    assert "copy constraints first" in phases.run("restore", "post-data", status=3).stderr
    phases.run("copy", "constraints", "--resume", "--not-consistent")
    listed = phases.run("restore", "parse-list").stdout
    assert any(line.startswith(";") and " CONSTRAINT " in line for line in listed.splitlines())
    assert any(line[0].isdigit() and " TRIGGER " in line for line in listed.splitlines())
    phases.run("restore", "post-data", "--resume")
    assert differences(phases.pair.source, phases.pair.target) == []
    assert phases.pair.target.rows("select from pg_namespace where nspname = 'pgcopydb'") == []
    assert "work directory of pgcopydb" in phases.run("clone", "--resume", status=3).stderr


@pytest.mark.parametrize("source_target", [(16, 18, OBJECTS)], indirect=True)
def test_data_between_the_halves_of_the_schema(phases: Phases) -> None:
    phases.run("dump", "schema")
    phases.run("restore", "pre-data")
    assert "index time" in phases.run("copy", "data").stdout
    phases.run("restore", "post-data")
    assert differences(phases.pair.source, phases.pair.target) == []


@pytest.mark.parametrize("source_target", [(15, 15, OBJECTS)], indirect=True)
def test_data_into_a_whole_schema(phases: Phases) -> None:
    phases.run("copy", "schema")
    assert "restored already" in phases.run("restore", "schema").stdout
    # It is ENABLE ALWAYS, which no role can keep silent.
    refused = phases.run("copy", "data", status=3)
    assert 'trigger "always_touch" of shop.people would act on the rows' in refused.stderr
    assert "DISABLE TRIGGER" in refused.stderr
    target = phases.pair.target
    target.execute("alter table shop.people disable trigger always_touch")
    phases.run("copy", "data")
    target.execute("alter table shop.people enable always trigger always_touch")
    assert differences(phases.pair.source, target) == []
    other = Phases(phases.command, phases.pair, phases.directory.with_name("other"))
    assert "have rows already" in other.run("copy", "table-data", status=7).stderr
    assert differing_tables(phases.pair.source, phases.pair.target) == []


@pytest.mark.parametrize("source_target", [(16, 18, OBJECTS)], indirect=True)
def test_rows_that_failed_are_copied_when_the_reason_is_gone(phases: Phases) -> None:
    source, target = phases.pair.source, phases.pair.target
    phases.run("dump", "schema")
    phases.run("restore", "pre-data")
    target.execute("alter table shop.items add constraint never check (false)")
    failed = phases.run("copy", "table-data", status=4)
    assert "shop.items" in failed.stderr
    target.execute("alter table shop.items drop constraint never")
    assert "tables are not all copied" in phases.run("copy", "indexes", status=3).stderr
    assert "--not-consistent" in phases.run("copy", "table-data", "--resume", status=3).stderr
    phases.run("copy", "table-data", "--resume", "--not-consistent")
    for query in (
        "select count(*), sum(id) from shop.items",
        "select * from shop.keyless order by 1",
    ):
        assert target.rows(query) == source.rows(query)


@pytest.mark.parametrize("source_target", [(16, 18, OBJECTS)], indirect=True)
def test_ended_when_its_jobs_are_planned_and_that_is_not_noted_it_is_resumed(
    phases: Phases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row may be there then: a run that is resumed would take it for somebody else's."""
    phases.run("dump", "schema")
    phases.run("restore", "pre-data")
    sides = (phases.pair.source.endpoint(Side.SOURCE), phases.pair.target.endpoint(Side.TARGET))

    original = Copying.mark_done

    def mark_done(copying: Copying, step: str) -> None:
        if step == PLANNED:
            time.sleep(1)  # in which lanes would copy what they may
            raise Interrupted(signal.SIGTERM)
        original(copying, step)

    options = WorkOptions(directory=phases.directory, resume=True)
    with open_directory(options, command="copy data") as work, monkeypatch.context() as ending:
        ending.setattr(Copying, "mark_done", mark_done)
        with pytest.raises(Interrupted):
            copy_data(work, *sides, TWO_JOBS)
    phases.run("copy", "data", "--resume")
    phases.run("restore", "post-data")
    assert differences(phases.pair.source, phases.pair.target) == []


LARGE_ENOUGH = (
    "create table wide as select g as id, repeat('x', 99) as pad from generate_series(1, 2000) g"
)


@pytest.mark.parametrize("source_target", [(16, 18, LARGE_ENOUGH)], indirect=True)
def test_rows_for_a_role_that_may_not_truncate(phases: Phases) -> None:
    """Such a table would be truncated, to load it frozen; the role may only insert."""
    target = phases.pair.target
    phases.run("copy", "schema")
    role = f"inserting_{target.name}"
    target.execute(
        f"create role {role} login; grant create on database {target.name} to {role};"
        f" grant select, insert on wide to {role}"
    )
    other = phases.with_rows_by(role)
    other.run("copy", "table-data")
    assert differing_tables(phases.pair.source, target) == []


@pytest.mark.parametrize("source_target", [(16, 18, LARGE_ENOUGH)], indirect=True)
def test_rows_into_a_table_that_is_partitioned_on_the_target_only(phases: Phases) -> None:
    phases.pair.target.execute(
        "create table wide (id integer, pad text) partition by range (id);"
        " create table low partition of wide for values from (0) to (1000);"
        " create table high partition of wide default"
    )
    phases.run("copy", "table-data")
    rows = "select count(*), sum(id), min(pad) from wide"
    assert phases.pair.target.rows(rows) == phases.pair.source.rows(rows)


SPLIT = LARGE_ENOUGH.replace("2000", "60000")


@pytest.mark.parametrize("source_target", [(16, 18, SPLIT)], indirect=True)
def test_rows_that_cannot_be_taken_back_are_not_copied_again(phases: Phases) -> None:
    """A role that may not truncate deletes them, which a rule can turn into nothing."""
    target = phases.pair.target
    phases.run("copy", "schema")
    role = f"deleting_{target.name}"
    target.execute(
        f"create role {role} login; grant create on database {target.name} to {role};"
        f" grant select, insert, delete on wide to {role};"
        " alter table wide add constraint most check (id < 59000);"
        " create rule kept as on delete to wide do instead nothing"
    )
    other = phases.with_rows_by(role)
    in_parts = ("copy", "table-data", "--split-tables-larger-than", "1MB", "--table-jobs", "1")
    other.run(*in_parts, status=4)
    assert 0 < target.rows("select count(*) from wide")[0][0] < 60000
    target.execute("alter table wide drop constraint most")
    refused = other.run(*in_parts, "--resume", "--not-consistent", status=7)
    assert '"public"."wide" still has rows after it was emptied' in refused.stderr
    target.execute("drop rule kept on wide")
    other.run(*in_parts, "--resume", "--not-consistent")
    assert differing_tables(phases.pair.source, target) == []


REFERENCED = """
create table parents (id integer primary key, pad text);
create table children (id integer primary key, parent integer references parents);
insert into parents select g, repeat(md5(g::text), 20) from generate_series(1, 30000) g;
insert into children select g, g from generate_series(1, 1000) g;
"""


@pytest.mark.parametrize("source_target", [(16, 18, REFERENCED)], indirect=True)
def test_rows_of_another_moment_into_tables_with_foreign_keys(
    phases: Phases, pgcopydb_background: PgcopydbBackground
) -> None:
    """The parts of ``parents`` that are there must go, though ``children`` references them."""
    source, target = phases.pair.source, phases.pair.target
    phases.run("copy", "schema")
    copied = "select from pgcopydb.copy_marker where table_name = 'parents'"
    options = ["--dir", str(phases.directory), *phases.pair.options]
    options += ["--table-jobs", "1", "--split-tables-larger-than", "1MB"]
    with pgcopydb_background("copy", "table-data", *options) as running:
        helper = "select from pg_namespace where nspname = 'pgcopydb'"
        assert wait_for(lambda: bool(target.rows(helper) and target.rows(copied)))
        running.kill_all()
        running.wait(5)
    assert "--not-consistent" in phases.run("copy", "table-data", "--resume", status=3).stderr
    source.execute("update parents set pad = 'new' where id % 2 = 0")
    phases.run("copy", "table-data", "--resume", "--not-consistent")
    assert differing_tables(source, target) == []


@pytest.mark.parametrize("source_target", [(16, 18, OBJECTS)], indirect=True)
def test_all_parts_are_of_the_moment_of_a_running_snapshot(
    phases: Phases, pgcopydb_background: PgcopydbBackground
) -> None:
    source, target = phases.pair.source, phases.pair.target
    options = ["--dir", str(phases.directory), *phases.pair.options[:2]]
    with pgcopydb_background("snapshot", *options) as holding:
        assert wait_for(lambda: holding.stdout.endswith("\n"))
        source.execute("create table late (i integer); insert into shop.keyless values (9, 'late')")
        phases.run("dump", "schema")
        phases.run("restore", "pre-data")
        phases.run("copy", "data")
        phases.run("restore", "post-data")
    assert target.rows("select to_regclass('late')") == [(None,)]
    assert target.rows("select count(*) from shop.keyless where a = 9") == [(0,)]
    source.execute("drop table late; delete from shop.keyless where a = 9")
    assert differences(source, target) == []


@pytest.mark.parametrize("source_target", [(15, 18, OBJECTS)], indirect=True)
def test_a_dump_that_replaces_what_is_there(phases: Phases) -> None:
    phases.pair.target.execute(
        "create schema shop; create table shop.items (other text);"
        " insert into shop.items values (1)"
    )
    phases.run("dump", "schema")
    assert "the database is not empty" in phases.run("restore", "pre-data", status=7).stderr
    refused = phases.run("restore", "pre-data", "--restart", status=1)
    assert "would remove the dump" in refused.stderr
    phases.run("restore", "schema", "--drop-if-exists", "--restore-jobs", "2")
    assert "already" in phases.run("dump", "schema", "--resume").stdout
    phases.run("copy", "blobs")
    phases.run("copy", "sequences")
    assert phases.pair.target.rows("select count(*) from shop.items") == [(0,)]
