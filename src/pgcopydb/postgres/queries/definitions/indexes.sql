-- Indexes, also those that serve constraints.
select
  'index' as kind,
  pg_catalog.format('%I.%I', n.nspname, c.relname) as identity,
  tn.nspname::text as schema_name,
  t.relname::text as table_name,
  'pg_catalog.pg_class'::regclass::oid::bigint as catalog,
  c.oid::bigint as object,
  c.relname::text as index_name,
  pg_catalog.pg_get_indexdef(i.indexrelid) as definition,
  case when i.indisvalid then 'yes' else 'no' end as valid,
  case when i.indisclustered then 'yes' else 'no' end as clustered,
  case when i.indisreplident then 'yes' else 'no' end as "replica identity",
  (
    select h.inhparent::regclass::text from pg_catalog.pg_inherits as h where h.inhrelid = i.indexrelid
  ) as "attached to",
  s.spcname::text as tablespace,
  (
    select pg_catalog.string_agg(a.attnum || ': ' || a.attstattarget, ', ' order by a.attnum)
    from pg_catalog.pg_attribute as a where a.attrelid = c.oid and a.attstattarget >= 0
  ) as "statistics targets",
  pg_catalog.obj_description(c.oid, 'pg_class') as comment
from pg_catalog.pg_index as i
join pg_catalog.pg_class as c on c.oid = i.indexrelid
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
join pg_catalog.pg_class as t on t.oid = i.indrelid
join pg_catalog.pg_namespace as tn on tn.oid = t.relnamespace
left join pg_catalog.pg_tablespace as s on s.oid = c.reltablespace
where c.relpersistence <> 't'
  and t.relkind in ('r', 'p', 'm')
  and tn.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and tn.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_class'::regclass and e.objid in (c.oid, t.oid) and e.deptype = 'e'
  )
