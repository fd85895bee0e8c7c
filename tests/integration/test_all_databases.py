"""clone --all-databases: every database of a server, each by itself."""

from pathlib import Path

import pytest
from psycopg import sql

from tests.support.commands import Pgcopydb
from tests.support.equality import differences
from tests.support.servers import Database, MakeCluster

ODD = 'Odd "db"\'s = name'

FACTS = """
    select datname, pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype
    from pg_database where not datistemplate order by 1
"""


@pytest.mark.parametrize(("major", "target_major"), [(15, 15), (16, 18)])
def test_every_database_is_copied_and_a_failure_told(
    major: int,
    target_major: int,
    make_cluster: MakeCluster,
    pgcopydb_command: Pgcopydb,
    tmp_path: Path,
) -> None:
    source, target = make_cluster(major), make_cluster(target_major)
    with source.connect() as session:
        session.execute("create role boss login")
        create = sql.SQL("create database {} owner boss encoding 'LATIN1' template template0")
        session.execute(create.format(sql.Identifier(ODD)) + sql.SQL(" locale 'C'"))
        session.execute("create database plain")
        session.execute("create database taken")
    for name in (ODD, "plain", "taken"):
        Database(source, name).execute(
            "create table t (id integer primary key, name text default 'x');"
            " insert into t select generate_series(1, 50)"
        )
    target.create_database("taken")
    Database(target, "taken").execute("create table t (other text)")
    work = tmp_path / "work"
    sides = ["--source", source.conninfo(), "--target", target.conninfo(), "--dir", str(work)]

    def clone(*more: str) -> tuple[int, str, str]:
        finished = pgcopydb_command("clone", "--all-databases", *sides, *more)
        return finished.status, finished.stdout, finished.stderr

    status, _, errors = clone("--follow")
    assert status == 1
    assert "--all-databases contradicts --follow" in errors

    status, shown, errors = clone("--roles")
    assert status == 7, errors
    assert '1 of 4 databases were not copied: "taken"' in errors
    (told,) = [line.split() for line in shown.splitlines() if line.startswith("taken")]
    assert told == ["taken", "failed"]
    with target.connect() as session, source.connect() as other:
        assert session.execute(FACTS).fetchall() == other.execute(FACTS).fetchall()
    for name in (ODD, "plain"):
        assert differences(Database(source, name), Database(target, name)) == []

    assert "holds a previous run" in clone()[2]
    Database(target, "taken").execute("drop table t")
    status, shown, errors = clone("--resume")
    assert status == 0, errors
    assert "copied before" in shown
    assert differences(Database(source, "taken"), Database(target, "taken")) == []
