"""Pitfalls that have no better place: each test is named after its row of the project's list.

Where every row of the list is shown: docs/explanation/pitfalls.md.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgcopydb.lsn import format_lsn, parse_lsn
from tests.support.clock import wait_for
from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.equality import differing_tables
from tests.support.servers import Database, MakeDatabase, Servers, SourceTarget
from tests.support.steps import Stream

pytestmark = pytest.mark.forked_commands
PLUGINS = pytest.mark.parametrize("plugin", ["pgoutput", "wal2json", "test_decoding"])
BY_EVERY_PLUGIN = pytest.mark.parametrize("source_target", [(15, 15)], indirect=True)

ITEM = "create table item (id integer primary key, v text);"


@pytest.fixture
def without_autovacuum(source_target: SourceTarget) -> Iterator[None]:
    source = source_target.source
    source.execute("alter system set autovacuum = off")
    source.execute("select pg_reload_conf()")
    assert wait_for(
        lambda: (
            not source.rows("select from pg_stat_activity where backend_type like 'autovacuum %'")
        )
    )
    yield
    source.execute("alter system reset autovacuum")
    source.execute("select pg_reload_conf()")


@BY_EVERY_PLUGIN
@PLUGINS
def test_p01_p05_p10_p12_keepalives_and_empty_transactions(
    stream: Stream, make_database: MakeDatabase, without_autovacuum: None
) -> None:
    """They move what is received and confirmed, never what is applied, and an end among them ends.

    The source is idle but for another database and for transactions that change nothing, and no
    marker helps: endpos is a plain position. What autovacuum writes into the catalogue would come
    as a transaction of its own, whose commit is applied.
    """
    source = stream.pair.source
    other = make_database(source.cluster)
    stream.both(ITEM)
    stream.set_up()
    source.execute("insert into item values (1, 'a'), (2, 'b'), (3, 'c')")
    committed = stream.source_end()
    with stream.start("stream", "prefetch", "--plugin", stream.plugin) as running:
        other.execute("create table noise as select g from generate_series(1, 20000) g")
        source.execute("select pg_current_xact_id()")
        heard = parse_lsn(stream.source_end())
        assert wait_for(lambda: confirmed(source) >= heard, seconds=60), running.stderr
        running.kill_all()
    assert parse_lsn(stream.sentinel("get", "--replay-lsn")) == 0
    assert stream.count("item") == 0

    other.execute("insert into noise select g from generate_series(1, 20000) g")
    stream.set_endpos(stream.source_end())
    stream.run("stream", "prefetch")
    stream.run("stream", "catchup")
    stream.assert_equal()
    assert parse_lsn(stream.origin()) <= parse_lsn(committed)
    assert confirmed(source) >= heard


def confirmed(source: Database) -> int:
    """Return the position that the slot's reader has confirmed."""
    ((lsn,),) = source.rows(
        "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = 'pgcopydb'"
    )
    return parse_lsn(lsn)


@BY_EVERY_PLUGIN
@PLUGINS
def test_p03_p06_p09_the_end_of_one_transaction_is_the_start_of_the_next(stream: Stream) -> None:
    """Neither is lost or repeated, wherever an end is set: at, before and after the border."""
    source = stream.pair.source
    stream.both(ITEM)
    stream.set_up()
    with source.connect() as open_before:
        open_before.execute("begin; insert into item values (0, 'begun first')")
        ends = []
        for number in (1, 2, 3):
            source.execute(f"insert into item values ({number}, 'x')")
            ends.append(stream.source_end())
        open_before.execute("commit")
    stream.set_endpos(ends[0])
    stream.run("stream", "prefetch")
    stream.run("stream", "catchup")
    assert stream.pair.target.rows("select id from item") == [(1,)]
    first = stream.origin()
    assert parse_lsn(first) <= parse_lsn(ends[0])
    stream.set_endpos(first)
    stream.run("stream", "replay")  # equal to what is applied: nothing to do
    assert stream.origin() == first
    stream.set_endpos(f"0/{parse_lsn(first) + 1:X}")  # inside the transaction that begins there
    stream.run("stream", "replay")
    assert stream.origin() == first
    stream.set_endpos(ends[1])
    stream.run("stream", "prefetch")
    assert stream.count("item") == 1
    stream.run("stream", "catchup")
    assert stream.pair.target.rows("select id from item order by 1") == [(1,), (2,)]
    stream.replay()


@BY_EVERY_PLUGIN
@PLUGINS
def test_p07_p38_rows_of_one_position_over_many_files(stream: Stream) -> None:
    """A COPY writes many rows at one position, which is no row's identity."""
    stream.both(
        "create table loaded (id integer, v text); alter table loaded replica identity full"
    )
    stream.set_up()
    with stream.pair.source.connect() as writer, stream.pair.source.connect() as other:
        writer.execute("begin")
        for part in range(4):
            with writer.cursor().copy("copy loaded from stdin") as copy:
                for number in range(500):
                    copy.write_row((number, f"{part} " + "x" * 1000))
            other.execute("insert into loaded values (%s, 'beside')", [-part])
        writer.execute("commit")
    stream.set_endpos()
    stream.run("stream", "prefetch", "--max-replaydb-size", "64kB")
    assert len(list((stream.directory / "cdc").glob("*.db"))) > 1
    stream.run("stream", "catchup")
    stream.assert_equal()
    assert stream.count("loaded") == 2004


@dataclass(frozen=True)
class Encoded:
    """Text of a database, and what becomes of it on the way to another one."""

    here: str
    there: str
    texts: tuple[bytes, bytes]
    """The source's own bytes, of what is copied and of what is written during the follow."""
    plugins: tuple[str, ...] = ("pgoutput", "wal2json", "test_decoding")
    status: int = 0
    said: str = ""
    """What ends a migration that cannot be."""

    def __str__(self) -> str:
        return f"{self.here} to {self.there} {self.texts[1]!r}"


LATIN = ("ÄÖÜäöüß".encode("latin-1"), "£½ÿ".encode("latin-1"))
# To Python the first ones are others, and those after them none.
JAPANESE = (bytes.fromhex("a1c1a1c2a1dda1f1a1f2a2cc"), bytes.fromhex("ada1c6fc8eb6"))
UNICODE = ("ÄÖÜ£½".encode(), "日本語 👍 \u212b".encode())
BOTH = ("Ä".encode(), "£".encode())
RAW = (b"\xfcbel", b"\xc3\x28 \xff\xfe \x80")
NO_UTF8 = 'invalid byte sequence for encoding "UTF8"'
NO_LATIN1 = 'has no equivalent in encoding "LATIN1"'
ANY = ("pgoutput",)
"""Enough where it is not the plugin's doing."""

ENCODED = [
    Encoded("UTF8", "LATIN1", BOTH),
    Encoded("UTF8", "LATIN1", (BOTH[0], UNICODE[1]), ANY, 7, f"applying.*{NO_LATIN1}"),
    Encoded("UTF8", "LATIN1", (UNICODE[1], BOTH[0]), ANY, 4, f"copying.*{NO_LATIN1}"),
    Encoded("UTF8", "SQL_ASCII", UNICODE, ANY),
    Encoded("LATIN1", "UTF8", LATIN),
    Encoded("LATIN1", "LATIN1", LATIN),
    Encoded("EUC_JP", "UTF8", JAPANESE, ANY),
    Encoded("EUC_JP", "UTF8", JAPANESE, ("wal2json",), 2, "wal2json sends text in EUC_JP"),
    Encoded("EUC_JP", "UTF8", JAPANESE, ("test_decoding",), 2, "test_decoding sends .* in EUC_JP"),
    Encoded("EUC_JP", "EUC_JP", JAPANESE, ANY),
    Encoded("SQL_ASCII", "UTF8", UNICODE),
    Encoded("SQL_ASCII", "UTF8", (UNICODE[0], RAW[1]), status=7, said=f"applying.*{NO_UTF8}"),
    Encoded("SQL_ASCII", "UTF8", RAW, ANY, 4, f"reading.*{NO_UTF8}"),
    Encoded("SQL_ASCII", "SQL_ASCII", RAW),
]


def encoded_database(beside: Database, name: str, encoding: str) -> Database:
    beside.execute(
        f"create database {name} encoding '{encoding}' lc_collate 'C' lc_ctype 'C'"
        " template template0"
    )
    return Database(beside.cluster, name)


def rows_in_utf8(database: Database) -> list[tuple[int, bytes | None]]:
    """Return the rows of the only table in public, in SQL_ASCII with its own bytes."""
    with database.connect(client_encoding="UTF8") as connection:
        raw = connection.info.parameter_status("server_encoding") == "SQL_ASCII"
        ((table,),) = connection.execute(
            "select oid::regclass::text from pg_class"
            " where relkind = 'r' and relnamespace = 'public'::regnamespace"
        )
        return connection.execute(
            f"select id, convert_to(v, '{'SQL_ASCII' if raw else 'UTF8'}') from {table}"
            " order by 1".encode()
        ).fetchall()


@pytest.mark.parametrize(
    ("case", "plugin"), [(case, plugin) for case in ENCODED for plugin in case.plugins], ids=str
)
def test_p35_text_of_another_encoding(
    plugin: str,
    case: Encoded,
    servers: Servers,
    make_database: MakeDatabase,
    tmp_path: Path,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
) -> None:
    """Values and names, copied and followed, arrive as what they are, or it ends saying why not.

    They come in the source's encoding or are converted, by what the plugin does. Where only the
    server converts exactly, plugins that leave it to the client are refused.
    """
    source = encoded_database(make_database(servers.get(15, "source")), "encoded", case.here)
    target = encoded_database(make_database(servers.get(15, "target")), "decoded", case.there)
    stream = Stream(
        SourceTarget(source, target), tmp_path / "w", pgcopydb_command, pgcopydb_background, plugin
    )
    first, second = case.texts
    name = b"item" if case.status or case.here == "SQL_ASCII" else first
    with source.connect(client_encoding=case.here) as writer:
        writer.execute(b'create table "%b" (id integer primary key, v text)' % name)
        writer.execute(b'alter table "%b" replica identity full' % name)
        writer.execute(b"insert into \"%b\" values (1, '%b'), (2, '%b.')" % (name, first, first))
        with stream.start("clone", "--follow", "--plugin", plugin) as running:
            assert wait_for(
                lambda: "applying" in running.stderr or not running.is_running, seconds=60
            )
            if running.is_running:
                for change in (
                    b"insert into \"%b\" values (3, '%b'), (4, null)" % (name, second),
                    b"update \"%b\" set v = v || '%b' where id = 1" % (name, second),
                    b"delete from \"%b\" where v = '%b.'" % (name, first),
                ):
                    writer.execute(change)
                stream.set_endpos()
            finished = running.wait(60)
    assert finished.status == case.status, finished.stderr
    errors = [line for line in finished.stderr.splitlines() if "ERROR" in line]
    if case.status:
        assert re.match(f"ERROR: (source|target): .*{case.said}", errors[0])
        return
    rows = rows_in_utf8(target)
    assert [number for number, _ in rows] == [1, 3, 4]
    assert rows == rows_in_utf8(source)
    stream.run("compare", "data")


@BY_EVERY_PLUGIN
@PLUGINS
def test_an_end_position_of_every_kind(stream: Stream) -> None:
    """In a transaction, in a gap, at a commit's end, in the past, beyond the log."""
    source = stream.pair.source
    stream.both(ITEM)
    stream.set_up()
    with source.connect() as writer:
        writer.execute("begin; insert into item values (1, 'half')")
        source.execute("insert into item values (2, 'whole')")
        inside = stream.source_end()
        writer.execute("insert into item values (3, 'half'); commit")
    stream.set_endpos(inside)
    stream.run("stream", "replay")
    assert stream.pair.target.rows("select id from item") == [(2,)]

    source.execute("select pg_logical_emit_message(false, 'app', 'between two transactions')")
    gap = stream.source_end()
    source.execute("select pg_logical_emit_message(false, 'app', 'still between them')")
    source.execute("insert into item values (4, 'at its end')")
    stream.set_endpos(gap)
    stream.run("stream", "replay")
    assert stream.count("item") == 3

    stream.set_endpos("--current")  # the end of a commit, which is what names it
    stream.run("stream", "replay")
    assert stream.count("item") == 4
    stream.run("stream", "replay")  # equal to what is applied: there is nothing to do

    words = ["stream", "sentinel", "set", "endpos", gap, "--dir", str(stream.directory)]
    refused = stream.command(*words)
    assert refused.status == 3
    assert "is in the past: the target has already applied" in refused.stderr

    stream.set_endpos(format_lsn(parse_lsn(stream.source_end()) + 16 * 1024))
    with stream.start("stream", "replay") as running:
        active = "select from pg_replication_slots where active"
        assert wait_for(lambda: bool(source.rows(active)) or not running.is_running, seconds=30)
        source.execute("insert into item values (5, 'before it')")
        assert wait_for(lambda: stream.count("item") == 5 or not running.is_running, seconds=30)
        assert running.is_running, running.stderr
        source.execute("select pg_logical_emit_message(true, 'app', repeat('x', 20000))")
        source.execute("insert into item values (6, 'after it')")
        finished = running.wait(60)
    assert finished.status == 0, finished.stderr
    assert stream.count("item") == 5


def test_p42_a_target_that_is_partitioned_otherwise(stream: Stream) -> None:
    """Leaves meet in one table; only a TRUNCATE of one of them cannot be carried."""
    columns = "(id integer, day date, v text, primary key (id, day))"
    stream.pair.source.execute(
        f"create table flat {columns} partition by range (day);"
        "create table flat_1 partition of flat for values from ('2026-01-01') to ('2026-02-01');"
        "create table flat_2 partition of flat for values from ('2026-02-01') to ('2026-03-01');"
        f"create table split {columns} partition by list (day); create table split_1 partition of"
        " split default partition by hash (id);"
        "create table split_1_1 partition of split_1 for values with (modulus 1, remainder 0)"
    )
    stream.pair.target.execute(
        f"create table flat {columns}; create table split {columns} partition by hash (id);"
        "create table split_a partition of split for values with (modulus 2, remainder 0);"
        "create table split_b partition of split for values with (modulus 2, remainder 1)"
    )
    stream.set_up()
    for table in ("flat", "split"):
        stream.pair.source.execute(
            f"insert into {table} select g, '2026-01-20', 'v' from generate_series(1, 100) g;"
            f"update {table} set day = day + 20 where id < 60;"
            f"update {table} set id = id + 1000, v = 'moved' where id between 50 and 70"
        )
        stream.pair.source.execute(f"delete from {table} where id < 10")
    stream.set_endpos()
    stream.run("stream", "replay")
    assert both(stream, "flat") == both(stream, "split")
    stream.pair.source.execute("truncate flat, split; insert into flat values (1, '2026-01-01')")
    stream.pair.source.execute("insert into flat values (2, '2026-02-02'); truncate flat_2")
    stream.set_endpos()
    refused = stream.run("stream", "replay", status=3)
    assert "a TRUNCATE of public.flat_2 alone" in refused.stderr
    assert stream.pair.target.rows("select id from flat") == [(1,)]
    assert stream.count("split") == 0
    stream.pair.target.execute("create table flat_2 (like flat)")
    stream.run("stream", "replay")
    both(stream, "flat")


def both(stream: Stream, table: str) -> list[tuple[object, ...]]:
    """Return the rows of a table, which must be the same on both sides."""
    query = f"select id, day, v from {table} order by 1"
    found = stream.pair.source.rows(query)
    assert stream.pair.target.rows(query) == found
    return found


@BY_EVERY_PLUGIN
@PLUGINS
def test_p59_p60_what_is_no_ordinary_table_is_left_alone(stream: Stream) -> None:
    stream.both(
        f"{ITEM} create unlogged table scratch (id integer primary key);"
        "create materialized view seen as select * from item; create unique index on seen (id);"
        "create extension postgres_fdw; create server far foreign data wrapper postgres_fdw;"
        "create foreign table away (id integer) server far"
    )
    warned = stream.set_up().stderr
    assert "their changes are not followed: public.scratch\n" in warned
    assert "not refreshed at the end: public.seen\n" in warned
    stream.pair.source.execute(
        "insert into item values (1, 'a'); insert into scratch values (1);"
        "create temporary table gone (id integer primary key); insert into gone values (1)"
    )
    stream.pair.source.execute("select lo_from_bytea(7001, 'written during the follow')")
    stream.pair.source.execute("select lo_put(7001, 0, 'W')")
    for _ in range(2):
        stream.pair.source.execute("insert into scratch select max(id) + 1 from scratch")
        stream.pair.source.execute("refresh materialized view concurrently seen")
        stream.pair.source.execute("refresh materialized view seen")
    stream.set_endpos()
    told = warned + stream.run("stream", "replay").stderr  # once an object, in both of them
    assert told.count("public.scratch") == told.count("public.seen") == 1
    assert max(map(told.count, ("public.away", "gone", "large object", "7001"))) <= 1
    assert [
        line.partition(":")[0] for line in differing_tables(stream.pair.source, stream.pair.target)
    ] == [
        "public.scratch",
        "public.seen",
    ]
    stream.pair.target.execute("refresh materialized view seen")
    stream.assert_equal(but=["public.scratch"])


def test_p15_more_statements_than_are_kept(stream: Stream) -> None:
    """There is a statement for each set of columns that are null, and a bound on what is kept."""
    columns = [f"c{number}" for number in range(12)]
    stream.both(
        f"create table wide ({', '.join(f'{name} integer' for name in columns)});"
        "alter table wide replica identity full"
    )
    bits = ", ".join(f"nullif(g >> {bit} & 1, 0)" for bit in range(12))
    rows = f"insert into wide select {bits} from generate_series(1, 2100) g"
    stream.both(rows)
    stream.set_up()
    stream.pair.source.execute("update wide set c11 = 7")
    stream.pair.source.execute("delete from wide where c0 is null and c1 is null")
    stream.replay("--apply-mode", "transaction")
