"""Migrate PostgreSQL's own regression database: part of ``make campaign``.

It has 600 tables of all shapes, 300 functions, operators, rules, policies, and types of its own. It
is copied within version 15 and to 18, and parts of its scripts are run again while changes are
followed. Ending in status 0 has to mean that both sides are equal, and anything else has a reason.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgcopydb.demo.cluster import Cluster
from pgcopydb.demo.places import traversable_temporary_directory
from tests.support import regression
from tests.support.clock import wait_for
from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.equality import differing_tables
from tests.support.regression import Sources
from tests.support.servers import Database, SourceTarget, bindir, new_cluster

SECONDS = 300.0

# In the order in which they are created: the embedded 18 is built without ICU, LZ4 and libxml,
# and from 16 on a column may not be generated in a child alone.
FOR_18 = """
do $$
declare
  changed record;
  dropped text;
begin
  for changed in
    select attrelid::regclass::text as name, attname, relkind
    from pg_attribute join pg_class on pg_class.oid = attrelid
    where attcompression = 'l' and relkind in ('r', 'p', 'm')
  loop
    execute format(
      'alter %s %s alter column %I set compression pglz',
      case changed.relkind when 'm' then 'materialized view' else 'table' end,
      changed.name, changed.attname
    );
  end loop;
  for dropped in
    select oid::regclass::text from pg_class
    where relkind = 'v' and oid >= 16384 and pg_get_viewdef(oid) ilike '%xml%'
  loop
    execute format('drop view if exists %s cascade', dropped);
  end loop;
  for dropped in
    select attrelid::regclass::text from pg_attribute
    where atttypid = 'xml'::regtype and attrelid >= 16384
  loop
    execute format('drop table if exists %s cascade', dropped);
  end loop;
end
$$;
drop collation if exists coll_icu_upgrade;
drop table if exists gtest_normal_child, gtest_normal_child2;
"""

# They write to tables that are there, and what they create they drop again.
WRITING = [
    *("transactions", "portals", "portals_p2", "select_views", "plpgsql", "update", "delete"),
    *("int4", "int8", "text", "numeric", "rangetypes", "point", "box"),
]
# They create, alter and drop tables, which no stream tells of.
DEFINING = [
    *("insert", "insert_conflict", "triggers", "domain", "foreign_key", "inherit", "alter_table"),
    "truncate",
]


@dataclass(frozen=True)
class Regression:
    """The loaded database, and a server of each version to move it to."""

    sources: Sources
    source: Database
    targets: dict[int, Cluster]


@pytest.fixture(scope="module")
def loaded() -> Iterator[Regression]:
    """PostgreSQL's regression database on a server of its own."""
    with tempfile.TemporaryDirectory(dir=traversable_temporary_directory()) as directory:
        path = Path(directory)
        path.chmod(0o755)
        sources = regression.fetch(path)
        with (
            new_cluster(15, settings=regression.settings(sources, 15)) as source,
            new_cluster(15, settings=regression.settings(sources, 15)) as same,
            new_cluster(18, settings=regression.settings(sources, 18)) as newer,
        ):
            database = regression.create(source)
            regression.load(database, sources)
            # Others than the copy's are as old as the script left them.
            database.execute("refresh materialized view mvtest_bb")
            yield Regression(sources, database, {15: same, 18: newer})


@pytest.mark.timeout(1800)
def test_it_is_copied_within_a_version(
    loaded: Regression, tmp_path: Path, pgcopydb_command: Pgcopydb
) -> None:
    target = regression.create(loaded.targets[15])
    pair = SourceTarget(loaded.source, target)
    clone(pair, tmp_path, pgcopydb_command)
    assert_equal(pair, pgcopydb_command)
    programs = bindir(15)
    assert isinstance(programs, Path)
    ours, theirs = (regression.sorted_dump(side, programs) for side in (loaded.source, target))
    differing = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
    # The columns that they inherit come first, whatever ALTER TABLE has made of the original.
    assert all(is_inheriting(theirs[name]) for name in differing), differing
    assert len(ours) > 1500


@pytest.mark.timeout(1800)
def test_it_is_copied_to_a_newer_version(
    loaded: Regression, tmp_path: Path, pgcopydb_command: Pgcopydb
) -> None:
    loaded.source.execute(FOR_18)
    pair = SourceTarget(loaded.source, regression.create(loaded.targets[18]))
    clone(pair, tmp_path, pgcopydb_command)
    assert_equal(pair, pgcopydb_command)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("scripts", "statuses"),
    [(WRITING, {0}), (DEFINING, {0, 3, 7})],
    ids=["writing", "defining"],
)
def test_its_scripts_are_followed(
    loaded: Regression,
    scripts: list[str],
    statuses: set[int],
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
) -> None:
    pair = SourceTarget(
        loaded.source, regression.create(loaded.targets[15], f"followed_{len(scripts)}")
    )
    work = ["--dir", str(tmp_path / "work")]
    command = ["clone", "--follow", "--no-identity", "full", *work, *pair.options]
    with pgcopydb_background(*command) as running:
        assert wait_for(
            lambda: not running.is_running or "applying from" in running.stderr, seconds=SECONDS
        )
        assert running.is_running, running.stderr
        regression.run_scripts(loaded.source, loaded.sources, scripts)
        loaded.source.execute("refresh materialized view mvtest_bb")
        finished = pgcopydb_command(
            "stream", "sentinel", "set", "endpos", "--current", *work, *pair.options[:2]
        )
        assert finished.status == 0, finished.stderr
        ended = running.wait(SECONDS)
    assert ended.status in statuses, ended.stderr
    cleaned = pgcopydb_command("stream", "cleanup", *work, *pair.options)
    assert cleaned.status == 0, cleaned.stderr
    if ended.status == 0:
        assert_equal(pair, pgcopydb_command)
    else:
        assert "HINT" in ended.stderr


def clone(pair: SourceTarget, directory: Path, command: Pgcopydb) -> None:
    """Copy the database with its roles."""
    arguments = ["clone", "--roles", "--dir", str(directory / "work"), *pair.options]
    finished = command(*arguments, timeout=SECONDS)
    assert finished.status == 0, finished.stderr


def assert_equal(pair: SourceTarget, command: Pgcopydb) -> None:
    """Assert that this program and an oracle of the tests' own find no difference."""
    for what in ("schema", "data"):
        finished = command("compare", what, *pair.options, timeout=SECONDS)
        assert finished.status == 0, finished.stdout + finished.stderr
    assert differing_tables(pair.source, pair.target) == []


def is_inheriting(definition: str) -> bool:
    """Tell whether pg_dump's text makes a table that inherits."""
    return "\nINHERITS (" in definition
