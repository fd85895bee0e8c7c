-- The planner's statistics of tables, as JSON, one row for each table: %(tables)s are their oids,
-- %(schemas)s their schemas, %(relations)s their names and those of their indexes on expressions.
--
-- The names are there for the planner, which can look nothing up by oid in this view: it is one
-- that keeps conditions out. Columns of an index have the names that the server gives them.
with wanted as (
  select c.oid as table_oid, c.oid, c.relkind, n.nspname, c.relname
  from pg_catalog.pg_class as c
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
  where c.oid = any (%(tables)s)
  union all
  select i.indrelid, c.oid, c.relkind, n.nspname, c.relname
  from pg_catalog.pg_index as i
  join pg_catalog.pg_class as c on c.oid = i.indexrelid
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
  where i.indrelid = any (%(tables)s) and i.indexprs is not null and c.relkind = 'i'
)
select
  w.table_oid as oid,
  count(*) as attributes,
  json_agg(json_build_object(
    'table', w.table_oid,
    'schema', s.schemaname,
    'relation', s.tablename,
    'column', case when w.relkind <> 'i' then s.attname end,
    'number', case when w.relkind = 'i' then a.attnum end,
    'inherited', s.inherited,
    'null_frac', s.null_frac,
    'avg_width', s.avg_width,
    'n_distinct', s.n_distinct,
    'most_common_vals', s.most_common_vals::text,
    'most_common_freqs', s.most_common_freqs,
    'histogram_bounds', s.histogram_bounds::text,
    'correlation', s.correlation,
    'most_common_elems', s.most_common_elems::text,
    'most_common_elem_freqs', s.most_common_elem_freqs,
    'elem_count_histogram', s.elem_count_histogram
  ))::text as columns
from pg_catalog.pg_stats as s
join wanted as w on w.nspname = s.schemaname and w.relname = s.tablename
join pg_catalog.pg_attribute as a on a.attrelid = w.oid and a.attname = s.attname
where s.schemaname = any (%(schemas)s) and s.tablename = any (%(relations)s)
  and s.inherited = (w.relkind = 'p')
group by w.table_oid
