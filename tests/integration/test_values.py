"""Values of every built-in type, of those of Debian's contrib, and very large ones: by each plugin.

Whether a row is found by such a value is tried too, in a table that has no other key.
"""

from collections.abc import Sequence

import pytest

from tests.support.random_values import carry_random_values
from tests.support.steps import Stream
from tests.support.workload import APPLICATION

pytestmark = pytest.mark.forked_commands

PLUGINS = pytest.mark.parametrize("plugin", ["pgoutput", "wal2json", "test_decoding"])
BETWEEN_15 = pytest.mark.parametrize("source_target", [(15, 15)], indirect=True)

TYPES = r"""
create extension hstore; create extension citext; create extension cube; create extension seg;
create extension isn; create extension ltree; create extension lo; create extension intarray;
create extension earthdistance;
create type mood as enum ('happy', 'it''s', 'a, "b"', 'back\slash', '');
create type inner_pair as (a integer, b text);
create type outer_pair as (p inner_pair, l inner_pair[], m mood);
create domain checked as outer_pair check ((value).m <> '');
create domain percent as numeric(5,2) check (value between 0 and 100);
create domain words as citext[];
create type text_range as range (subtype = text, collation = "C");
create table named (id integer primary key);
"""

VALUES: dict[str, Sequence[str]] = {
    "hstore": [r'"a"=>"1", "b\"\\c"=>NULL, ""=>"x=>y, z"', ""],
    "citext": ["Straße ß", "ÀB'c\\"],
    "citext[]": ['{a,"B, c",NULL}', "{}"],
    "words": ['{A,"b\\"c"}'],
    "cube": ["(1,2,3)", "(0.1,-2),(3,4.25)", "()"],
    "seg": ["1.5 .. 2.50", "~7", "<9", "1e7 .. 1.10e9"],
    "isbn": ["978-0-393-04002-9", "0-11-000533-3"],
    "ean13": ["977-1436-45200-8"],
    "ltree": ["Top.Science.Astronomy", ""],
    "lquery": ["*.foo|bar%@*{1,2}.!x"],
    "ltree[]": ['{a.b,"c.d",NULL}'],
    "lo": ["12345"],
    "mood": ["happy", "it's", 'a, "b"', "back\\slash", ""],
    "mood[]": ['{it\'s,"a, \\"b\\"","back\\\\slash",NULL,""}'],
    "inner_pair": ['(1,"x ""y"" \\\\ ,()")', "(,)", '(,"")'],
    "outer_pair": [r'("(1,""a b"")","{""(2,\\""q\\"")"",NULL}",happy)'],
    "checked": [r'("(1,)","{}",happy)'],
    "percent": ["5.50", "100", "0"],
    "percent[]": ["{5.50,NULL,0.00}"],
    "text_range": ['["a b","z,")', "empty", "(,)"],
    "int4multirange": ["{}", "{[1,3),[7,9)}", "{(,5)}"],
    "datemultirange": ['{["0044-03-15 BC","2026-01-01")}'],
    "tsmultirange": ['{["2026-01-01 00:00:00","infinity")}'],
    "int8range": ["[-9223372036854775808,9223372036854775807)"],
    "integer[]": ["{}", "[-2:0]={7,8,9}", "{{1,2},{3,NULL}}", "[0:1][5:6]={{1,2},{3,4}}"],
    "text[]": ['{NULL,"NULL","","a\\"b","c\\\\d","{}",","," "}', "[3:3]={x}"],
    "date": ["0044-03-15 BC", "infinity", "-infinity", "5874897-12-31", "4713-01-01 BC"],
    "timestamp": ["0001-12-31 23:59:59.999999 BC", "294276-12-31 23:59:59", "-infinity"],
    "timestamptz": ["0044-03-15 12:00:00+05:45 BC", "2026-10-25 02:30:00+02", "infinity"],
    "interval": ["-178000000 years", "1 mon -1 day 00:00:00.000001", "-00:00:01"],
    "timetz": ["24:00:00+15:59", "00:00:00.000001-15:59"],
    "numeric": ["1.10", "-0.000000000000000000001", "9" * 200, "0e-5"],
    "double precision": ["5e-324", "-0", "1.7976931348623157e308", "0.1"],
    "real": ["1e-45", "-0", "3.4028235e38", "0.1"],
    "money": ["-92233720368547758.08", "1234.50"],
    "bytea": ["\\x", "\\x00ff5c0a27", "\\x5c5c"],
    "bit(5)": ["10101"],
    "bit varying": ["", "1", "0" * 70],
    "xml": ["<a b='c'>&amp;\n</a>", "plain & simple".replace("&", "&amp;")],
    "json": ['{"a" : 1.0,  "a":[1e400, "\\u0001\\\\"]}', "null"],
    "jsonb": ['{"k": 1.10, "l": "\\"\\\\"}', "null"],
    "jsonpath": ['$."a b"[*]?(@ > 1.50)'],
    '"char"': ["x", "'", "\\303"],
    "name": ["a \"b\" 'c'"],
    "character(7)": ["ab", "  x  "],
    "varchar": ["", " ", "\t\n\r\\N\\."],
    "tsvector": ["'it''s':1A,3 'b\\\\c':2"],
    "tsquery": ["'it''s' & !( 'b':*A <2> 'c' )"],
    "inet": ["10.0.0.1/8", "::ffff:1.2.3.4", "10.0.0.7"],
    "cidr": ["10.0.0.0/8"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    "point": ["(0.1,-0)", "(1e300,NaN)"],
    "line": ["{1,-1,0.5}"],
    "lseg": ["[(0,0),(1,0.1)]"],
    "path": ["((0,0),(1,1))", "[(0,0),(1,1)]"],
    "polygon": ["((0,0),(1,1),(0,2))"],
    "circle": ["<(0.1,0),1.5>"],
    "pg_lsn": ["FFFFFFFF/FFFFFFFF"],
    "pg_snapshot": ["10:20:10,14,15"],
    "oid": ["4294967295"],
    "regclass": ["named", "pg_catalog.pg_class"],
    "regtype": ["mood[]", "double precision"],
    "boolean": ["t", "f"],
}
"""For each type some values, as it reads them."""


def column(type_name: str) -> str:
    return '"' + type_name.replace('"', "'") + '"'


@BETWEEN_15
@PLUGINS
def test_p36_values_of_every_type(stream: Stream) -> None:
    names = ", ".join(map(column, VALUES))
    columns = ", ".join(f"{column(name)} {name}" for name in VALUES)
    stream.both(
        f"{TYPES} create table by_key (id integer primary key, n integer, {columns});"
        f"create table by_row (n integer, {columns}); alter table by_row replica identity full;"
        "create table by_word (c citext primary key, v text);"
        "create table by_number (n numeric primary key, v text);"
    )
    stream.set_up()
    with stream.pair.source.connect() as writer:
        writer.execute("insert into by_key (id) select g from generate_series(1, 6) g")
        for type_name, values in VALUES.items():
            for number, value in enumerate(values, 1):
                change = f"update by_key set {column(type_name)} = %s::{type_name} where id = %s"
                writer.execute(change.encode(), [value, number])
        writer.execute(f"insert into by_row select n, {names} from by_key".encode())
        writer.execute(f"insert into by_row select n, {names} from by_key where id < 3".encode())
        writer.execute("update by_row set n = 1; update by_key set n = 1 where id < 4")
        one = "where ctid = (select min(ctid) from by_row)"
        writer.execute(f"update by_row set n = 2 {one}; delete from by_row {one}".encode())
        writer.execute("insert into by_word values ('abc', 'x'), ('d', 'y')")
        writer.execute("update by_word set c = 'ABC' where c = 'abc'; update by_word set v = 'z'")
        writer.execute("insert into by_number values (1.5, 'x'), (2, 'y')")
        writer.execute("update by_number set n = 1.50 where n = 1.5; update by_number set v = 'z'")
        writer.execute("delete from by_number where n = 2; delete from by_word where c = 'D'")
    finished = stream.replay()
    assert "row by row" not in finished.stderr


@pytest.mark.parametrize(
    ("source_target", "plugin"), [((16, 18, APPLICATION), "pgoutput")], indirect=["source_target"]
)
def test_random_values_between_servers_that_print_them_otherwise(stream: Stream) -> None:
    """A sample of ``campaign/random_values.py``."""
    carry_random_values(stream, seed=54, count=600)


@BETWEEN_15
@pytest.mark.parametrize(
    ("plugin", "megabytes"), [("pgoutput", 100), ("wal2json", 20), ("test_decoding", 20)]
)
def test_p37_very_large_values(stream: Stream, megabytes: int) -> None:
    """One is inserted, left as it is by an update of each identity, and then deleted.

    The other plugins take 100 MB as well, and too long for a test.
    """
    stream.both(
        "create table by_key (id integer primary key, n integer, large text);"
        "create table by_row (n integer, large text); alter table by_row replica identity full"
    )
    stream.set_up()
    large = f"repeat('0123456789', {megabytes} * 100000)"
    for table, more in (("by_key", "(1, 1, "), ("by_row", "(1, ")):
        stream.pair.source.execute(f"insert into {table} values {more}{large})")
        stream.pair.source.execute(f"update {table} set n = 2")
    stream.set_endpos()
    stream.run("stream", "replay", timeout=140)
    sizes = "select (select n || ' ' || length(large) from by_key),"
    sizes += "(select n || ' ' || length(large) from by_row)"
    expected = f"2 {megabytes * 1_000_000}"
    assert stream.pair.target.rows(sizes) == [(expected, expected)]
    stream.pair.source.execute("delete from by_row; delete from by_key")
    stream.set_endpos()
    stream.run("stream", "replay", timeout=140)
    assert (stream.count("by_key"), stream.count("by_row")) == (0, 0)
