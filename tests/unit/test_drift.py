"""Differences between what is followed and what is there: of types, and of whole tables."""

import pytest
from msgspec.structs import replace

from pgcopydb.errors import StateError
from pgcopydb.model.capture import FollowedTable, changed_tables, rewritten_tables
from pgcopydb.model.changes import Relation
from pgcopydb.model.targets import TargetColumn, TargetTable
from pgcopydb.rules.column_types import takes
from pgcopydb.rules.routing import make_route


def column(*names: str, modifier: int = -1) -> TargetColumn:
    return TargetColumn(
        name="c",
        type=names[0] if names else "text",
        generated=False,
        identity_always=False,
        exact=True,
        type_names=names,
        modifier=modifier,
    )


@pytest.mark.parametrize(
    ("target", "source"),
    [
        (column("integer", "pg_catalog.int4"), "integer"),
        (column("integer[]", "pg_catalog._int4"), "integer[]"),
        (column("app.mood[]", "app._mood"), "app.mood[]"),
        (column("app.mood[]", "app.__mood"), "app._mood"),
        (column('"Odd".mood[]', "Odd._mood"), '"Odd"._mood'),
        (column("app._plain", "app._plain"), "app._plain"),
        (column("app.percent", "app.percent", "numeric", "pg_catalog.numeric"), "numeric"),
        (column("extensions.citext", "extensions.citext"), "public.citext"),
        (column("public.geometry", "public.geometry"), '"public".geometry(Point,4326)'),
        (column('public."user"', "public.user"), "public.user"),
        (column("character", "pg_catalog.bpchar"), "bpchar"),
        (column('"char"', "pg_catalog.char"), '"char"'),
        (column("bigint", "pg_catalog.int8"), "integer"),
        (column("text", "pg_catalog.text"), "character varying"),
        (column("integer", "pg_catalog.int4"), ""),
        (column(), "anything"),
    ],
)
def test_a_column_takes_its_own_type_by_every_name(target: TargetColumn, source: str) -> None:
    assert takes(target, source, None)


@pytest.mark.parametrize(
    ("target", "source"),
    [
        (column("integer", "pg_catalog.int4"), "bigint"),
        (column("integer", "pg_catalog.int4"), "text"),
        (column("integer[]", "pg_catalog._int4"), "integer"),
        (column("text", "pg_catalog.text"), "text[]"),
        (column("app.mood", "app.mood"), "app.humour"),
        (column('"char"', "pg_catalog.char"), "character"),
        (column("timestamp without time zone", "pg_catalog.timestamp"), "timestamp with time zone"),
    ],
)
def test_a_column_does_not_take_another_type(target: TargetColumn, source: str) -> None:
    assert not takes(target, source, None)


def test_a_length_or_precision_of_the_target_must_be_the_source_s() -> None:
    exact = column("numeric", "pg_catalog.numeric", modifier=0xA0006)
    assert takes(exact, "numeric", 0xA0006)
    assert not takes(exact, "numeric", 0xA0008)
    assert not takes(exact, "numeric", -1)
    assert not takes(exact, "integer", -1)
    assert takes(exact, "numeric", None)
    assert takes(column("numeric", "pg_catalog.numeric"), "numeric", 0xA0006)


def test_what_a_table_of_the_target_lacks_is_told_in_one_line() -> None:
    table = TargetTable("s", "t", False, {"c": column("integer", "pg_catalog.int4")})
    relation = Relation("s", "t", ("c", "new"), ("text", "date"))
    with pytest.raises(StateError) as caught:
        make_route(relation, {("s", "t"): table})
    assert caught.value.message == (
        "table s.t of the source has changed, and the target's has not: column c is integer, on"
        " the source text; it lacks column new date"
    )


def test_a_column_that_only_the_target_computes_takes_no_values() -> None:
    computed = replace(column("integer", "pg_catalog.int4"), generated=True)
    tables = {("s", "t"): TargetTable("s", "t", False, {"c": computed})}
    relation = Relation("s", "t", ("c",), ("integer",))
    assert make_route(relation, tables, generated=frozenset({"c"})).stored == ()
    with pytest.raises(StateError, match="column c is generated, on the source it is not"):
        make_route(relation, tables, generated=frozenset())


BEFORE = FollowedTable(
    schema="s",
    name="t",
    columns=("id integer not null", "v text"),
    identity=("id",),
    full=False,
    keyless=False,
    filenode=1,
    versions=("1:700", "2:700"),
)


@pytest.mark.parametrize(
    ("after", "difference"),
    [
        (replace(BEFORE, filenode=2), ""),
        (replace(BEFORE, columns=("id integer not null", "v date")), "(-v text, +v date)"),
        (replace(BEFORE, versions=("1:700", "2:800")), "altered"),
        (replace(BEFORE, versions=("1:700", "3:800")), "altered"),
        (replace(BEFORE, full=True), "replica identity"),
        (replace(BEFORE, name="u"), "was dropped"),
    ],
)
def test_changes_of_a_table_that_no_stream_carries(after: FollowedTable, difference: str) -> None:
    found = changed_tables([BEFORE], [after])
    assert difference in found.get(("s", "t"), "")
    assert bool(found) == bool(difference)


def test_a_partition_that_came_or_went_is_said_of_the_tables_over_it() -> None:
    part = replace(BEFORE, ancestors=(("s", "half"), ("s", "root")))
    moved = replace(part, ancestors=(("s", "root"),))
    assert changed_tables([part], [moved]) == {("s", "half"): "lost or got a partition"}
    assert changed_tables([part], [BEFORE]).keys() == {("s", "half"), ("s", "root")}
    assert changed_tables([part], [part]) == {}


def test_a_table_in_another_file_was_rewritten() -> None:
    other = replace(BEFORE, name="other")
    assert rewritten_tables([BEFORE, other], {("s", "t"): 2, ("s", "other"): 1}) == {("s", "t")}
    assert rewritten_tables([BEFORE], {}) == frozenset()


def test_a_column_is_known_by_its_whole_name() -> None:
    """The text of a column begins with its name, which may have spaces."""
    spaced = replace(BEFORE, columns=("a b text", "c integer"), names=("a b", "c"))
    assert [name for name in ("a", "a b", "a b text", "c") if spaced.had(name)] == ["a b", "c"]
    assert BEFORE.had("id")  # as an earlier version wrote it down, without the names


def test_a_capture_without_versions_is_compared_by_the_rest() -> None:
    assert changed_tables([replace(BEFORE, versions=())], [BEFORE]) == {}
    assert changed_tables([], [BEFORE]) == {("s", "t"): "was made after the change capture began"}
