"""The statistics that the planner has of tables: read on one server, set on another.

Servers from 18 on take statistics from outside (`Statistics Manipulation Functions
<https://www.postgresql.org/docs/18/functions-admin.html#FUNCTIONS-ADMIN-STATSMOD>`_). What comes is
checked there: a value that does not fit is left out with a warning, and the answer is false.
Privileges are those of ANALYZE. The 41 tables of the benchmark's partitions took 0.27 s in place of
13.3 s, on a busy machine.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from psycopg import Connection

from pgcopydb.model.objects import ServerFacts
from pgcopydb.postgres.discover import records
from pgcopydb.rules.optimizer_statistics import (
    Analyzed,
    TableStatistics,
    TextOrder,
    may_be_taken_over,
)

Session = Connection[tuple[Any, ...]]

_DATABASE_COLLATION_VERSION: Final = 150000

_RESTORE: Final = """
select r."table", pg_catalog.bool_and(pg_catalog.pg_restore_attribute_stats(
  'schemaname', r.schema, 'relname', r.relation, 'attname', r."column", 'attnum', r.number,
  'inherited', r.inherited, 'version', %s::int4,
  'null_frac', r.null_frac, 'avg_width', r.avg_width, 'n_distinct', r.n_distinct,
  'most_common_vals', r.most_common_vals, 'most_common_freqs', r.most_common_freqs,
  'histogram_bounds', r.histogram_bounds, 'correlation', r.correlation,
  'most_common_elems', r.most_common_elems, 'most_common_elem_freqs', r.most_common_elem_freqs,
  'elem_count_histogram', r.elem_count_histogram
))
from pg_catalog.unnest(%s::pg_catalog.json[]) as of_table,
pg_catalog.json_to_recordset(of_table) as r(
  "table" oid, schema text, relation text, "column" text, number int2, inherited bool,
  null_frac real, avg_width int4, n_distinct real,
  most_common_vals text, most_common_freqs real[], histogram_bounds text, correlation real,
  most_common_elems text, most_common_elem_freqs real[], elem_count_histogram real[]
)
group by 1
"""

_SET_SIZE: Final = """
select pg_catalog.pg_restore_relation_stats(
  'schemaname', n.nspname::text, 'relname', c.relname::text,
  'reltuples', case when c.reltuples > 0 then c.reltuples else of_source.rows end,
  'relpages', coalesce(size.pages, -1), 'relallvisible', size.pages, 'relallfrozen', size.pages
)
from rows from (
  pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::real[])
) as of_source(schema, name, rows)
join pg_catalog.pg_namespace as n on n.nspname = of_source.schema
join pg_catalog.pg_class as c on c.relnamespace = n.oid and c.relname = of_source.name
cross join lateral (
  select case when c.relkind <> 'p' then (
    pg_catalog.pg_relation_size(c.oid, 'main')
    / pg_catalog.current_setting('block_size')::int8
  )::int4 end as pages
) as size
"""


class Statistics(Struct, frozen=True):
    """What the planner of a source knows of a table; ``columns`` is JSON of the queries here."""

    schema: str
    table: str
    rows: float
    columns: str


def text_order(session: Session, facts: ServerFacts) -> TextOrder:
    """Return what the database of ``session`` sorts text by. Raises what psycopg raises."""
    named = "text_order" if facts.version_num >= _DATABASE_COLLATION_VERSION else "text_order.pre15"
    (record,) = records(session, named)
    return TextOrder(**record)


def read_statistics(
    session: Session, tables: Collection[int], *, same_order: bool
) -> dict[int, Statistics]:
    """Return the statistics of those of ``tables``, by oid, whose copies they serve.

    ``same_order`` says that the database for which they are read sorts text alike. Raises what
    psycopg raises.
    """
    known = records(session, "statistics_of_tables", tables=list(tables), same_order=same_order)
    fit = {one.oid: one for one in map(_table_statistics, known) if may_be_taken_over(one)}
    if not fit:
        return {}
    values = records(
        session,
        "planner_statistics",
        tables=list(fit),
        schemas=sorted({one.schema for one in fit.values()}),
        relations=sorted({name for one in fit.values() for name in one.relations}),
    )
    # A column without a row was never analyzed, or may not be seen by this role.
    return {
        record["oid"]: _statistics(fit[record["oid"]], record["columns"])
        for record in values
        if record["attributes"] == fit[record["oid"]].attributes
    }


def _table_statistics(record: dict[str, Any]) -> TableStatistics:
    below = Analyzed(record["rows_below"], record["changed_below"], record["analyzed_below_at"])
    return TableStatistics(
        oid=record["oid"],
        schema=record["schema"],
        name=record["name"],
        relations=record["relations"],
        attributes=record["attributes"],
        is_portable=record["is_portable"],
        itself=Analyzed(record["rows"], record["changed"], record["analyzed_at"]),
        partitions=below if record["is_partitioned"] else None,
    )


def _statistics(table: TableStatistics, columns: str) -> Statistics:
    return Statistics(table.schema, table.name, table.itself.rows, columns)


def set_statistics(
    session: Session, statistics: Mapping[int, Statistics], *, version_num: int
) -> set[int]:
    """Give the tables of this server what is known of those of the source's server.

    Returns the oids, as they are on the source, of those that took all of it; ``version_num`` is
    the source's. Raises what psycopg raises, and then none may have been given anything.
    """
    columns = [one.columns for one in statistics.values()]
    answers = session.execute(_RESTORE, (version_num, columns)).fetchall()
    return {oid for oid, whole in answers if whole}


def set_sizes(session: Session, tables: Sequence[Statistics]) -> None:
    """Tell the planner how many rows and pages there are in tables loaded frozen, and in roots.

    Rows that building an index has counted stay as they are.
    """
    schemas, names, rows = zip(*((one.schema, one.table, one.rows) for one in tables), strict=True)
    session.execute(_SET_SIZE, (list(schemas), list(names), list(rows)))
