"""``compare data``: whatever is not the same is named, and nothing else is."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgcopydb.cli.render_comparison import data_comparison
from pgcopydb.compare.data import compare_data
from pgcopydb.errors import ConfigurationError, PgcopydbError
from pgcopydb.model.comparison import DataComparison
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.options import CompareOptions, WorkOptions
from pgcopydb.workdir.directory import open_directory
from tests.support.commands import Pgcopydb
from tests.support.servers import Database, MakeDatabase, Servers, SourceTarget

pytestmark = pytest.mark.forked_commands

OBJECTS = (Path(__file__).parents[1] / "support" / "objects.sql").read_text()


@dataclass(frozen=True)
class Case:
    """A table with rows, what happens to it on the target, and what is to be said of it."""

    columns: str
    rows: str
    change: str
    expected: tuple[str, ...]


def _one(kind: str, value: str, other: str, shown: str) -> Case:
    """Return the case of one value of a type that becomes another."""
    return Case(
        f"id int primary key, v {kind}",
        f"(1, {value}), (2, {value})",
        f"update @ set v = {other} where id = 2",
        ("1 of 2 rows differs", f"id = 2: v {shown}"),
    )


CASES = {
    "integer": _one("int", "1", "-1", "1 -> -1"),
    "float_bit": _one("float8", "0.1", "0.1 + 1e-17 * 2", "0.1 -> 0.10000000000000002"),
    "float_zero": _one("float8", "0", "'-0'", "0 -> -0"),
    "real_bit": _one("float4", "1", "1.0000001", "1 -> 1.0000001"),
    "float_nan": _one("float8", "'infinity'", "'nan'", "Infinity -> NaN"),
    "numeric_scale": _one("numeric", "1.0", "1.00", "1.0 -> 1.00"),
    "numeric_digit": _one(
        "numeric",
        "12345678901234567890.123456789",
        "12345678901234567890.123456788",
        "12345678901234567890.123456789 -> 12345678901234567890.123456788",
    ),
    "trailing_space": _one("text", "'a'", "'a '", "a -> 'a '"),
    "case_of_letter": _one("text", "'a'", "'A'", "a -> A"),
    "empty_not_null": _one("text", "null", "''", "NULL -> ''"),
    "word_null": _one("text", "null", "'NULL'", "NULL -> 'NULL'"),
    "normal_form": _one("text", "U&'\\00e9'", "U&'e\\0301'", "'\\xe9' -> 'e\\u0301'"),
    "control": _one("text", "'a'", "E'a\\x1b[2J'", "a -> a\\x1b[2J"),
    "char_padding": _one('"char"', "'a'", "'b'", "a -> b"),
    "bytea": _one("bytea", "'\\x00ff'", "'\\x00fe'", "\\x00ff -> \\x00fe"),
    "bytea_empty": _one("bytea", "''", "null", "\\x -> NULL"),
    "boolean": _one("bool", "true", "null", "t -> NULL"),
    "jsonb_key": _one("jsonb", "'{\"a\": 1}'", "'{\"b\": 1}'", '{"a": 1} -> {"b": 1}'),
    "jsonb_number": _one("jsonb", "'1.0'", "'1.00'", "1.0 -> 1.00"),
    "json_space": _one("json", "'[1]'", "'[1] '", "[1] -> '[1] '"),
    "array_bound": _one("int[]", "'{1,2}'", "'[0:1]={1,2}'", "{1,2} -> [0:1]={1,2}"),
    "array_null": _one("text[]", "'{NULL}'", "'{\"NULL\"}'", '{NULL} -> {"NULL"}'),
    "array_depth": _one("int[]", "'{1}'", "'{{1}}'", "{1} -> {{1}}"),
    "timestamptz": _one(
        "timestamptz",
        "'2026-03-29 01:00:00+00'",
        "'2026-03-29 01:00:00.000001+00'",
        "2026-03-29 01:00:00+00 -> 2026-03-29 01:00:00.000001+00",
    ),
    "interval": _one("interval", "'1 mon'", "'30 days'", "1 mon -> 30 days"),
    "interval_day": _one("interval", "'1 day'", "'24:00'", "1 day -> 24:00:00"),
    "timetz": _one("timetz", "'10:00+01'", "'09:00+00'", "10:00:00+01 -> 09:00:00+00"),
    "inet": _one("inet", "'10.0.0.1'", "'10.0.0.1/31'", "10.0.0.1 -> 10.0.0.1/31"),
    "range": _one("numrange", "'[1,2]'", "'[1,2)'", "[1,2] -> [1,2)"),
    "bits": _one("varbit", "'1'", "'10'", "1 -> 10"),
    "money": _one("money", "'1'", "'1.01'", "$1.00 -> $1.01"),
    "point": _one("point", "'(0,0)'", "'(0,-0)'", "(0,0) -> (0,-0)"),
    "vector": _one("tsvector", "'a:1'", "'a:1A'", "'a':1 -> 'a':1A"),
    "long": Case(
        "id int primary key, v text",
        "(1, repeat('x', 100000))",
        "update @ set v = v || 'y'",
        ("1 of 1 row differs", f"id = 1: v differs after {'x' * 60}…"),
    ),
    "missing_row": Case(
        "a int, b text, v int, primary key (b, a)",
        "(1, 'x', 1), (2, 'it''s', 2)",
        "delete from @ where a = 2",
        ("2 rows on the source, 1 on the target", "b = it's, a = 2: only on the source"),
    ),
    "composite_key": Case(
        'a int, "b ""c" text, v int, primary key ("b ""c", a)',
        """(1, 'x', 1), (2, E'it''s, "y"\\n', 2), (1, 'y', 3)""",
        "update @ set v = 4 where a = 2",
        ("1 of 3 rows differs", """b "c = it's, "y"\\n, a = 2: v 2 -> 4"""),
    ),
    "further_row": Case(
        "id int primary key, v int",
        "(1, 1)",
        "insert into @ values (7, 1)",
        ("1 row on the source, 2 on the target", "id = 7: only on the target"),
    ),
    "moved_key": Case(
        "id int primary key, v int",
        "(1, 1), (2, 1)",
        "update @ set id = 3 where id = 2",
        ("2 of 2 rows differ", "id = 2: only on the source", "id = 3: only on the target"),
    ),
    "swapped": Case(
        "id int primary key, v text",
        "(1, 'a'), (2, 'b')",
        "update @ set v = case id when 1 then 'b' else 'a' end",
        ("2 of 2 rows differ", "id = 1: v a -> b", "id = 2: v b -> a"),
    ),
    "twins": Case(
        "a int, b text",
        "(1, 'a'), (1, 'a'), (2, 'b')",
        "delete from @ where ctid = (select min(ctid) from @); insert into @ values (2, 'b')",
        (
            "2 of 3 rows differ",
            "row (1,a): 2 times on the source, once on the target",
            "row (2,b): once on the source, 2 times on the target",
        ),
    ),
    "thrice": Case(
        "a int",
        "(1)",
        "insert into @ values (1), (1)",
        (
            "1 row on the source, 3 on the target",
            "row (1): once on the source, 3 times on the target",
        ),
    ),
    "doubled_key": Case(
        "id int primary key, v int",
        "(1, 1)",
        "alter table @ drop constraint @_pkey; insert into @ values (1, 1)",
        (
            "1 row on the source, 2 on the target",
            "id = 1: once on the source, 2 times on the target",
        ),
    ),
    "column_gone": Case(
        "id int primary key, v int, w int",
        "(1, 1, 1)",
        "alter table @ drop column v",
        ("the target lacks column v",),
    ),
    "column_new": Case(
        "id int primary key, v int",
        "(1, 1)",
        "alter table @ add column w int default 1; update @ set v = 2",
        ("the source lacks column w; 1 of 1 row differs", "id = 1: v 1 -> 2"),
    ),
    "table_gone": Case("id int", "(1)", "drop table @", ("the target lacks it",)),
    "renamed_column": Case(
        "id int primary key, v int",
        "(1, 1)",
        "alter table @ rename v to w",
        ("the target lacks column v; the source lacks column w",),
    ),
    # What is built differently and holds the same is equal.
    "wider_type": Case(
        "id int primary key, v int", "(1, 1)", "alter table @ alter v type bigint", ()
    ),
    "other_order": Case(
        "id int primary key, a int, b int",
        "(1, 2, 3)",
        "alter table @ drop a; alter table @ add a int; update @ set a = 2",
        (),
    ),
    "rewritten": Case("id int primary key, v int", "(1, 1), (2, 2)", "update @ set v = v", ()),
    "now_partitioned": Case(
        "id int primary key, v text",
        "(1, 'a'), (2, 'b'), (11, 'c')",
        "drop table @; create table @ (v text, id int primary key)"
        " partition by range (id);"
        " create table @_1 partition of @ for values from (0) to (10);"
        " create table @_2 partition of @ for values from (10) to (20);"
        " insert into @ values ('a', 1), ('b', 2), ('c', 11)",
        (),
    ),
    "now_partitioned_and_other": Case(
        "id int primary key, v text",
        "(1, 'a'), (11, 'c')",
        "drop table @; create table @ (id int primary key, v text)"
        " partition by range (id);"
        " create table @_1 partition of @ for values from (0) to (10);"
        " create table @_2 partition of @ for values from (10) to (20);"
        " insert into @ values (1, 'a'), (11, 'C')",
        ("1 of 2 rows differs", "id = 11: v c -> C"),
    ),
}


def _script() -> str:
    return "; ".join(
        f"create table {name} ({case.columns}); insert into {name} values {case.rows}"
        for name, case in CASES.items()
    )


def _changes() -> str:
    return "; ".join(case.change.replace("@", name) for name, case in CASES.items())


def compared(pair: SourceTarget, **options: object) -> DataComparison:
    return compare_data(
        pair.source.endpoint(Side.SOURCE),
        pair.target.endpoint(Side.TARGET),
        CompareOptions(jobs=2, **options),  # type: ignore[arg-type]
        WorkOptions(),
    )


def said(found: DataComparison) -> dict[str, tuple[str, ...]]:
    """Return the lines about each table, by its name."""
    lines: dict[str, tuple[str, ...]] = {}
    name = ""
    for line in data_comparison(found, as_json=False).splitlines():
        if line.startswith("table "):
            name, _, reason = line.removeprefix("table public.").partition(": ")
            lines[name] = (reason,)
        elif line.startswith("  "):
            lines[name] += (line.strip(),)
    return lines


def _both(servers: Servers, make_database: MakeDatabase, target: int, script: str) -> SourceTarget:
    pair = SourceTarget(
        make_database(servers.get(15, "source")), make_database(servers.get(target, "target"))
    )
    for database in (pair.source, pair.target):
        database.execute(script)
    return pair


@pytest.mark.parametrize("target", [15, 18])
def test_every_change_of_the_target_is_named_and_nothing_else(
    servers: Servers, make_database: MakeDatabase, target: int
) -> None:
    pair = _both(servers, make_database, target, _script())
    assert compared(pair).is_equal
    pair.target.execute(_changes())
    expected = {name: case.expected for name, case in CASES.items() if case.expected}
    assert said(compared(pair)) == expected


def test_many_rows_are_searched_in_parts_for_the_few_that_differ(
    servers: Servers, make_database: MakeDatabase
) -> None:
    pair = _both(
        servers,
        make_database,
        18,
        "create table big (id bigint primary key, v text);"
        "insert into big select g, 'value ' || g from generate_series(1, 60000) g;"
        "create table loose as select id % 30000 as id, v from big;"
        "alter table big set (autovacuum_enabled = off)",
    )
    pair.target.execute(
        "update big set v = 'other' where id in (5, 59999); delete from big where id = 30000;"
        "insert into big values (-3, 'new');"
        "update loose set v = 'other' where v = 'value 77'"
    )
    found = said(compared(pair))
    assert found == {
        "big": (
            "4 of 60,000 rows differ",
            "id = -3: only on the target",
            "id = 5: v value 5 -> other",
            "id = 30000: only on the source",
            "id = 59999: v value 59999 -> other",
        ),
        "loose": (
            "2 of 60,000 rows differ",
            'row (77,"value 77"): only on the source',
            "row (77,other): only on the target",
        ),
    }
    pair.target.execute("update big set v = v || '!'")
    (big, _) = compared(pair, max_rows=3).table_differences
    assert len(big.rows) == 3
    assert big.more
    (big, _) = compared(pair, max_rows=0).table_differences
    assert not big.rows


LONG = """
create table long (id integer primary key, v bit varying);
do $$declare part bit varying := B'1'::bit(83886080); whole bit varying := part; begin
  for n in 1..12 loop whole := whole || part; end loop;  -- in 136 MB
  insert into long values (1, whole);
end$$
"""


@pytest.mark.parametrize("source_target", [(16, 18, LONG)], indirect=True)
def test_a_value_whose_text_would_pass_a_gigabyte_is_not_taken_for_equal(
    source_target: SourceTarget,
) -> None:
    source_target.target.execute(f"{LONG}; update long set v = v || B'1'")
    with pytest.raises(PgcopydbError, match=r"reading public.long failed") as failed:
        compared(source_target)
    assert "1 GB" in (failed.value.hint or "")


@pytest.mark.parametrize(
    "source_target", [(15, 15, OBJECTS), (15, 18, OBJECTS), (16, 18, OBJECTS)], indirect=True
)
def test_a_clone_of_a_rich_database_is_equal_and_says_of_what_moment(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    options: list[str | Path] = [*source_target.options, "--dir", tmp_path / "work"]
    source_target.source.execute(
        "select lo_from_bytea(0, convert_to(repeat('x', 3000000 + g), 'UTF8'))"
        " from generate_series(1, 3) g; select lo_create(0)"
    )
    assert pgcopydb_command("clone", *options).status == 0
    done = pgcopydb_command("compare", "data", *options, "--json")
    assert done.status == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["equal"]
    assert found["large_objects"] == 4
    assert found["sequences"] > 5
    assert found["rows"] > 3000
    assert "/" in found["source"]["lsn"]
    assert found["target"]["time"].endswith("Z")

    ((oid,),) = source_target.target.rows("select max(oid) from pg_largeobject_metadata")
    source_target.target.execute(
        f"select lo_put({oid}, 0, 'y'); select lo_put({oid - 1}, 2999999, 'y');"
        f"select lo_unlink({oid - 2}); select lo_create({oid + 1});"
        "select setval('shop.tickets', 100); select setval('shop.uncalled', 42);"
        "drop sequence shop.cycling; refresh materialized view shop.unfilled"
    )
    done = pgcopydb_command("compare", "data", *options)
    assert done.status == 8
    assert "ERROR: source and target differ" in done.stderr
    lines = [line for line in done.stdout.splitlines() if " -> " in line or ": only" in line]
    assert lines[:3] == [
        "sequence shop.cycling: only on the source",
        "sequence shop.tickets: value 6 -> 100",
        "sequence shop.uncalled: value 42, not called yet -> 42",
    ]
    assert "table shop.unfilled: is populated on the target only" in done.stdout
    assert [line.partition(": ")[0] for line in lines[3:]] == [
        f"large object {number}" for number in (oid - 2, oid - 1, oid, oid + 1)
    ]
    for database in (source_target.source, source_target.target):
        database.execute("update shop.items set price = price + 1")
    source_target.target.execute("refresh materialized view shop.prices")
    done = pgcopydb_command("compare", "data", *options)
    assert "table shop.prices: a materialized view, to be refreshed on both sides" in done.stdout
    done = pgcopydb_command("compare", "data", *options, "--skip-large-objects", "--json")
    kinds = {one["kind"] for one in json.loads(done.stdout)["object_differences"]}
    assert kinds == {"sequence"}


def test_what_a_role_may_not_read_is_an_error_and_not_equal(source_target: SourceTarget) -> None:
    role = f"reader_{source_target.target.name}"
    for database in (source_target.source, source_target.target):
        database.execute("create table t (id int primary key); create sequence s")
    source_target.target.execute(f"create role {role} login")
    target = source_target.target.cluster.conninfo(source_target.target.name, user=role)

    def compare() -> DataComparison:
        return compare_data(
            source_target.source.endpoint(Side.SOURCE),
            Endpoint(Side.TARGET, target),
            CompareOptions(),
            WorkOptions(),
        )

    with pytest.raises(ConfigurationError, match=r"target role may not read public\.t") as caught:
        compare()
    assert "GRANT" in str(caught.value.hint)
    source_target.target.execute(f"grant select on t to {role}")
    with pytest.raises(ConfigurationError, match=r"target role may not read public\.s"):
        compare()
    source_target.target.execute(f"grant select on s to {role}")
    assert compare().is_equal
    source_target.target.execute("alter table t enable row level security")
    with pytest.raises(ConfigurationError, match=r"row security .* target role in public\.t"):
        compare()


def test_nothing_is_compared_while_a_migration_is_under_way(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    options: list[str | Path] = [*source_target.options, "--dir", work]
    with open_directory(WorkOptions(directory=work), command="clone --follow"):
        done = pgcopydb_command("compare", "data", *options)
    assert done.status == 9
    assert "not comparable now" in done.stderr
    assert pgcopydb_command("compare", "data", *options).status == 0
    assert pgcopydb_command("compare", "data", *options, "--max-rows", "-1").status == 1


def test_filters_and_odd_databases(
    servers: Servers, make_database: MakeDatabase, tmp_path: Path
) -> None:
    script = """
        create schema a; create schema "b%s";
        create table a.t (id int primary key); create table a.skipped (id int);
        create table "b%s"."x""y %(k)s" ("k""%s" text primary key, v bytea, "Ü" text);
        insert into "b%s"."x""y %(k)s" values ('it''s %s', 'x', 'ü');
    """
    pair = _both(servers, make_database, 18, script)
    pair.target.execute(
        """insert into a.skipped values (1); update "b%s"."x""y %(k)s" set "Ü" = 'u'"""
    )
    filters = tmp_path / "filters.ini"
    filters.write_text("[exclude-table-data]\na.skipped\n")
    found = compared(pair, filters=filters)
    assert data_comparison(found, as_json=False).splitlines()[:2] == [
        """table b%s.x"y %(k)s: 1 of 1 row differs""",
        """  k"%s = it's %s: Ü ü -> u""",
    ]
    assert len(found.table_differences) == 1


def test_all_databases(
    servers: Servers, make_database: MakeDatabase, pgcopydb_command: Pgcopydb
) -> None:
    pair = _both(servers, make_database, 18, "create table t (id int primary key)")
    name = pair.source.name
    pair.target.cluster.create_database(name)
    other = Database(pair.target.cluster, name)
    other.execute("create table t (id int primary key)")
    done = pgcopydb_command("compare", "data", *pair.options, "--all-databases", "--json")
    found = {one["database"]: one for one in json.loads(done.stdout)}
    assert done.status == 8  # what the target alone has
    assert found[name]["equal"]
    assert found[pair.target.name] == {
        "database": pair.target.name,
        "equal": False,
        "found": "only on the target",
    }
    done = pgcopydb_command("compare", "schema", *pair.options, "--all-databases")
    assert f'database "{pair.target.name}": only on the target' in done.stdout
    assert f'database "{name}":\n' in done.stdout


@pytest.mark.parametrize(
    ("source", "target", "value", "shown"),
    [
        ("LATIN1", "UTF8", "'ÿ'", "ÿ"),
        ("SQL_ASCII", "SQL_ASCII", "E'\\xff\\xfe'", "\\udcff\\udcfe"),
    ],
)
def test_encodings(
    servers: Servers,
    make_database: MakeDatabase,
    source: str,
    target: str,
    value: str,
    shown: str,
) -> None:
    databases = []
    for encoding, cluster in (
        (source, servers.get(15, "source")),
        (target, servers.get(18, "target")),
    ):
        admin = make_database(cluster)
        name = f"{admin.name}_{encoding.lower()}"
        admin.execute(f"create database {name} encoding '{encoding}' locale 'C' template template0")
        databases.append(Database(cluster, name))
        client = "SQL_ASCII" if encoding == "SQL_ASCII" else "UTF8"
        with databases[-1].connect(client_encoding=client) as connection:
            connection.execute('create table "tä" ("kü" int primary key, v text)'.encode())
            connection.execute(f'insert into "tä" values (1, {value})'.encode())
    pair = SourceTarget(*databases)
    assert compared(pair).is_equal
    pair.target.execute("""update "tä" set v = 'y'""")
    assert data_comparison(compared(pair), as_json=False).splitlines()[:2] == [
        "table public.tä: 1 of 1 row differs",
        f"  kü = 1: v {shown} -> y",
    ]
