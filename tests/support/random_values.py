"""Random values of every type, by the hundred thousand: copied, inserted, changed, found again.

Both sides print and read values by settings of their own, which a session that does not say how it
wants them would follow.
"""

from collections.abc import Iterator
from random import Random

import psycopg
from psycopg import sql

from tests.support.equality import differing_tables
from tests.support.servers import Database
from tests.support.steps import Stream
from tests.support.values import SPECIALS, VALUES

Row = list[str | None]

COLUMNS = ("id", *VALUES)

_SETTINGS = {
    "source": """
        alter database {0} set datestyle = 'SQL, DMY';
        alter database {0} set intervalstyle = 'sql_standard';
        alter database {0} set timezone = 'Asia/Kathmandu';
        alter database {0} set extra_float_digits = -5;
        alter database {0} set bytea_output = 'escape';
    """,
    "target": """
        alter database {0} set datestyle = 'German';
        alter database {0} set intervalstyle = 'iso_8601';
        alter database {0} set timezone = 'America/St_Johns';
        alter database {0} set extra_float_digits = 0;
        alter database {0} set xmloption = 'document';
    """,
}

_BY_ROW = """
create table app.by_row (like app.everything);
alter table app.by_row replica identity full;
"""

_ROWS_PER_ROW_WITHOUT_KEY = 200
"""A row without a key is looked for among all of its table's, so that there are few of them."""


def carry_random_values(stream: Stream, seed: int, count: int) -> None:
    """Copy, insert, change and delete ``count`` rows of all types; assert that both sides agree.

    A third is there before the base copy, the rest comes while it is followed, and every second
    row of those gets new values. ``stream`` is on the application's database, nothing begun.
    """
    random, source = Random(seed), stream.pair.source
    specials = stream.plugin != "wal2json"  # which prints them as null
    for side, database in (("source", source), ("target", stream.pair.target)):
        database.execute(_SETTINGS[side].format(database.name))
    source.execute(_BY_ROW)
    before, after, keyless = count // 3, count - count // 3, count // _ROWS_PER_ROW_WITHOUT_KEY
    with source.connect() as writer:
        _fill(writer, "app.everything", _rows(random, 1_000, before, specials))
    with stream.migrating(seconds=600), source.connect() as writer:
        start = 1_000 + before
        _fill(writer, "app.everything", _rows(random, start, after, specials))
        _fill(writer, "app.by_row", _rows(random, 1, keyless, specials))
        _fill(writer, "app.by_row", _rows(random, 1, keyless, specials))
        _change(writer, _rows(random, start, after // 2, specials))
        writer.execute("update app.by_row set id = id + 1, i2 = 1 where id % 3 = 0")
        writer.execute("delete from app.by_row where id % 5 = 0")
        writer.execute("delete from app.everything where id % 7 = 0")
    assert differing_tables(source, stream.pair.target) == [], f"seed {seed}"
    assert _count(stream.pair.target) > count // 2


def _rows(random: Random, first: int, count: int, specials: bool) -> Iterator[Row]:
    for number in range(first, first + count):
        yield [str(number), *(_value(random, column, specials) for column in VALUES)]


def _value(random: Random, column: str, specials: bool) -> str | None:
    chance = random.random()
    if chance < 0.05:
        return None
    if specials and chance < 0.15 and column in SPECIALS:
        return random.choice(SPECIALS[column])
    return VALUES[column](random)


def _fill(writer: psycopg.Connection[tuple[object, ...]], table: str, rows: Iterator[Row]) -> None:
    """Copy rows into a table, read by the settings that this program's values are written for."""
    with writer.transaction():
        writer.execute("set local datestyle = 'ISO, MDY'; set local intervalstyle = 'postgres'")
        names = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
        place = sql.SQL(".").join(map(sql.Identifier, table.split(".")))
        with writer.cursor().copy(sql.SQL("copy {} ({}) from stdin").format(place, names)) as copy:
            for row in rows:
                copy.write_row(row)


def _change(writer: psycopg.Connection[tuple[object, ...]], rows: Iterator[Row]) -> None:
    """Give rows of ``app.everything`` all the values of others with their numbers."""
    writer.execute("create temporary table fresh (like app.everything)")
    _fill(writer, "fresh", rows)
    names = sql.SQL(", ").join(map(sql.Identifier, VALUES))
    fresh = sql.SQL(", ").join(sql.Identifier("fresh", name) for name in VALUES)
    writer.execute(
        sql.SQL(
            "update app.everything as old set ({}) = row({}) from fresh where fresh.id = old.id"
        ).format(names, fresh)
    )


def _count(database: Database) -> int:
    return int(database.rows("select count(*) from app.everything")[0][0])
