"""Migrate a database in which everything has a hostile name: part of ``make campaign``.

Objects of thirty kinds for each of some fifty names are copied, followed and compared: by each
output plugin, and under filters that name them.
"""

from pathlib import Path

import pytest

from tests.scenarios.conftest import migration  # noqa: F401 - a fixture
from tests.scenarios.migration import Migration
from tests.support import hostile
from tests.support.commands import Pgcopydb
from tests.support.equality import differences, differing_tables
from tests.support.servers import SourceTarget

SECONDS = 200.0


@pytest.mark.timeout(900)
@pytest.mark.parametrize("source_target", [(15, 15), (15, 18), (16, 18)], indirect=True)
def test_they_are_copied(
    source_target: SourceTarget, tmp_path: Path, pgcopydb_command: Pgcopydb
) -> None:
    hostile.create_objects(source_target.source)
    options = [*source_target.options, "--dir", str(tmp_path / "work")]
    cloned = pgcopydb_command("clone", "--roles", *options, timeout=SECONDS)
    assert cloned.status == 0, cloned.stderr
    for what in ("schema", "data"):
        compared = pgcopydb_command("compare", what, *options, timeout=SECONDS)
        assert compared.status == 0, compared.stdout + compared.stderr
    # Versions print views in two ways, which the oracle cannot tell apart with such names.
    differing = (
        differences
        if source_target.source.cluster.bindir == (source_target.target.cluster.bindir)
        else differing_tables
    )
    assert differing(source_target.source, source_target.target) == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize("plugin", ["pgoutput", "test_decoding", "wal2json"])
@pytest.mark.parametrize("source_target", [(15, 18)], indirect=True)
def test_their_changes_are_followed(migration: Migration, plugin: str) -> None:  # noqa: F811
    pair = migration.pair
    hostile.create_objects(pair.source)
    options = ["--roles", "--plugin", plugin, "--no-identity", "full"]
    with migration.start("clone", "--follow", *options) as running:
        migration.wait_until_applying(running, seconds=SECONDS)
        hostile.change_rows(pair.source)
        migration.sentinel("set", "endpos", "--current")
        ended = running.wait(SECONDS)
    assert ended.status == 0, ended.stderr
    migration.run("stream", "cleanup")
    for database in (pair.source, pair.target):
        hostile.refresh_views(database)
    for what in ("schema", "data"):
        migration.run("compare", what, timeout=SECONDS)


@pytest.mark.parametrize("source_target", [(15, 18)], indirect=True)
def test_filters_name_them(
    source_target: SourceTarget, tmp_path: Path, pgcopydb_command: Pgcopydb
) -> None:
    hostile.create_objects(source_target.source)
    filters = tmp_path / "filters.ini"
    filters.write_text(hostile.filters(), encoding="utf-8")
    options = [*source_target.options, "--dir", str(tmp_path / "work"), "--filters", str(filters)]
    cloned = pgcopydb_command("clone", "--roles", *options, timeout=SECONDS)
    assert cloned.status == 0, cloned.stderr
    for what in ("schema", "data"):
        compared = pgcopydb_command("compare", what, *options, timeout=SECONDS)
        assert compared.status == 0, compared.stdout + compared.stderr
    made = source_target.target.rows(
        "select nspname::text from pg_class as c join pg_namespace as n on n.oid = c.relnamespace"
        " where c.relname = n.nspname"
    )
    assert made == []
