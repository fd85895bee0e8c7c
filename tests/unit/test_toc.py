"""The list of a dump's entries: read, chosen from and written back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgcopydb.rules.toc import KINDS, parse_list, render_list

# Printed by pg_restore 15.20, 16.14 and 18.4 alike, apart from the header.
LISTED = """\
;
; Archive created at 2026-11-23 18:01:57 UTC
;     dbname: dmp
;     TOC Entries: 80
;
; Selected TOC Entries:
;
7; 2615 16467 SCHEMA - Odd S postgres
3458; 0 0 COMMENT - SCHEMA app postgres
3270; 3576 16573 TRANSFORM - TRANSFORM FOR integer LANGUAGE sql 
903; 1255 16492 AGGREGATE app agg(integer) postgres
2035; 2753 16569 OPERATOR FAMILY app oc postgres
3459; 0 0 USER MAPPING - USER MAPPING public SERVER srv postgres
225; 1259 16555 TABLE Odd S a b ; x postgres
3462; 0 0 SEQUENCE OWNED BY app c_id_seq postgres
3464; 0 0 ACL app COLUMN p.id postgres
3272; 0 0 TABLE ATTACH app part1 postgres
3293; 2606 16559 CONSTRAINT Odd S a b ; x a b ; x_pkey postgres
3274; 2606 16575 CHECK CONSTRAINT app p nv postgres
3297; 2606 16517 FK CONSTRAINT app c c_pid_fkey my owner
3444; 0 16506 ROW SECURITY app c postgres
3447; 6104 16551 PUBLICATION - pgcopydb postgres
3448; 6104 16553 PUBLICATION - pgcopydb two postgres
3450; 6106 16552 PUBLICATION TABLE app pgcopydb p postgres
3451; 6106 16554 PUBLICATION TABLE app pgcopydb two p postgres
3452; 6237 16555 PUBLICATION TABLES IN SCHEMA - pub app postgres
2105; 826 16554 DEFAULT ACL app DEFAULT PRIVILEGES FOR TABLES postgres
3271; 3466 16547 EVENT TRIGGER - evt postgres
"""  # noqa: W291 - an entry without an owner ends with a space


def entries() -> dict[int, tuple[str, str | None, str, str]]:
    parsed = parse_list(LISTED, schemas=["Odd S", "app"], owners=["postgres", "my owner"])
    return {entry.dump_id: (entry.kind, entry.schema, entry.name, entry.owner) for entry in parsed}


@pytest.mark.parametrize(
    ("dump_id", "expected"),
    [
        (7, ("SCHEMA", None, "Odd S", "postgres")),
        (3270, ("TRANSFORM", None, "TRANSFORM FOR integer LANGUAGE sql", "")),
        (2035, ("OPERATOR FAMILY", "app", "oc", "postgres")),
        (225, ("TABLE", "Odd S", "a b ; x", "postgres")),
        (3462, ("SEQUENCE OWNED BY", "app", "c_id_seq", "postgres")),
        (3274, ("CHECK CONSTRAINT", "app", "p nv", "postgres")),
        (3297, ("FK CONSTRAINT", "app", "c c_pid_fkey", "my owner")),
        (3444, ("ROW SECURITY", "app", "c", "postgres")),
        (3450, ("PUBLICATION TABLE", "app", "pgcopydb p", "postgres")),
        (3452, ("PUBLICATION TABLES IN SCHEMA", None, "pub app", "postgres")),
        (2105, ("DEFAULT ACL", "app", "DEFAULT PRIVILEGES FOR TABLES", "postgres")),
    ],
)
def test_fields_of_an_entry(dump_id: int, expected: tuple[str, str | None, str, str]) -> None:
    assert entries()[dump_id] == expected


def test_the_object_is_named_by_catalog_and_oid() -> None:
    (entry,) = parse_list("3444; 0 16506 ROW SECURITY app c postgres")
    assert entry.object_key == (0, 16506)


def test_a_schema_with_a_line_break_is_found_as_it_is_printed() -> None:
    (entry,) = parse_list("1; 1259 2 TABLE a b t owner", schemas=["a\nb"])
    assert (entry.schema, entry.name) == ("a b", "t")


def test_a_kind_of_a_newer_version_is_read() -> None:
    (entry,) = parse_list("1; 1259 2 PROPERTY GRAPH app g owner")
    assert (entry.kind, entry.schema, entry.name) == ("PROPERTY GRAPH", "app", "g")


@pytest.mark.parametrize("line", ["nonsense", "1; 2 TABLE a b c", "1; 2 3 lower case x"])
def test_a_line_of_another_form_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"table of contents|no kind"):
        parse_list(line)


def test_a_list_written_back_holds_the_chosen_lines() -> None:
    parsed = parse_list(LISTED)
    assert render_list(parsed[:2]) == (
        "7; 2615 16467 SCHEMA - Odd S postgres\n3458; 0 0 COMMENT - SCHEMA app postgres\n"
    )
    assert parse_list(render_list(parsed)) == parsed


_word = st.text(st.characters(codec="utf-8", exclude_characters=" \n\r"), min_size=1)


@given(
    st.sampled_from(KINDS),
    _word,
    st.text(st.characters(codec="utf-8", exclude_characters="\n\r")),
    _word,
)
def test_every_kind_is_told_from_what_follows(
    kind: str, schema: str, name: str, owner: str
) -> None:
    (entry,) = parse_list(f"1; 2 3 {kind} {schema} {name} {owner}")
    # A schema may be called as a kind goes on ("TABLE" and "DATA"): then the reading is the longer.
    if entry.kind == kind:
        assert (entry.schema or "-", entry.name, entry.owner) == (schema, name, owner)
    else:
        assert entry.kind.startswith(f"{kind} ")


def test_only_those_that_are_asked_for_are_read() -> None:
    verbose = (
        "; comment\n"
        "1; 1259 100 TABLE public first owner\n"
        ";\tdepends on: 3\n"
        "2; 1259 101 TABLE public second owner\n"
        ";\tdepends on: 4\n"
        "3; 2615 2200 SCHEMA - public owner\n"
    )
    found = parse_list(verbose, only={1, 3})
    assert [(one.dump_id, one.depends) for one in found] == [(1, (3,)), (3, ())]
