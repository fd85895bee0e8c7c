"""Whatever depends on whatever: nothing is made that lacks what it needs."""

from hypothesis import given
from hypothesis import strategies as st

from pgcopydb.model.dependencies import CatalogObject, Need
from pgcopydb.model.filters import Filters, Pattern, Rule, Section
from pgcopydb.rules.selection import select

_CLASS, _OTHER = 1259, 1255

KINDS = st.sampled_from(["r", "r", "v", "m", "S", "other"])
SCHEMAS = st.sampled_from(["a", "b", "c"])


@st.composite
def databases(draw: st.DrawFn) -> tuple[list[CatalogObject], list[Need]]:
    objects = [CatalogObject(2615, n, "schema", None, name) for n, name in enumerate("abc", 1)]
    for n in range(draw(st.integers(1, 12))):
        kind = draw(KINDS)
        catalog = _OTHER if kind == "other" else _CLASS
        objects.append(CatalogObject(catalog, 100 + n, kind, draw(SCHEMAS), f"o{n}"))
    keys = [one.key for one in objects[3:]]
    pairs = draw(st.lists(st.tuples(st.sampled_from(keys), st.sampled_from(keys)), max_size=15))
    needs = [
        Need(dependent, needed, draw(st.sampled_from("na")))
        for dependent, needed in pairs
        if dependent > needed
    ]
    return objects, needs


def exclusions(objects: list[CatalogObject]) -> st.SearchStrategy[list[Rule]]:
    tables = [
        Rule(Section.EXCLUDE_TABLE, 1, Pattern(one.schema or ""), Pattern(one.name))
        for one in objects
        if one.kind in "rvmS"
    ]
    schemas = [Rule(Section.EXCLUDE_SCHEMA, 1, None, Pattern(name)) for name in "abc"]
    return st.lists(st.sampled_from([*tables, *schemas]), max_size=4)


@given(st.data())
def test_nothing_kept_needs_what_is_left_out(data: st.DataObject) -> None:
    objects, needs = data.draw(databases())
    filters = Filters(tuple(data.draw(exclusions(objects))), "f")
    selection = select(filters, objects, needs)
    for need in needs:
        if need.needed in selection.left_out and need.dependent not in selection.left_out:
            assert need.dependent in selection.unowned
    completed = selection.filters
    for one in objects[3:]:
        if one.kind == "other":
            continue
        assert completed.selects_table(*one.qualified) == (one.key not in selection.left_out)
        named = not filters.selects_table_by_rule(*one.qualified)
        if named and one.kind in "rvm":
            assert one.key in selection.left_out
    for key in selection.unowned:
        assert any(need.needed == key for need in needs)


@given(databases())
def test_without_rules_nothing_is_left_out(
    database: tuple[list[CatalogObject], list[Need]],
) -> None:
    selection = select(Filters(), *database)
    assert not selection.left_out
    assert not selection.dependents
