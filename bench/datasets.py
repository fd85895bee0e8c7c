"""The databases that a base copy is measured with, made on the source."""

from collections.abc import Callable
from dataclasses import dataclass

from servers import pgbench, psql

from pgcopydb.demo.cluster import Cluster

_AT_ONCE = 100
"""Tables made by one transaction: each takes a lock until its end."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """A database to copy; ``size`` is how many of ``unit`` there are in full.

    ``at_most`` is the share of the best peer's time that ours may take.
    """

    name: str
    title: str
    size: int
    unit: str
    make: Callable[[Cluster, str, int], None]
    at_most: float = 0.9


def _large_table(cluster: Cluster, database: str, size: int) -> None:
    pgbench(cluster, database, ["-i", "-q", "-s", str(size)])


def _small_tables(cluster: Cluster, database: str, size: int) -> None:
    for first in range(1, size + 1, _AT_ONCE):
        script = f"""
            do $$begin for n in {first}..{min(first + _AT_ONCE - 1, size)} loop
              execute format('create table t%s (id integer primary key, name text, at timestamptz,
                amount numeric)', n);
              execute format('insert into t%s select g, md5(g::text), now() - g * interval ''1 s'',
                g * 1.5 from generate_series(1, 2000) g', n);
              execute format('create index on t%s (name)', n);
              execute format('create index on t%s (at, amount)', n);
            end loop; end$$
        """
        psql(cluster, database, script)
    psql(cluster, database, "vacuum analyze")


def _empty_tables(cluster: Cluster, database: str, size: int) -> None:
    for first in range(1, size + 1, _AT_ONCE):
        script = f"""
            do $$begin for n in {first}..{min(first + _AT_ONCE - 1, size)} loop
              execute format('create table t%s (id integer primary key, name text)', n);
            end loop; end$$
        """
        psql(cluster, database, script)


def _mixed_types(cluster: Cluster, database: str, size: int) -> None:
    script = f"""
        create table things (
          id bigint primary key, key uuid not null, at timestamptz not null, amount numeric(14, 4),
          doc jsonb not null, note text, image bytea, tags text[], ratio double precision
        );
        insert into things select g, md5(g::text)::uuid, now() - g * interval '1 minute',
          g * 1.2345,
          jsonb_build_object('n', g, 'text', md5(g::text), 'list', array[g, g + 1, g + 2]),
          repeat(md5(g::text), 1 + g % 12),
          case when g % 20 = 0 then (select decode(string_agg(md5((g + s)::text), ''), 'hex')
            from generate_series(1, 400) s) end,
          array[md5(g::text), 'tag'], sqrt(g)
        from generate_series(1, {size}) g;
        create unique index on things (key);
        create index on things using gin (doc jsonb_path_ops);
        create index on things (at);
        vacuum analyze things;
    """
    psql(cluster, database, script.replace("vacuum analyze things;", ""))
    psql(cluster, database, "vacuum analyze things")


def _partitioned(cluster: Cluster, database: str, size: int) -> None:
    script = f"""
        create table events (id bigint, day integer not null, body text, primary key (id, day))
          partition by list (day);
        do $$begin for n in 0..39 loop
          execute format('create table events_%s partition of events for values in (%s)', n, n);
        end loop; end$$;
        create index on events (body);
        insert into events select g, g % 40, md5(g::text) || md5((g + 1)::text)
          from generate_series(1, {size}) g
    """
    psql(cluster, database, script)
    psql(cluster, database, "vacuum analyze")


def _large_objects(cluster: Cluster, database: str, size: int) -> None:
    script = f"""
        select count(lo_from_bytea(0, decode(repeat(md5(g::text), 1 + g % 200), 'hex')))
        from generate_series(1, {size}) g
    """
    psql(cluster, database, script)


DATA_SETS = {
    one.name: one
    for one in (
        DataSet("large", "one large table (pgbench)", 50, "x 100,000 rows", _large_table),
        DataSet("small", "tables with 3 indexes and 2,000 rows", 400, "tables", _small_tables),
        DataSet("empty", "empty tables", 5_000, "tables", _empty_tables, at_most=1.0),
        DataSet("mixed", "mixed types, TOAST", 400_000, "rows", _mixed_types),
        DataSet("partitions", "40 partitions, 2 indexes", 2_000_000, "rows", _partitioned),
        DataSet("objects", "large objects", 10_000, "objects", _large_objects),
    )
}
