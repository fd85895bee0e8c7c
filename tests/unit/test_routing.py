"""Where the rows of a partition go on a target that is partitioned otherwise."""

import pytest

from pgcopydb.errors import StateError
from pgcopydb.model.capture import Capture, FollowedTable
from pgcopydb.model.changes import Relation
from pgcopydb.model.targets import TargetColumn, TargetTable
from pgcopydb.rules.routing import make_route, tables_to_truncate

COLUMN = TargetColumn("id", "integer", generated=False, identity_always=False, exact=True)
ROOT = TargetTable("s", "root", partitioned=False, columns={"id": COLUMN}, key=("id",))
OTHER = TargetTable("s", "other", partitioned=False, columns={"id": COLUMN})
TABLES = {("s", "root"): ROOT, ("s", "other"): OTHER}
LEAVES = frozenset({("s", "a"), ("s", "b")})


def relation(name: str) -> Relation:
    return Relation("s", name, ("id",), ("integer",), key=(0,))


def leaf(name: str) -> FollowedTable:
    return FollowedTable(
        schema="s",
        name=name,
        columns=("id integer",),
        identity=("id",),
        full=False,
        keyless=False,
        filenode=1,
        ancestors=(("s", "middle"), ("s", "root")),
    )


def test_a_capture_knows_what_a_partition_is_of() -> None:
    capture = Capture(start=1, encoding="UTF8", version_num=160000, tables=(leaf("a"), leaf("b")))
    assert capture.ancestors("s", "a") == (("s", "middle"), ("s", "root"))
    assert capture.ancestors("s", "unknown") == ()
    assert capture.partitions(("s", "root")) == LEAVES


def test_a_partition_goes_to_the_table_above_it() -> None:
    route = make_route(relation("a"), TABLES, home=("s", "root"), partitions=LEAVES)
    assert (route.table, route.key) == (ROOT, (0,))


def test_truncating_every_partition_truncates_the_table_once() -> None:
    routes = [
        make_route(relation(name), TABLES, home=("s", "root"), partitions=LEAVES)
        for name in ("a", "b")
    ]
    routes.append(make_route(relation("other"), TABLES))
    assert tables_to_truncate(routes) == [ROOT, OTHER]
    with pytest.raises(StateError, match=r"a TRUNCATE of s\.a alone"):
        tables_to_truncate(routes[:1])
