"""Large objects that change while the migration runs: noticed at its end, never passed over."""

from pathlib import Path

from tests.support.clock import wait_for
from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.servers import SourceTarget


def test_a_changed_large_object_is_named_until_it_is_mended_or_left(
    source_target: SourceTarget,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
    tmp_path: Path,
) -> None:
    source, target = source_target.source, source_target.target
    source.execute(
        "create table t (id int primary key);"
        "select lo_from_bytea(7000 + g, 'content') from generate_series(1, 3) g"
    )
    options = [*source_target.options, "--dir", str(tmp_path / "work")]
    on_source = [*options[:2], *options[4:]]
    with pgcopydb_background("snapshot", "--follow", *on_source) as running:
        assert wait_for(lambda: running.stdout != ""), running.stderr
        assert pgcopydb_command("clone", *options).status == 0
    source.execute("insert into t values (1); select lo_put(7002, 0, 'C'); select lo_unlink(7003)")
    ended = pgcopydb_command("stream", "sentinel", "set", "endpos", "--current", *on_source)
    assert ended.status == 0, ended.stderr

    follow = pgcopydb_command("follow", *options)
    assert follow.status == 3
    assert "large objects changed on the source since they were copied" in follow.stderr
    assert "7002, 7003" in follow.stderr
    assert target.rows("select id from t") == [(1,)]
    compared = pgcopydb_command("compare", "data", *options)
    assert compared.status == 8
    assert "large object 7002: contents 7 bytes" in compared.stdout
    assert "large object 7003: only on the target" in compared.stdout

    target.execute("select lo_unlink(7003)")
    follow = pgcopydb_command("follow", *options, "--resume")
    assert (follow.status, "7003" in follow.stderr) == (3, False)
    assert pgcopydb_command("follow", *options, "--resume", "--skip-large-objects").status == 0
    assert pgcopydb_command("compare", "data", *options, "--skip-large-objects").status == 0
