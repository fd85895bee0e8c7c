"""An online migration of a part of a database: the same part in the copy and in the stream."""

from pathlib import Path

import pytest

from tests.scenarios.migration import Migration
from tests.support.equality import table_digests

pytestmark = pytest.mark.forked_commands

SCRIPT = (Path(__file__).parents[1] / "support" / "filtered.sql").read_text()

FILTERS = """
[exclude-table]
app.gone
app.measures_2024
app.typed_child        # as the next one, without a key: nothing has to be done about them
app.key_to_unique

[exclude-table-data]
app.audit

[exclude-index]
app.kept_note
"""

CHANGES = """
insert into app.gone (name) select 'new ' || n from generate_series(1, 20) n;
insert into app.kept (gone_id, note) select n, 'new ' || n from generate_series(1, 5) n;
insert into app.key_to_unique values ('g2');
delete from app.key_to_unique where name = 'g1';
update app.kept set note = note || '!' where id % 2 = 0;
delete from app.kept where id = 2 and not exists (select from app.audit where kept_id = 2);
insert into app.audit values (100, 1, '2025-01-01');
update app.audit set at = '2025-02-02' where id = 1;
insert into app.measures values (5, '2024-03-03', 1), (6, '2023-12-25', 2), (1, '2025-12-12', 3);
update app.measures set day = '2023-12-26' where id = 5;
update app.measures set day = '2024-12-26' where id = 6;
update "Odd ""Sch""ema."."ta'ble %s" set v = v || v;
begin;
  insert into app.uses_old values (2, 'red');
  truncate app.uses_old, app.typed_child, app.audit;
  insert into app.uses_old values (3, 'red');
commit;
truncate app.measures_2024;
insert into app.measures values (7, '2024-04-04', 1);
alter table app.typed_child add column more text default 'x';
alter table app.gone alter column secret set default 's';
insert into app.gone (name) values ('last');
"""

LEFT_OUT = {
    "app.gone",
    "app.measures_2024",
    "app.typed_child",
    "app.key_to_unique",
    "app.child",
    "app.holds_row",
    "app.filled",
}


@pytest.mark.parametrize(
    ("source_target", "plugin"),
    [
        pytest.param((15, 18, SCRIPT), plugin, id=plugin)
        for plugin in ("pgoutput", "test_decoding", "wal2json")
    ],
    indirect=["source_target"],
)
def test_a_part_of_a_database(migration: Migration, plugin: str, tmp_path: Path) -> None:
    source, target = migration.pair.source, migration.pair.target
    file = tmp_path / "filters.ini"
    file.write_text(FILTERS)
    given = ("--filters", str(file), "--plugin", plugin)
    with migration.start("clone", "--follow", *given) as running:
        migration.wait_until_applying(running)
        source.execute(CHANGES)
        migration.sentinel("set", "endpos", "--current")
        assert running.wait(60).status == 0, running.stderr
    assert "left out too" in running.stderr
    here, there = table_digests(source), table_digests(target)
    assert here.keys() - there.keys() == LEFT_OUT
    # A materialised view is filled once.
    different = {name for name in there if there[name] != here[name]}
    assert different <= {"app.audit", "app.filled_kept"}
    assert target.rows("select count(*) from app.audit") == [(0,)]
    assert target.rows("select from pg_class where relname = 'kept_note'") == []
    if plugin == "pgoutput":
        published = {f"{row[0]}.{row[1]}" for row in source.rows(PUBLISHED)}
        assert published.isdisjoint(LEFT_OUT | {"app.audit"})
    other = tmp_path / "other.ini"
    other.write_text("[exclude-table]\napp.kept\n")
    refused = migration.run("follow", "--resume", status=0)
    assert "error" not in refused.stderr.lower()
    refused = migration.run("clone", "--resume", "--filters", str(other), status=3)
    assert "begun with the filters of" in refused.stderr
    _print_changes(migration, plugin)


PUBLISHED = "select schemaname, tablename from pg_publication_tables where pubname = 'pgcopydb'"


def _print_changes(migration: Migration, plugin: str) -> None:
    """What ``stream receive --to-stdout`` prints is of the same part."""
    source = migration.pair.source
    source.execute(
        "delete from app.measures where id > 2 or day = '2025-12-12';"
        "delete from app.gone where name !~ '^g'"
    )
    source.execute(CHANGES.replace("add column more", "add column still_more"))
    end = migration.sentinel("set", "endpos", "--current")
    # Without --target: the follow let the slot go on beyond what the target has applied, to the
    # end of a log with nothing in it, and a replication in text refuses such a slot.
    options = ["--source", source.conninfo, "--dir", str(migration.directory), "--endpos", end]
    finished = migration.command("stream", "receive", "--to-stdout", *options)
    assert finished.status == 0, finished.stderr
    printed = finished.stdout
    assert '"table":"kept"' in printed.replace('": "', '":"')
    for name in ("gone", "measures_2024", "typed_child", "key_to_unique", "audit"):
        assert f'"{name}"' not in printed
    migration.run("stream", "cleanup")
