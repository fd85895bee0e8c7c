# ruff: noqa: E501, ISC004 - a change of the source is easier to read on one line
"""Changes of every awkward kind, followed by each plugin and applied in both ways.

The cases are named after the rows of the project's list of pitfalls (P16: unchanged TOAST, and so
on). Both databases begin as copies of one template, so that a case costs a few seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import Pgcopydb
from tests.support.equality import differing_tables
from tests.support.servers import SourceTarget

pytestmark = pytest.mark.forked_commands


@dataclass(frozen=True)
class Case:
    """Tables, and what is done to them while they are followed: each entry a transaction."""

    name: str
    schema: str
    changes: Sequence[str]


ODD = '"we\'ird.""t"""'
NASTY = r"E'tab\t nl\n cr\r bs\\ q'' dq\" \\N \\. '"

LARGE = {"large": "text", "b": "bytea", "j": "jsonb", "a": "text[]", "h": "hstore"}
IDENTITIES = {
    "by_key": "alter table by_key add primary key (id)",
    "by_index": "create unique index by_index_id on by_index (id);"
    " alter table by_index replica identity using index by_index_id",
    "by_row": "alter table by_row replica identity full",
    "by_both": "alter table by_both add primary key (id), replica identity full",
}
"""By table, what tells its rows apart; with none its updates are refused (test_check.py)."""


def large(seed: str) -> dict[str, str]:
    """Return an expression for each of ``LARGE``, whose value is too long to stay in its row."""
    text = f"repeat({seed}, 1500)"
    return {
        "large": text,
        "b": f"convert_to({text}, 'UTF8')",
        "j": f"jsonb_build_object('v', {text})",
        "a": f"array[{text}, null]",
        "h": f"hstore('v', {text})",
    }


NEW = ", ".join(large("'new'").values())
OTHER = large("'other'")

CASES = [
    Case(
        "P16 unchanged TOAST in every identity and of every type",
        "create extension hstore;"
        + "".join(
            f"""
            create table {table} (id int not null, n int, {", ".join(f"{c} {t}" for c, t in LARGE.items())});
            alter table {table} {", ".join(f"alter {c} set storage external" for c in LARGE)};
            {identity};
            insert into {table} select g, 0, {", ".join(large("right('" + table + "', 3) || g").values())} from generate_series(1, 80) g;
            """
            for table, identity in IDENTITIES.items()
        ),
        [
            "update by_key set n = n + 1; update by_index set n = n + 1; update by_row set n = 2; update by_both set n = 2",
            "update by_key set id = id + 100 where id < 4; update by_key set large = 'short' where id = 9",
            "update by_index set id = id + 100 where id < 4; delete from by_row where id = 2",
            f"insert into by_key values (900, 1, {NEW}); update by_key set n = 2 where id = 900",
            "update by_row set id = id + 100 where id = 1; update by_both set id = id + 100 where id < 4",
            # One of the large values changes and the others do not: each has its turn.
            *(
                f"update {table} set {column} = {value} where id = {number};"
                f" update {table} set {column} = null, n = 7 where id = {number + 1}"
                for table in IDENTITIES
                for number, (column, value) in enumerate(OTHER.items(), start=4)
            ),
        ],
    ),
    Case(
        "P17 P18 P19 P20 key changes, swaps, tables that are all key, updates of nothing",
        """
        create table pair (a int, b text, primary key (a, b));
        create table swap (id int primary key deferrable initially deferred, v text unique);
        alter table swap replica identity full;
        create table shift (id int primary key, v text);
        insert into pair select g, 'x' from generate_series(1, 5) g;
        insert into swap values (1, 'a'), (2, 'b'), (3, 'c');
        insert into shift select g, 'v' || g from generate_series(1, 5) g;
        """,
        [
            "update pair set b = 'y' where a < 3; update pair set a = a + 10 where a > 3",
            "update swap set id = case id when 1 then 2 when 2 then 1 else id end",
            "update shift set id = 100 where id = 1; update shift set id = 1 where id = 2;"
            " update shift set id = 2 where id = 100",
            "delete from shift where id = 3; insert into shift values (3, 'again')",
            "update pair set a = a, b = b; update shift set v = v",
            "insert into shift values (50, 'here'); delete from shift where id = 50",
            "insert into shift values (50, 'and'); update shift set v = 'back' where id = 50",
        ],
    ),
    Case(
        "keys of a composite type, and of a domain of one",
        """
        create type pair as (a int, "b c" text); create domain a_pair as pair check ((value).a > 0);
        create table by_pair (p pair primary key, n int);
        create table by_domain (p a_pair, id int, n int, primary key (id, p));
        insert into by_pair select row (g, 'it''s')::pair, g from generate_series(1, 20) g;
        insert into by_domain select row (g, null)::pair, g, g from generate_series(1, 20) g;
        """,
        [
            "update by_pair set n = 0 where n < 5; update by_domain set n = 0 where n < 5",
            "update by_pair set p = row (n + 100, 'a, b')::pair where n between 6 and 8",
            "update by_domain set p = row (id + 100, '\"')::pair where id between 6 and 8",
            "delete from by_pair where n > 12; delete from by_domain where n > 12",
        ],
    ),
    Case(
        "P21 P22 P23 identity FULL with NULLs, duplicates and types without equality",
        """
        create table multiset (a int, b text);
        create table odd (j json, p point, x xml, i inet, c char(5), f float8, n numeric, o boolean);
        create table kinds (v interval, b jsonb, r int4range, t text[], d date, u uuid);
        alter table multiset replica identity full;
        alter table odd replica identity full;
        alter table kinds replica identity full;
        insert into multiset values (1, 'a'), (1, 'a'), (1, null), (null, null), (null, null);
        insert into odd values
          ('{"a": 1}', '(1,2)', '<a/>', '10.0.0.1/8', 'ab', 0.1, 1.50, true),
          ('{"a":1}', '(1,2)', '<a/>', '10.0.0.1', 'ab', -0.0, 1.5, false),
          (null, null, null, null, null, 0.0, null, null);
        insert into kinds values
          ('1 day', '{"b": 1, "a": 2}', '[1,3)', array['x', null, 'N"U\\LL'], '0044-03-15 BC', null),
          ('24:00:00', '[]', 'empty', '[2:3]={a,b}', 'infinity',
            '11111111-1111-1111-1111-111111111111');
        """,
        [
            "delete from multiset where ctid = (select min(ctid) from multiset where b = 'a')",
            "update multiset set b = 'z' where ctid = (select max(ctid) from multiset)",
            "insert into multiset values (5, 'e'), (5, 'e'); delete from multiset where a is null",
            "update odd set c = 'x' where n = 1.50 and o; delete from odd where i = '10.0.0.1'",
            "update odd set f = 2 where j is null; update kinds set d = d where v = '1 day'",
            "update kinds set u = gen_random_uuid() where r = '[1,3)'; delete from kinds where d = 'infinity'",
        ],
    ),
    Case(
        "P28 P29 P30 numbers keep every digit, also as what a row is found by",
        """
        create table digits (n numeric, f8 float8, f4 float4, i bigint);
        create table digits_key (n numeric, f8 float8, v int, primary key (n, f8));
        alter table digits replica identity full;
        insert into digits values
          (5.99, 5.99, 5.99, 9007199254740993), (1e-20, 5e-324, 1e-40, -9223372036854775808),
          (12345678901234567890.12345678901234567890, 0.1, 0.1, 1), (1.10, 1e15, 16777217, 2),
          (2129020, 2129020.0, 2.12902e+06, 3), (0.30, 0.30000000000000004, 0.3, 4);
        insert into digits_key select n, f8, 0 from digits;
        """,
        [
            "update digits set i = i - 1 where i > 0; update digits_key set v = 1",
            "update digits set n = n * 3; update digits set f8 = f8 / 3, f4 = f4 / 3 where f8 > 0.001",
            "update digits_key set f8 = f8 / 7, n = n / 7 where f8 > 0.001",
            "delete from digits where i < 0; update digits_key set v = 2 where f8 < 0.1",
            "delete from digits_key where v = 1 and n > 1",
        ],
    ),
    Case(
        "P31 P34 what is printed by settings of either database",
        """
        create table printed (
          id int primary key, b bytea, d date, ts timestamp, tz timestamptz, iv interval, m money,
          f float8, ba bytea[], x xml
        );
        insert into printed select g, decode('5c78000a27', 'hex'), '2026-03-04', '2026-03-04 05:06',
          '2026-03-04 05:06+07', '-1 mon 2 days -03:04:05.6', 1234.5, 0.1, null, '<a/>'
          from generate_series(1, 60) g;
        alter table printed replica identity full;
        """,
        [
            "update printed set b = b || '\\x00ff', ba = array[b, null, '\\x'], iv = iv * 2 where id < 30",
            "update printed set d = '0044-03-15 BC', ts = 'infinity', tz = tz + '1 us', m = m * -3",
            "delete from printed where id > 55",
        ],
    ),
    Case(
        "P40 a prepared transaction is applied when it is committed, and not before or else",
        "create table prepared (id int primary key, v text)",
        [
            "begin; insert into prepared values (1, 'kept'); prepare transaction 'kept'",
            "begin; insert into prepared values (2, 'given up'); prepare transaction 'given up'",
            "insert into prepared values (3, 'between')",
            "rollback prepared 'given up'",
            "commit prepared 'kept'",
            "update prepared set v = v || '.'",
        ],
    ),
    Case(
        "P43 inheritance: a parent's rows are not its children's",
        """
        create table asset (id int primary key, v text);
        create table machine (power int, primary key (id)) inherits (asset);
        insert into asset select g, 'a' from generate_series(1, 60) g;
        insert into machine select g, 'm', g from generate_series(1, 60) g;
        """,
        [
            "update asset set v = v || '.'; delete from only asset where id < 10",
            "update asset set id = id + 100 where id = 50",
            "truncate only asset; insert into asset values (1, 'again')",
        ],
    ),
    Case(
        "P26 P27 identity columns and generated columns",
        """
        create table by_identity (
          id int generated always as identity primary key, v text, w text generated always as (v || '!') stored
        );
        create table beside (
          k text primary key, n int generated always as identity, v text, large text
        );
        alter table beside alter large set storage external;
        insert into by_identity (v) select 'v' || g from generate_series(1, 60) g;
        insert into beside (k, v, large) select 'k' || g, 'v', repeat('x', 5000) from generate_series(1, 60) g;
        """,
        [
            "update by_identity set v = v || '?'; update beside set v = 'w'",
            "update by_identity set id = default where id = 3",
            "update beside set n = default where k = 'k7'",
            "update beside set v = 'again', k = 'moved' where k = 'k8'",
            "insert into by_identity (v) overriding system value values ('new')",
        ],
    ),
    Case(
        "P41 P42 TRUNCATE and partitions",
        """
        create table parent (id int primary key);
        create table child (id int primary key, parent_id int references parent);
        create table part (id int, at date, v text, primary key (id, at)) partition by range (at);
        create table part_1 partition of part for values from ('2020-01-01') to ('2021-01-01');
        create table part_2 partition of part for values from ('2021-01-01') to ('2022-01-01');
        insert into parent select g from generate_series(1, 9) g;
        insert into child select g, g from generate_series(1, 9) g;
        insert into part select g, '2020-05-05', 'v' from generate_series(1, 60) g;
        """,
        [
            "truncate parent, child restart identity; insert into parent values (1)",
            "update part set at = '2021-05-05' where id <= 20; update part set v = 'w'",
            "truncate part; insert into part select g, '2021-02-02', 'n' from generate_series(1, 9) g",
            "insert into child values (1, 1); truncate parent cascade",
            "truncate part_2",
        ],
    ),
    Case(
        "P45 several unique constraints, exclusion and deferrable ones",
        """
        create table twice (id int primary key, code text unique, rank int unique deferrable);
        create table busy (id int primary key, room int, during int4range,
          exclude using gist (during with &&));
        insert into twice select g, 'c' || g, g from generate_series(1, 60) g;
        insert into busy values (1, 1, '[1,5)'), (2, 1, '[5,9)');
        """,
        [
            "update twice set rank = 61 - rank",
            "update twice set code = 'tmp' where id = 1; update twice set code = 'c1' where id = 2;"
            " update twice set code = 'c2' where id = 1",
            "delete from busy where id = 1; insert into busy values (3, 1, '[1,5)')",
            "update busy set during = '[20,30)' where id = 2; insert into busy values (4, 1, '[5,9)')",
            "delete from twice where id = 60; insert into twice values (99, 'c60', 1000)",
        ],
    ),
    Case(
        "P32 P33 quotes, backslashes, line ends and odd names",
        f'create table {ODD} ("select" int primary key, "a b" text, "ü,[x]" text[]);'
        f"insert into {ODD} values (1, 'x', '{{a}}')",
        [
            f"insert into {ODD} select g, {NASTY} || g, array['', 'null', null, '{{,}}', '\"', {NASTY}]"
            " from generate_series(2, 80) g",
            f'update {ODD} set "a b" = \'\' where "select" % 2 = 0',
            f'update {ODD} set "a b" = null where "select" % 3 = 0',
            f'delete from {ODD} where "select" > 70',
        ],
    ),
    Case(
        "P58 P5 messages of others, and an endpos behind them",
        "create table t (id int primary key, v text)",
        [
            "insert into t values (1, 'a')",
            "select pg_logical_emit_message(true, 'other', 'inside'); insert into t values (2, 'b')",
            "select pg_logical_emit_message(false, 'heartbeat', 'outside of any transaction')",
        ],
    ),
    Case(
        "P2 interleaved and rolled back transactions, sub-transactions",
        "create table t (id int primary key, v text)",
        [
            "insert into t select g, 'bulk' from generate_series(1, 500) g",
            "begin; insert into t values (1000, 'no'); rollback",
            "begin; insert into t values (1001, 'yes'); savepoint s; insert into t values (1002, 'no');"
            " rollback to s; insert into t values (1003, 'yes'); commit",
            "do $$ begin for i in 1..30 loop begin insert into t values (2000 + i, 'x');"
            " if i % 2 = 0 then raise 'no'; end if; exception when others then null; end; end loop; end $$",
        ],
    ),
]


def follow(
    pair: SourceTarget, directory: Path, command: Pgcopydb, changes: Sequence[str], *options: str
) -> None:
    """Set a capture up, make ``changes``, each a transaction, and replay them."""
    servers = ("--source", pair.source.conninfo, "--target", pair.target.conninfo)
    place = ("--dir", str(directory))
    plugin = options[:2]
    done = command("stream", "setup", "--create-slot", *servers, *place, *plugin)
    assert done.status == 0, done.stderr
    for change in changes:
        pair.source.execute(change)
    done = command("stream", "sentinel", "set", "endpos", "--current", *servers[:2], *place)
    assert done.status == 0, done.stderr
    done = command("stream", "replay", *servers, *place, *options)
    assert done.status == 0, done.stderr
    assert differing_tables(pair.source, pair.target) == []
    done = command("stream", "cleanup", *servers, *place)
    assert done.status == 0, done.stderr


def in_schema(number: int, script: str) -> str:
    if script.startswith(("commit prepared", "rollback prepared")):
        return script  # which must stand alone
    return f'set search_path to "case {number}";\n{script}'


def set_oddly(pair: SourceTarget) -> None:
    """Give both databases settings of which nothing may be seen in the changes (P31, P34)."""
    odd = {
        "bytea_output": "escape",
        "datestyle": "SQL, DMY",
        "intervalstyle": "sql_standard",
        "timezone": "Asia/Kathmandu",
        "extra_float_digits": "-10",
        "xmloption": "document",
    }
    other = odd | {
        "bytea_output": "hex",
        "datestyle": "German",
        "timezone": "America/St_Johns",
        "standard_conforming_strings": "off",
    }
    for database, settings in ((pair.source, odd), (pair.target, other)):
        for name, value in settings.items():
            database.execute(f"alter database {database.name} set {name} to '{value}'")


@pytest.mark.parametrize("source_target", [(15, 15)], indirect=True)
@pytest.mark.parametrize("plugin", ["pgoutput", "wal2json", "test_decoding"])
@pytest.mark.parametrize("mode", ["batch", "transaction"])
def test_every_case_with_every_plugin(
    source_target: SourceTarget,
    plugin: str,
    mode: str,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
) -> None:
    pair = source_target
    for number, case in enumerate(CASES):
        for database in (pair.source, pair.target):
            database.execute(f'create schema "case {number}"')
            database.execute(in_schema(number, case.schema))
    set_oddly(pair)
    changes = [
        in_schema(number, change) for number, case in enumerate(CASES) for change in case.changes
    ]
    options = ("--plugin", plugin, "--apply-mode", mode)
    follow(pair, tmp_path / "work", pgcopydb_command, changes, *options)
