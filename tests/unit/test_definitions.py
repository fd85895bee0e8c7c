"""What counts as a difference between two definitions of an object, and how privileges are told."""

import pytest

from pgcopydb.model.definition import Definition, Privileges
from pgcopydb.model.options import CompareOptions
from pgcopydb.rules.definitions import Definitions
from pgcopydb.rules.privileges import privileges_text

OWNER_ALL = ("joe=arwdDxt/joe",)


@pytest.mark.parametrize(
    ("granted", "default", "expected"),
    [
        (OWNER_ALL, OWNER_ALL, ""),
        (("joe=arwdDxtm/joe",), ("joe=arwdDxtm/joe",), ""),
        ((*OWNER_ALL, "=r/joe"), OWNER_ALL, "PUBLIC SELECT"),
        ((*OWNER_ALL, "bob=r*w/joe"), OWNER_ALL, "bob SELECT*, UPDATE"),
        ((*OWNER_ALL, '"b=""o/b"=X/joe'), OWNER_ALL, 'b="o/b EXECUTE'),
        (("joe=arwDxt/joe",), OWNER_ALL, "revoked: the owner DELETE"),
        (
            ("bob=U/joe",),
            ("=U/joe", "joe=U/joe"),
            "bob USAGE; revoked: PUBLIC USAGE, the owner USAGE",
        ),
    ],
)
def test_privileges_are_told_as_what_was_granted_and_revoked(
    granted: tuple[str, ...], default: tuple[str, ...], expected: str
) -> None:
    assert privileges_text(Privileges(granted=granted, default=default, owner="joe")) == expected


def test_what_is_no_list_of_privileges_is_refused() -> None:
    with pytest.raises(ValueError, match="access control"):
        privileges_text(Privileges(granted=("nonsense",), default=(), owner="joe"))


def _names(kind: str, ours: dict[str, str], theirs: dict[str, str], **rules: object) -> list[str]:
    definitions = Definitions(CompareOptions(), **rules)  # type: ignore[arg-type]
    here, there = (
        Definition(kind=kind, name="x", key="x", properties=properties)
        for properties in (ours, theirs)
    )
    return [value.name for value in definitions.differences(here, there)]


VIEW = {"definition": "SELECT t.id, 'a.b' FROM s.t"}


def test_versions_may_print_columns_with_their_table_or_without() -> None:
    short = {"definition": "SELECT id, 'a.b' FROM s.t"}
    across = {"schemas": frozenset({"s"}), "versions_differ": True}
    assert _names("view", VIEW, short) == ["definition"]
    assert _names("view", VIEW, short, **across) == []
    assert _names("view", VIEW, {"definition": "SELECT id, 'b' FROM s.t"}, **across)
    assert _names("view", VIEW, {"definition": "SELECT id, 'a.b' FROM t"}, **across)
    quoted = {"schemas": frozenset({'"S"', "s"}), "versions_differ": True}
    assert _names("view", VIEW, {"definition": "SELECT id, 'a.b' FROM \"S\".t"}, **quoted)


def test_the_order_of_columns_counts_only_where_they_are_the_same() -> None:
    order = "order of columns"
    assert _names("table", {order: "a, b"}, {order: "b, a"}) == [order]
    assert _names("table", {order: "a, b"}, {order: "a, b, c"}) == []
    assert _names("table", {order: "a"}, {}) == []


def test_the_version_of_an_extension_is_told_and_no_difference() -> None:
    here, there = (
        Definition(kind="extension", name="e", key="e", properties={"version": version})
        for version in ("1.0", "1.1")
    )
    definitions = Definitions(CompareOptions())
    assert not list(definitions.differences(here, there))
    assert list(definitions.notes(here, there)) == [
        "extension e: version 1.0 on the source, 1.1 on the target"
    ]
