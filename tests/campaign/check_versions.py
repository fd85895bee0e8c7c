"""What ``pgcopydb check`` finds between 13 and 15: ``make campaign`` has a server of 13."""

from pathlib import Path

import pytest

from tests.support.commands import Pgcopydb
from tests.support.readiness import COPIED, Scene, checks
from tests.support.servers import SourceTarget
from tests.support.version_differences import (
    LOST_AFTER_13,
    MADE_SINCE_15,
    assert_lost_names_are_found,
    assert_new_features_are_found,
)


@pytest.mark.parametrize("source_target", [(13, 15)], indirect=True)
def test_what_uses_what_later_versions_do_not_have(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    assert_lost_names_are_found(source_target, 15, LOST_AFTER_13, pgcopydb_command, tmp_path)


@pytest.mark.parametrize("source_target", [(15, 13)], indirect=True)
def test_what_older_versions_cannot_make(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    assert_new_features_are_found(source_target, 13, MADE_SINCE_15, pgcopydb_command, tmp_path)


@pytest.mark.parametrize("source_target", [(13, 15)], indirect=True)
def test_what_later_versions_cannot_make(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    source, target = source_target.source, source_target.target
    source.execute(
        "create table t (id integer primary key);"
        " create aggregate gathered(anyelement)"
        " (sfunc = array_append, stype = anyarray, initcond = '{}');"
        " create aggregate of_text(text) (sfunc = array_append, stype = text[]);"
        " create function double(integer) returns integer language sql as 'select $1 * 2';"
        " create operator !! (leftarg = integer, function = double);"
        " create operator !!! (rightarg = integer, function = double);"
        " create operator @@@ (leftarg = anyarray, rightarg = anyelement, function = array_append)"
    )
    scene = Scene(source, target)
    (found,) = scene.look(COPIED).fatal
    assert found.check == "given-up"
    for one in ("aggregate public.gathered(", "operator public.!!(integer,NONE)", "public.@@@("):
        assert one in found.message
    assert "!!!" not in found.message
    assert "of_text" not in found.message
    source.execute(
        "drop aggregate gathered(anyelement); drop operator !! (integer, none);"
        " drop operator @@@ (anyarray, anyelement)"
    )
    assert checks(scene.look(COPIED).fatal) == set()
    options = ["--source", source.conninfo, "--target", target.conninfo]
    finished = pgcopydb_command("clone", "--dir", str(tmp_path / "w"), *options)
    assert finished.status == 0, finished.stderr
    assert target.rows("select of_text(v) from (values ('a')) as v (v)") == [(["a"],)]
