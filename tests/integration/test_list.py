"""What the commands of ``pgcopydb list`` print, as tables and as JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Pgcopydb
from tests.support.servers import Database, MakeDatabase, Servers

pytestmark = pytest.mark.forked_commands

ODD = "O'dd \"s%s\n\u00fc"
SCHEMA = """
create schema "O'dd ""s%s
\u00fc";
create table "O'dd ""s%s
\u00fc"."t"";drop" (
  "k%d" int generated always as identity primary key,
  v text collate "C" not null
);
insert into "O'dd ""s%s
\u00fc"."t"";drop" (v) select repeat('x', 900) from generate_series(1, 100);
create unlogged table loose (a int, b text collate "POSIX");
create index on loose (b);
create sequence countdown increment -2 start 9 minvalue -9 maxvalue 9;
select setval('countdown', 5);
create collation backwards from "C";
create table late (k int primary key deferrable);
"""
LISTS = ("tables", "table-parts", "sequences", "indexes")


@pytest.fixture(params=[15, 18])
def database(
    request: pytest.FixtureRequest, servers: Servers, make_database: MakeDatabase
) -> Database:
    return make_database(servers.get(request.param), SCHEMA)


class _Lister:
    """Runs list commands against one database."""

    def __init__(self, command: Pgcopydb, database: Database) -> None:
        self._command = command
        self._source = ("--source", database.conninfo)

    def text(self, *words: str) -> str:
        finished = self._command("list", *words, *self._source)
        assert finished.status == 0, finished.stderr
        return finished.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.text(*words, "--json"))


@pytest.fixture
def listed(pgcopydb_command: Pgcopydb, database: Database) -> _Lister:
    return _Lister(pgcopydb_command, database)


def test_every_list_of_a_database_with_odd_names(listed: _Lister, database: Database) -> None:
    tables = {table["name"]: table for table in listed.json("tables")}
    assert set(tables) == {'t";drop', "loose", "late"}
    odd = tables['t";drop']
    assert (odd["schema"], odd["primary_key"]) == (ODD, ["k%d"])
    assert odd["bytes"] > 90_000
    assert odd["row_estimate"] is None
    assert tables["loose"]["is_unlogged"]
    text = listed.text("tables", "--schema-name", ODD).splitlines()
    assert text[0].split("  ")[0] == "schema"
    assert len(text) == 3, "a name with a line break takes one line"
    assert "O'dd \"s%s\\n\u00fc" in text[2]
    without = [table["name"] for table in listed.json("tables", "--without-pkey")]
    assert without == ["late", "loose"], "a deferrable key identifies no row"

    parts = listed.json("table-parts", "--table-name", 't";drop', "--split-at", "40kB")
    assert [part["part"] for part in parts] == list(range(1, parts[0]["parts"] + 1))
    assert (parts[0]["kind"], parts[0]["lower"], parts[-1]["upper"]) == ("blocks", None, None)
    by_key = listed.json(
        "table-parts", "--table-name", 't";drop', "--split-at", "40kB",
        "--split-max-parts", "2", "--skip-split-by-ctid",
    )  # fmt: skip
    assert [(part["column"], part["lower"], part["upper"]) for part in by_key] == [
        ("k%d", None, 51),
        ("k%d", 51, None),
    ]
    assert "34 <= k%d < 67" in listed.text(
        "table-parts", "--table-name", 't";drop', "--split-at", "60kB", "--skip-split-by-ctid"
    )
    assert {part["kind"] for part in listed.json("table-parts")} == {"whole"}

    sequences = {one["name"]: one for one in listed.json("sequences")}
    countdown = sequences["countdown"]
    assert (countdown["last_value"], countdown["is_called"], countdown["increment"]) == (
        5,
        True,
        -2,
    )
    assert sequences['t";drop_k%d_seq']["is_identity"]
    assert [one["name"] for one in listed.json("sequences", "--schema-name", "public")] == [
        "countdown"
    ]
    assert "yes" in listed.text("sequences", "--schema-name", "public")

    indexes = {index["name"]: index for index in listed.json("indexes")}
    assert indexes['t";drop_pkey']["constraint_kind"] == "primary_key"
    assert indexes["loose_b_idx"]["definition"].startswith("CREATE INDEX loose_b_idx ON ")
    assert [one["name"] for one in listed.json("indexes", "--table-name", "late")] == ["late_pkey"]
    assert "primary key" in listed.text("indexes", "--table-name", "late")

    collations = {one["name"]: one for one in listed.json("collations")}
    assert collations["C"]["used_by"]
    assert "loose_b_idx" in " ".join(collations["POSIX"]["used_by"])
    assert collations["backwards"]["schema"] == "public"
    assert "backwards" in listed.text("collations")

    databases = {one["name"]: one for one in listed.json("databases")}
    assert databases[database.name]["bytes"] > 1_000_000
    assert databases["template1"]["is_template"]
    assert database.name in listed.text("databases")


def test_extensions_and_what_clone_takes_back(
    pgcopydb_command: Pgcopydb, servers: Servers, make_database: MakeDatabase
) -> None:
    database = make_database(
        servers.get(15), 'create schema "Ext"; create extension hstore schema "Ext" version "1.6"'
    )
    listed = _Lister(pgcopydb_command, database)
    hstore = {one["name"]: one for one in listed.json("extensions")}["hstore"]
    assert (hstore["version"], hstore["schema"]) == ("1.6", "Ext")
    assert hstore["configuration_tables"] == []
    assert {"name": "hstore", "version": "1.6"} in listed.json("extensions", "--requirements")
    offered = listed.json("extensions", "--available-versions")
    versions = {one["version"]: one for one in offered if one["name"] == "hstore"}
    assert versions["1.6"]["is_installed"]
    assert not versions["1.8"]["is_installed"]
    assert "Ext" in listed.text("extensions")
    assert "installed" in listed.text("extensions", "--available-versions")
    assert "hstore" in listed.text("extensions", "--requirements")


def test_lists_of_an_empty_database(
    pgcopydb_command: Pgcopydb, servers: Servers, make_database: MakeDatabase
) -> None:
    source = ("--source", make_database(servers.get(16)).conninfo)
    for words in LISTS:
        as_json = pgcopydb_command("list", words, "--json", *source)
        assert (as_json.status, as_json.stdout) == (0, "[]\n")
        as_text = pgcopydb_command("list", words, *source)
        assert (as_text.status, as_text.stdout) == (0, "")
        assert " found" in as_text.stderr


def test_options_of_existing_scripts_change_nothing(
    pgcopydb_command: Pgcopydb, servers: Servers, make_database: MakeDatabase
) -> None:
    source = ("--source", make_database(servers.get(16), "create table t (i int)").conninfo)
    plain = pgcopydb_command("list", "tables", *source)
    given = pgcopydb_command("list", "tables", "--force", "--restart", "-C", *source)
    assert given.status == 0
    assert given.stdout == plain.stdout


FILTERS = """
[exclude-schema]
~/^left/
[exclude-table-data]
public.empty
[exclude-index]
public.unwanted
"""
FILTERED = """
create schema left_out;
create table left_out.gone (id int primary key);
create table kept (id int primary key, gone int references left_out.gone, v text default 'x');
create index unwanted on kept (v);
create view seen as select * from left_out.gone;
create table empty (i serial);
"""


def test_lists_under_filters(
    pgcopydb_command: Pgcopydb, servers: Servers, make_database: MakeDatabase, tmp_path: Path
) -> None:
    listed = _Lister(pgcopydb_command, make_database(servers.get(16), FILTERED))
    file = tmp_path / "filters.ini"
    file.write_text(FILTERS)
    chosen = ("--filters", str(file))
    assert [one["name"] for one in listed.json("tables", *chosen)] == ["kept"]
    skipped = listed.json("tables", "--list-skipped", *chosen)
    assert [one["name"] for one in skipped] == ["gone", "empty"]
    assert listed.json("tables", "--list-skipped") == []
    assert [one["name"] for one in listed.json("table-parts", *chosen)] == ["kept"]
    assert [one["name"] for one in listed.json("sequences", *chosen)] == ["empty_i_seq"]
    assert [one["name"] for one in listed.json("indexes", *chosen)] == ["kept_pkey"]

    dependents = {one["object"]: one["needs"] for one in listed.json("depends", *chosen)}
    assert dependents["view public.seen"] == "table left_out.gone"
    assert dependents["constraint kept_gone_fkey on table public.kept"] == "table left_out.gone"
    assert any(one["object"] == "index public.unwanted" for one in listed.json("depends"))
    assert "left_out.gone" in listed.text("depends", *chosen)

    document = listed.json("schema", *chosen)
    tables = {table["name"]: table for table in document["tables"]}
    assert {name: table["copies_rows"] for name, table in tables.items()} == {
        "kept": True,
        "empty": False,
    }
    assert [column["default"] for column in tables["kept"]["columns"]] == [None, None, "'x'::text"]
    assert [one["name"] for one in document["constraints"]] == ["kept_pkey"]
    assert [one["name"] for one in document["indexes"]] == ["kept_pkey"]
    assert document["server"]["version_num"] >= 160000


def test_a_filter_that_does_not_fit(
    pgcopydb_command: Pgcopydb, servers: Servers, make_database: MakeDatabase, tmp_path: Path
) -> None:
    source = ("--source", make_database(servers.get(16), FILTERED).conninfo)
    file = tmp_path / "filters.ini"
    file.write_text("[exclude-table]\npublic.kpet\n")
    finished = pgcopydb_command("list", "tables", "--filters", file, *source)
    assert finished.status == 2
    assert "did you mean public.kept?" in finished.stderr
