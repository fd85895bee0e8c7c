"""The file of filters: what it says, what it refuses, and what is decided by it."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgcopydb.errors import ConfigurationError
from pgcopydb.model.filters import EVERYTHING, QUALIFIED, Filters, Pattern, Rule, Section
from pgcopydb.rules.filters import parse_filters

FILE = """\
\ufeff# what the reporting database needs
[exclude-schema]
Scratch
~/^tmp_\\/x/   ; a slash in it
"Odd.""Schema"

[exclude-table]
public.AUDIT   # folded
"Odd Schema"."a;b"
~/^part/.~/_old$/
größe."Ü"
[ exclude-table-data ]  # spaces and comments are welcome
public.~/log/\r
[exclude-index]
public.wide_idx
[exclude-extension]
pg_stat_statements
[exclude-event-trigger]
~/^audit/
[exclude-table]
public.more
"""


def test_a_file_says_what_is_left_out() -> None:
    filters = parse_filters(FILE, origin="f.ini")
    assert [str(rule) for rule in filters.rules[:4]] == [
        "scratch",
        "~/^tmp_\\/x/",
        '"Odd.""Schema"',
        "public.audit",
    ]
    schemas = ["scratch", "Scratch", "tmp_/x1", "a tmp_/x", 'Odd."Schema', "public"]
    assert [name for name in schemas if not filters.selects_schema(name)] == [
        "scratch",
        "tmp_/x1",
        'Odd."Schema',
    ]
    tables = {
        ("scratch", "t"): False,
        ("public", "audit"): False,
        ("public", "AUDIT"): True,
        ("Odd Schema", "a;b"): False,
        ("part1", "t_old"): False,
        ("part1", "t_old2"): True,
        ("apart", "t_old"): True,
        ("größe", "Ü"): False,
        ("größe", "ü"): True,
        ("public", "more"): False,
        ("public", "access_logs"): True,
    }
    assert {table: filters.selects_table(*table) for table in tables} == tables
    assert not filters.copies_data("public", "access_logs")
    assert not filters.copies_data("public", "more")
    assert filters.copies_data("app", "access_logs")
    assert not filters.selects_index("public", "wide_idx")
    assert filters.selects_index("app", "wide_idx")
    assert not filters.selects_extension("pg_stat_statements")
    assert filters.selects_extension("hstore")
    assert not filters.selects_event_trigger("audit_ddl")
    assert filters.selects_event_trigger("ddl")


def test_includes_leave_out_all_else() -> None:
    filters = parse_filters(
        "[include-only-table]\na.t\nb.~/x/\n[exclude-table-data]\nb.x\n"
        "[include-only-extension]\nhstore",
        origin="f",
    )
    taken = [("a", "t"), ("a", "u"), ("b", "axb"), ("b", "x"), ("c", "t")]
    assert [name for name in taken if filters.selects_table(*name)] == [
        ("a", "t"),
        ("b", "axb"),
        ("b", "x"),
    ]
    assert [name for name in taken if filters.copies_data(*name)] == [("a", "t"), ("b", "axb")]
    assert filters.selects_extension("hstore")
    assert not filters.selects_extension("plpgsql")
    schemas = parse_filters("[include-only-schema]\na\n[exclude-table]\na.t", origin="f")
    assert schemas.selects_schema("a")
    assert not schemas.selects_schema("b")
    assert schemas.selects_table("a", "u")
    assert not schemas.selects_table("a", "t")
    assert not schemas.selects_table("b", "t")


def test_without_a_file_all_is_taken() -> None:
    assert EVERYTHING.selects_all
    assert EVERYTHING.selects_schema("s")
    assert EVERYTHING.copies_data("s", "t")
    assert EVERYTHING.selects_index("s", "i")
    assert EVERYTHING.selects_extension("e")
    assert EVERYTHING.selects_event_trigger("t")
    assert parse_filters("# nothing\n\n[exclude-table]\n", origin="f").selects_all


def test_what_the_catalogue_adds_wins_over_the_rules() -> None:
    filters = Filters(
        (Rule(Section.EXCLUDE_SCHEMA, 1, None, Pattern("s")),),
        left_out=(("public", "view"),),
        taken_in=(("s", "t"),),
        needed_schemas=("s",),
    )
    assert filters.selects_schema("s")
    assert not filters.selects_schema_by_rule("s")
    assert filters.copies_data("s", "t")
    assert not filters.selects_table("s", "u")
    assert not filters.selects_table("public", "view")
    assert not filters.selects_index("public", "view")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("public.t", "f.ini, line 1: public.t stands in no section", "[exclude-table]"),
        ("\n[exclude-tables]\na.b", "f.ini, line 2: [exclude-tables] is not", "[exclude-table]"),
        ("[Include-Only-Table]", "line 1: [Include-Only-Table] is not", "[include-only-table]"),
        ("[exclude-table", "line 1: [exclude-table is not", "[exclude-table]"),
        ("[zzz]", "line 1: [zzz] is not", "one of [include-only-schema], [exclude-schema]"),
        ("[exclude-table]\nt", "line 2: t has 1 part,", "write public.t, or ~/.*/.t"),
        ("[exclude-table]\na.b.c", "a.b.c has 3 parts", "write public.c"),
        ("[exclude-schema]\na.b", "a.b has 2 parts", "write b, or put quotes"),
        ("[exclude-table]\npublic.my-table", "is not a name", 'public."my-table"'),
        ("[exclude-table]\npublic.a b", "is not a name", 'public."a b"'),
        ("[exclude-table]\npublic.a#b", "is not a name", 'public."a#b"'),
        ('[exclude-table]\npublic."a', "is not a name", "public.a"),
        ('[exclude-schema]\n""', "is not a name", "one name a line"),
        ('[exclude-schema]\n"a\x00"', "is not a name", "double quotes"),
        ("[exclude-table]\npublic.", "is not a name", "public"),
        ("[exclude-table]\n*.t", "is not a name", '"*".t'),
        ("[exclude-schema]\n~/a", "not a regular expression between slashes", "~/pattern/"),
        ("[exclude-schema]\n~a~", "not a regular expression between slashes", "~/pattern/"),
        ("[exclude-schema]\n~/(/", "is not a regular expression: missing )", "backslash"),
        ("[include-only-table]\n", "line 1: [include-only-table] names nothing", "remove"),
        (
            "[exclude-schema]\na\n[include-only-schema]\nb",
            "line 3: [include-only-schema] and [exclude-schema] contradict",
            "keep one",
        ),
        ("[exclude-table]\na.b\n[include-only-table]\na.c", "contradict", "keep one"),
        ("[exclude-schema]\na\n[include-only-table]\na.c", "contradict", "keep one"),
        ("[include-only-schema]\na\n[include-only-table]\na.c", "contradict", "keep one"),
        ("[include-only-extension]\na\n[exclude-extension]\nb", "contradict", "keep one"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_filters(text, origin="f.ini")
    assert message in caught.value.message
    assert caught.value.hint is not None
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message


# -- whatever the names ---------------------------------------------------------------------------

NAMES = st.text(
    st.characters(exclude_characters="\x00\n", exclude_categories=["Cs"]), min_size=1, max_size=20
)
EXACT = NAMES.map(Pattern)
PARTS = EXACT | NAMES.map(lambda text: Pattern(_escaped(text), is_expression=True))


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in r"\.^$*+?{}[]|()#&~- " else c for c in text)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    section = draw(st.sampled_from([one for one in Section if one.startswith("exclude")]))
    schema = draw(PARTS) if section in QUALIFIED else None
    return Rule(section, 2, schema, draw(PARTS))


@given(rules())
def test_a_rule_survives_being_written_and_read(rule: Rule) -> None:
    read = parse_filters(f"[{rule.section}]\n{rule}", origin="f")
    assert read.rules == (rule,)
    assert str(read.rules[0]) == str(rule)


@given(st.lists(rules()), NAMES, NAMES)
def test_filters_survive_the_work_directory(listed: list[Rule], schema: str, name: str) -> None:
    filters = Filters(tuple(listed), "f.ini", ((schema, name),), ((name, schema),), (schema,))
    filters.selects_table(schema, name)
    again = msgspec.json.decode(msgspec.json.encode(filters), type=Filters)
    assert again == filters


@given(NAMES, NAMES)
def test_a_plain_name_means_itself_alone(one: str, other: str) -> None:
    rule = Rule(Section.EXCLUDE_TABLE, 2, Pattern(one), Pattern(other))
    read = parse_filters(f"[exclude-table]\n{rule}", origin="f")
    assert not read.selects_table(one, other)
    assert read.selects_table(one, other + "x")
    assert read.selects_table(other, one) == (one != other)


@given(st.text())
def test_no_text_does_worse_than_a_configuration_error(text: str) -> None:
    for section in Section:
        with suppress(ConfigurationError):
            parse_filters(f"[{section}]\n{text}", origin="f")
