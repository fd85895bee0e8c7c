"""Roles, memberships and settings become SQL."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pgcopydb.model.objects import Database
from pgcopydb.model.roles import Membership
from pgcopydb.sql.database import create_database
from pgcopydb.sql.quote import quote_identifier
from pgcopydb.sql.roles import by_one_grantor, grant_membership, in_order
from pgcopydb.sql.settings import set_clause, split_list

NAMES = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize(
    ("setting", "clause"),
    [
        ("work_mem=7MB", "SET \"work_mem\" TO '7MB'"),
        ("DateStyle=ISO, MDY", "SET \"DateStyle\" TO 'ISO, MDY'"),
        ('search_path="$user", public', "SET \"search_path\" TO '$user', 'public'"),
        ('search_path=""', "SET \"search_path\" TO ''"),
        ("my.odd name=a=b'c", "SET \"my\".\"odd name\" TO 'a=b''c'"),
    ],
)
def test_a_stored_setting_is_said_again(setting: str, clause: str) -> None:
    assert set_clause(setting) == clause


@given(st.lists(NAMES, min_size=1))
def test_a_list_of_identifiers_is_split_where_it_was_joined(names: list[str]) -> None:
    assert split_list(", ".join(map(quote_identifier, names))) == names


def membership(role: str, member: str, *, admin: bool = False, by: str | None = None) -> Membership:
    return Membership(
        role=role, member=member, may_admin=admin, inherits=True, may_set=False, grantor=by
    )


def test_a_grantor_comes_after_what_made_it_one() -> None:
    last = membership("shared", "c", by="b")
    second = membership("shared", "b", admin=True, by="a")
    first = membership("shared", "a", admin=True)
    assert list(in_order([last, second, first])) == [first, second, last]
    assert list(in_order([last])) == [membership("shared", "c")]
    assert list(in_order([last], [("shared", "b")])) == [last]


def test_what_several_granted_is_granted_by_one() -> None:
    by_one = membership("shared", "c", by="a")
    by_another = replace(by_one, may_set=True, inherits=False, grantor="b")
    own = membership("new", "me", admin=True)
    of_15 = replace(own, inherits=None, may_set=None)
    bare = replace(own, inherits=False)

    def granted(*given: Membership, version_num: int = 160000) -> list[Membership]:
        return list(by_one_grantor(given, role="me", created={"new"}, version_num=version_num))

    assert granted(by_one, by_another) == [replace(by_one, may_set=True, grantor=None)]
    assert granted(own) == [replace(own, may_admin=False)]
    assert granted(of_15) == [replace(of_15, may_admin=False)]
    assert granted(bare) == []
    assert granted(bare, version_num=150000) == [bare]


def test_a_grant_says_what_the_version_knows() -> None:
    one = membership("r", "m", admin=True, by="g")
    assert grant_membership(one, version_num=150000) == 'GRANT "r" TO "m" WITH ADMIN OPTION'
    assert grant_membership(one, version_num=160000) == (
        'GRANT "r" TO "m" WITH ADMIN TRUE, INHERIT TRUE, SET FALSE GRANTED BY "g"'
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"owner": True, "tablespace": True}, ' OWNER "o""" TABLESPACE "fast disk"'),
        ({"owner": False, "tablespace": False}, ""),
    ],
)
def test_a_database_is_made_like_another(options: dict[str, bool], expected: str) -> None:
    database = Database(
        oid=1,
        name="shop",
        owner='o"',
        encoding="UTF8",
        provider="c",
        collation="C",
        ctype="C",
        locale=None,
        tablespace="fast disk",
        is_template=False,
        allows_connections=True,
        connection_limit=-1,
        bytes=0,
    )
    statement = create_database(database, version_num=140000, **options)
    assert statement == (
        "CREATE DATABASE \"shop\" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
        + expected
    )
