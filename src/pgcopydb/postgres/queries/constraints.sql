-- Every check, key, exclusion and foreign key constraint of users' tables.
select
  k.oid,
  k.conname::text as name,
  k.contype::text as kind,
  k.conrelid as table_oid,
  n.nspname::text as table_schema,
  c.relname::text as table_name,
  pg_catalog.pg_get_constraintdef(k.oid) as definition,
  k.convalidated as is_validated,
  k.condeferrable as is_deferrable,
  nullif(k.conparentid, 0) as parent_oid,
  nullif(k.confrelid, 0) as referenced_oid,
  fn.nspname::text as referenced_schema,
  f.relname::text as referenced_name
from pg_catalog.pg_constraint as k
join pg_catalog.pg_class as c on c.oid = k.conrelid
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
left join pg_catalog.pg_class as f on f.oid = k.confrelid
left join pg_catalog.pg_namespace as fn on fn.oid = f.relnamespace
where k.contype in ('c', 'f', 'p', 'u', 'x')
  and c.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_class'::regclass and e.objid = c.oid and e.deptype = 'e'
  )
order by n.nspname, c.relname, k.conname, k.oid
