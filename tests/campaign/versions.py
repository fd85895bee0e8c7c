"""Upgrade from and to the versions that ``make test`` has no servers of: ``make campaign``.

From each of 12, 13, 14 and 17 to 18, and to 17: one of every kind of object is copied, compared and
listed, and an application goes on writing through ``clone --follow``, under each output plugin.
"""

import json
from pathlib import Path

import pytest

from tests.scenarios.migration import Migration
from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.equality import differences
from tests.support.servers import Database, MakeCluster, SourceTarget
from tests.support.workload import APPLICATION

SUPPORT = Path(__file__).parents[1] / "support"
OBJECTS = (SUPPORT / "objects.sql").read_text()
DEFINITIONS = (SUPPORT / "definitions.sql").read_text()
UPGRADES = [(12, 18), (13, 18), (14, 18), (17, 18), (16, 17), (12, 17), (12, 15), (13, 14)]
SECONDS = 120.0

NEWER = [
    # The first version that knows it, how the scripts say it, and what older ones are given.
    (14, "mr int4multirange", "mr text"),
    (
        14,
        "language sql begin atomic select a + 1; end",
        "language sql as 'select a + 1'",
    ),
    (15, "for table made.main (id, a) where (a > 3) with", "for table made.main with"),
]


def script(text: str, major: int) -> str:
    """Return a script as a version can run it."""
    for since, new, old in NEWER:
        if major < since:
            text = text.replace(new, old)
    return text


@pytest.fixture
def pair(request: pytest.FixtureRequest, make_cluster: MakeCluster) -> SourceTarget:
    """A database on each of two servers, of the versions asked for."""
    source, target = (make_cluster(major) for major in request.param)
    for cluster in (source, target):
        cluster.create_database("moved")
    return SourceTarget(Database(source, "moved"), Database(target, "moved"))


def named(versions: tuple[int, int]) -> str:
    return "{} to {}".format(*versions)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("pair", UPGRADES, indirect=True, ids=named)
def test_everything_is_copied_compared_and_listed(
    pair: SourceTarget,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
) -> None:
    major = request.node.callspec.params["pair"][0]
    pair.source.execute("create role made_owner; create role made_reader")
    pair.source.execute(script(OBJECTS, major) + script(DEFINITIONS, major))
    options = [*pair.options, "--dir", str(tmp_path / "work")]
    for command in (
        ("check", "--roles"),
        ("clone", "--roles", "--split-tables-larger-than", "64kB"),
        ("compare", "schema"),
        ("compare", "data"),
    ):
        done = pgcopydb_command(*command, *options, timeout=SECONDS)
        assert done.status == 0, done.stdout + done.stderr
    # Versions print some of the schema made each in its own way, which only compare schema knows.
    found = differences(pair.source, pair.target)
    assert [one for one in found if " made." not in one.partition("\n")[0]] == []
    source = options[:2]
    for what in (
        *("databases", "extensions", "collations", "tables", "table-parts", "sequences"),
        *("indexes", "depends", "schema"),
    ):
        named = ["--schema-name", "shop", "--table-name", "items"]
        chosen = named if what in {"table-parts"} else []
        done = pgcopydb_command("list", what, *chosen, *source, "--json", timeout=SECONDS)
        assert done.status == 0, done.stderr
        assert json.loads(done.stdout)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("pair", "plugin"),
    [
        pytest.param(versions, plugin, id=f"{named(versions)} {plugin}")
        for versions in UPGRADES
        for plugin in ("pgoutput", "test_decoding")
        if (versions[0], plugin) != (16, "test_decoding")  # the embedded 16 is without it
    ],
    indirect=["pair"],
)
def test_an_application_is_followed(
    pair: SourceTarget,
    plugin: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
) -> None:
    major = request.node.callspec.params["pair"][0]
    pair.source.execute(script(APPLICATION, major))
    migration = Migration(pair, tmp_path / "work", pgcopydb_command, pgcopydb_background, plugin)
    migration.specials = major >= 14  # numeric knows no infinity before
    migration.clone_and_follow()
    for what in ("schema", "data"):
        migration.run("compare", what, timeout=SECONDS)
    migration.judge()
