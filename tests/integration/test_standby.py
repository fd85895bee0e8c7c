"""A standby as the source of a clone: nothing can be written there, and nothing is."""

from pathlib import Path

import pytest

from tests.integration.test_clone import OBJECTS
from tests.support.commands import Pgcopydb
from tests.support.equality import differences
from tests.support.servers import Database, MakeCluster, MakeDatabase, Servers, SourceTarget
from tests.support.standby import Standby


@pytest.mark.parametrize(("major", "target_major"), [(15, 15), (16, 18)])
def test_a_clone_of_a_standby(
    major: int,
    target_major: int,
    make_cluster: MakeCluster,
    make_database: MakeDatabase,
    servers: Servers,
    pgcopydb_command: Pgcopydb,
    tmp_path: Path,
) -> None:
    primary = make_cluster(major)
    primary.create_database("app")
    Database(primary, "app").execute(OBJECTS)
    Database(primary, "app").execute(
        "create unlogged table passing (id serial primary key);"
        " insert into passing select generate_series(1, 10)"
    )
    with Standby(primary) as standby:
        standby.catch_up()
        source = Database(standby, "app")
        pair = SourceTarget(source, make_database(servers.get(target_major, "target")))
        options = [*pair.options, "--dir", str(tmp_path / "work")]
        finished = pgcopydb_command("clone", "--table-jobs", "2", *options)
        assert finished.status == 0, finished.stderr
        assert "unlogged tables cannot be read: public.passing" in finished.stderr
        assert pair.target.rows("select count(*) from passing") == [(0,)]
        refused = pgcopydb_command("clone", "--follow", *options[:-1], str(tmp_path / "other"))
        assert refused.status != 0
        assert "standby" in refused.stderr
    Database(primary, "app").execute("truncate passing, shop.scratch")
    assert differences(Database(primary, "app"), pair.target) == []
