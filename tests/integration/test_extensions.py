"""Extensions: in the versions asked for, where they were, with the rows that users gave them."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pgcopydb.demo.places import traversable_temporary_directory
from tests.support.commands import Pgcopydb
from tests.support.phases import Phases
from tests.support.servers import Database, MakeCluster, SourceTarget

pytestmark = pytest.mark.forked_commands

INSTALLED = """
    select e.extname, e.extversion, n.nspname, pg_get_userbyid(n.nspowner)
    from pg_extension e join pg_namespace n on n.oid = e.extnamespace order by 1
"""

SCRIPT = r"""
    create table settings (id integer primary key, word text, given boolean default true,
      twice integer generated always as (id * 2) stored);
    create sequence places;
    insert into settings (id, word, given) values (1, 'from the script', false);
    select pg_catalog.pg_extension_config_dump('settings', 'where given');
    select pg_catalog.pg_extension_config_dump('places', '');
"""


@pytest.mark.parametrize("source_target", [(15, 15)], indirect=True)
def test_required_versions(phases: Phases, tmp_path: Path) -> None:
    source, target = phases.pair.source, phases.pair.target
    source.execute(
        """
        create role keeper; create schema "Odd schema" authorization keeper;
        create extension hstore with schema "Odd schema"; create extension cube;
        create extension earthdistance; create extension pg_trgm;
        comment on schema "Odd schema" is 'for hstore';
        create table t (id integer primary key, h "Odd schema".hstore);
        insert into t values (1, 'a=>1');
        """
    )
    asked = phases.command(
        "list", "extensions", "--requirements", "--json", *phases.pair.options[:2]
    )
    assert asked.status == 0, asked.stderr
    versions = json.loads(asked.stdout)
    for one in versions:
        if one["name"] == "hstore":
            one["version"] = "1.7"
        if one["name"] == "pg_trgm":
            one["version"] = "1.5"
    file = tmp_path / "versions.json"
    file.write_text(json.dumps(versions))
    assert source.rows("select extversion from pg_extension where extname = 'hstore'") == [("1.8",)]

    file.write_text(json.dumps([{"name": "hstore", "version": "77"}]))
    refused = phases.run("copy", "extensions", "--requirements", str(file), status=2)
    assert 'no version 77 of extension "hstore", only 1.' in refused.stderr
    file.write_text("{nonsense")
    refused = phases.run("clone", "--requirements", str(file), status=2)
    assert "not a JSON array" in refused.stderr
    assert len(refused.stderr.splitlines()) == 2

    file.write_text(json.dumps(versions))
    phases.run("clone", "--roles", "--requirements", str(file))
    wanted = [
        (name, {"hstore": "1.7", "pg_trgm": "1.5"}.get(name, version), schema, owner)
        for name, version, schema, owner in source.rows(INSTALLED)
    ]
    assert target.rows(INSTALLED) == wanted
    assert target.rows("select h::text from t") == [('"a"=>"1"',)]
    comment = """select obj_description('"Odd schema"'::regnamespace, 'pg_namespace')"""
    assert target.rows(comment) == [("for hstore",)]

    other = tmp_path / "other"
    again = phases.command(
        "clone", "--drop-if-exists", "--requirements", file, "--dir", other, *phases.pair.options
    )
    assert again.status == 0, again.stderr
    assert target.rows(INSTALLED) == wanted
    left_out = tmp_path / "left out"
    target.execute("drop extension pg_trgm")
    skipped = phases.command(
        "clone", "--drop-if-exists", "--skip-extensions", "--dir", left_out, *phases.pair.options
    )
    assert skipped.status == 0, skipped.stderr
    assert "pg_trgm" not in str(target.rows(INSTALLED))
    assert target.rows("select h::text from t") == [('"a"=>"1"',)]


@pytest.mark.parametrize("source_target", [(15, 18)], indirect=True)
def test_extensions_by_themselves(phases: Phases) -> None:
    source, target = phases.pair.source, phases.pair.target
    # The embedded servers have no contrib modules: plpgsql is all that they offer.
    target.execute("drop extension plpgsql")
    assert "1 extensions created" in phases.run("copy", "extensions").stdout
    assert "0 extensions created" in phases.run("copy", "extensions").stdout
    assert target.rows("select extname from pg_extension") == [("plpgsql",)]
    assert source.rows("select extname from pg_extension") == [("plpgsql",)]


@pytest.fixture
def shared_directory() -> Iterator[Path]:
    """A folder that the servers' user may read, which pytest's own are not."""
    with TemporaryDirectory(dir=traversable_temporary_directory()) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_rows_of_configuration_tables(
    make_cluster: MakeCluster, pgcopydb_command: Pgcopydb, shared_directory: Path, tmp_path: Path
) -> None:
    folder = shared_directory / "extension"
    folder.mkdir()
    (folder / "kept.control").write_text("default_version = '1'\nrelocatable = false\n")
    (folder / "kept--1.sql").write_text(SCRIPT)
    settings = {"extension_control_path": f"{shared_directory}:$system"}
    sides = []
    for cluster in (make_cluster(18, settings=settings), make_cluster(18, settings=settings)):
        cluster.create_database("app")
        sides.append(Database(cluster, "app"))
    pair = SourceTarget(*sides)
    pair.source.execute(
        """
        create schema home; create extension kept with schema home;
        insert into home.settings values (2, 'of a user'), (3, null);
        select setval('home.places', 42);
        create table t (id integer primary key); insert into t values (1);
        """
    )
    rows = "select id, word, given, twice from home.settings order by 1"
    phases = Phases(pgcopydb_command, pair, tmp_path / "work")
    phases.run("clone")
    assert pair.target.rows(rows) == pair.source.rows(rows)
    assert len(pair.target.rows(rows)) == 3
    assert pair.target.rows("select last_value from home.places") == [(42,)]
    pair.source.execute("update home.settings set word = 'changed' where id = 2")
    assert "2 rows copied" in phases.run("copy", "extensions").stdout
    assert pair.target.rows(rows) == pair.source.rows(rows)
