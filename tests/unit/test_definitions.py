"""What counts as a difference between two definitions of an object, and how privileges are told."""

import pytest

from pgcopydb.model.definition import Definition, Privileges
from pgcopydb.model.options import CompareOptions
from pgcopydb.rules.definitions import Definitions
from pgcopydb.rules.privileges import SINCE_17, privileges_text

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


def test_privileges_that_a_side_does_not_know_are_passed_over() -> None:
    given = Privileges(granted=("bob=rm/joe",), default=(), owner="joe")
    assert privileges_text(given, without=SINCE_17) == "bob SELECT"


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


@pytest.mark.parametrize(
    ("name", "older", "newer"),
    [
        ("parents", 'a, json, "B"', 'a, "json", "B"'),
        ("type", "s.json", 's."json"'),
        ("definition", "SELECT json FROM s.t", 'SELECT t."json" FROM s.t'),
        ("definition", "DO UPDATE s.t AS a SET x = 1", "DO UPDATE s.t a SET x = 1"),
        (
            "definition",
            "WITH w AS (DELETE FROM ONLY s.t AS a)",
            "WITH w AS (DELETE FROM ONLY s.t a)",
        ),
        ("definition", "INSERT INTO s.t AS a VALUES ('x')", "INSERT INTO s.t a VALUES ('x')"),
    ],
)
def test_versions_print_names_and_aliases_in_their_own_way(
    name: str, older: str, newer: str
) -> None:
    here, there = {name: older}, {name: newer}
    assert _names("rule", here, there) == [name]
    assert _names("rule", here, there, schemas=frozenset({"s"}), versions_differ=True) == []


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("comment", 'of "json"', "of json"),
        ("labels", "'\"a\"'", "'a'"),
        ("definition", "SELECT 'UPDATE t AS a'", "SELECT 'UPDATE t a'"),
        ("parents", '"Json", "a b"', '"json", "a b"'),
        ("definition", "WITH w AS (SELECT 1)", "WITH w (SELECT 1)"),
    ],
)
def test_what_a_person_wrote_is_not_taken_for_the_same(name: str, one: str, other: str) -> None:
    rules = {"schemas": frozenset({"s"}), "versions_differ": True}
    assert _names("x", {name: one}, {name: other}, **rules) == [name]


def test_the_order_of_columns_of_a_table_that_inherits_is_a_note() -> None:
    here, there = (
        Definition(
            kind="table",
            name="t",
            key="t",
            properties={"order of columns": order, "parents": "p"},
        )
        for order in ("a, b", "b, a")
    )
    definitions = Definitions(CompareOptions())
    assert list(definitions.differences(here, there)) == []
    assert list(definitions.notes(here, there)) == [
        "table t: order of columns a, b on the source, b, a on the target"
    ]


def test_the_order_of_columns_counts_only_where_they_are_the_same() -> None:
    order = "order of columns"
    assert _names("table", {order: "a, b"}, {order: "b, a"}) == [order]
    assert _names("table", {order: "a, b"}, {order: "a, b, c"}) == []
    assert _names("table", {order: "a"}, {}) == []
    across = {"versions_differ": True}
    assert _names("table", {order: "a, json"}, {order: '"json", a'}, **across) == [order]


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


def test_an_icu_locale_may_be_written_as_a_language_tag() -> None:
    """As servers from 16 on do, whichever way it was given."""
    icu = {"provider": "icu", "locale": "@colNumeric=yes"}
    assert _names("collation", icu, icu | {"locale": "und-u-kn"}) == []
    assert _names("collation", icu, icu | {"locale": "und"}) == ["locale"]
    libc = {"provider": "libc", "locale": "de_DE"}
    assert _names("collation", libc, libc | {"locale": "de-DE"}) == ["locale"]
