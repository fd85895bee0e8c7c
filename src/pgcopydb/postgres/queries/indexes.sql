-- Every index of users' tables and materialised views, with the constraint that it serves.
select
  i.indexrelid as oid,
  n.nspname::text as schema,
  x.relname::text as name,
  i.indrelid as table_oid,
  tn.nspname::text as table_schema,
  c.relname::text as table_name,
  pg_catalog.pg_get_indexdef(i.indexrelid) as definition,
  m.amname::text as access_method,
  coalesce(pg_catalog.pg_relation_size(i.indexrelid), 0) as bytes,
  i.indisprimary as is_primary,
  i.indisunique as is_unique,
  i.indisexclusion as is_exclusion,
  i.indimmediate as is_immediate,
  i.indisvalid as is_valid,
  i.indisreplident as is_replica_identity,
  i.indisclustered as is_clustered,
  x.relkind = 'I' as is_partitioned,
  h.inhparent as parent_oid,
  s.spcname::text as tablespace,
  coalesce((
    select pg_catalog.array_agg(array[a.attnum::int, a.attstattarget::int] order by a.attnum)
    from pg_catalog.pg_attribute as a
    where a.attrelid = i.indexrelid and a.attstattarget >= 0
  ), array[]::int[]) as statistics,
  k.oid as constraint_oid,
  k.conname::text as constraint_name,
  k.contype::text as constraint_kind,
  pg_catalog.pg_get_constraintdef(k.oid) as constraint_definition,
  coalesce(k.condeferrable, false) as constraint_deferrable,
  coalesce(k.condeferred, false) as constraint_deferred
from pg_catalog.pg_index as i
join pg_catalog.pg_class as x on x.oid = i.indexrelid
join pg_catalog.pg_namespace as n on n.oid = x.relnamespace
join pg_catalog.pg_am as m on m.oid = x.relam
join pg_catalog.pg_class as c on c.oid = i.indrelid
join pg_catalog.pg_namespace as tn on tn.oid = c.relnamespace
left join pg_catalog.pg_inherits as h on h.inhrelid = i.indexrelid
left join pg_catalog.pg_tablespace as s on s.oid = x.reltablespace
left join pg_catalog.pg_constraint as k
  on k.conindid = i.indexrelid and k.conrelid = i.indrelid and k.contype in ('p', 'u', 'x')
where c.relkind in ('r', 'p', 'm')
  and c.relpersistence <> 't'
  and tn.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and tn.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_class'::regclass
      and e.objid in (c.oid, x.oid) and e.deptype = 'e'
  )
order by tn.nspname, c.relname, x.relname
