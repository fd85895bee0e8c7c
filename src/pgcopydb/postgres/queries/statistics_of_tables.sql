-- What decides whether the planner's statistics of tables can serve their copies. %(tables)s are
-- oids; %(same_order)s says that text sorts alike on both servers by default.
--
-- Some statistics are in no view: those of CREATE STATISTICS, of types that bring an ANALYZE of
-- their own (PostGIS), and before server 17 of ranges. A table that others inherit from has two
-- kinds. Text that sorts otherwise has another histogram. What the server counts it forgets in a
-- crash, and then nothing is known.
with wanted as (
  select c.oid as table_oid, c.oid, c.relname
  from pg_catalog.pg_class as c
  where c.oid = any (%(tables)s)
  union all
  select i.indrelid, c.oid, c.relname
  from pg_catalog.pg_index as i
  join pg_catalog.pg_class as c on c.oid = i.indexrelid
  where i.indrelid = any (%(tables)s) and i.indexprs is not null and c.relkind = 'i'
),
attributes as (
  select
    w.table_oid,
    count(*) as count,
    bool_and(
      t.typanalyze::text in ('-', 'array_typanalyze', 'ts_typanalyze')
      and (a.attcollation in (0, 950, 951) or %(same_order)s and a.attcollation = 100)
      and (t.typtype <> 'c' or %(same_order)s)
    ) as are_portable
  from wanted as w
  join pg_catalog.pg_attribute as a on a.attrelid = w.oid
  join pg_catalog.pg_type as t on t.oid = a.atttypid
  where a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
    and coalesce(a.attstattarget, -1) <> 0
  group by w.table_oid
)
select
  c.oid,
  n.nspname::text as schema,
  c.relname::text as name,
  array(select w.relname::text from wanted as w where w.table_oid = c.oid) as relations,
  coalesce(a.count, 0) as attributes,
  coalesce(a.are_portable, true)
    and not exists (select from pg_catalog.pg_statistic_ext as e where e.stxrelid = c.oid)
    and (c.relkind = 'p'
         or not exists (select from pg_catalog.pg_inherits as i where i.inhparent = c.oid))
    as is_portable,
  c.reltuples as rows,
  pg_catalog.pg_stat_get_mod_since_analyze(c.oid) as changed,
  greatest(
    pg_catalog.pg_stat_get_last_analyze_time(c.oid),
    pg_catalog.pg_stat_get_last_autoanalyze_time(c.oid)
  ) as analyzed_at,
  c.relkind = 'p' as is_partitioned,
  below.*
from pg_catalog.pg_class as c
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
left join attributes as a on a.table_oid = c.oid
left join lateral (
  select
    coalesce(sum(greatest(l.reltuples, 0)), 0) as rows_below,
    coalesce(sum(pg_catalog.pg_stat_get_mod_since_analyze(l.oid)), 0)::int8 as changed_below,
    case when bool_and(l.at is not null) then max(l.at) end as analyzed_below_at
  from (
    select
      leaf.oid, leaf.reltuples,
      greatest(
        pg_catalog.pg_stat_get_last_analyze_time(leaf.oid),
        pg_catalog.pg_stat_get_last_autoanalyze_time(leaf.oid)
      ) as at
    from pg_catalog.pg_partition_tree(c.oid) as p
    join pg_catalog.pg_class as leaf on leaf.oid = p.relid
    where p.isleaf and leaf.relkind <> 'p'
  ) as l
) as below on c.relkind = 'p'
where c.oid = any (%(tables)s)
