-- The collations that columns and indexes of users' tables name, with their versions.
select
  n.nspname::text as schema,
  o.collname::text as name,
  o.collversion as recorded_version,
  pg_catalog.pg_collation_actual_version(o.oid) as actual_version
from pg_catalog.pg_collation as o
join pg_catalog.pg_namespace as n on n.oid = o.collnamespace
where o.collname not in ('default', 'C', 'POSIX', 'ucs_basic')
  and exists (
    select from pg_catalog.pg_attribute as a
    join pg_catalog.pg_class as c on c.oid = a.attrelid
    join pg_catalog.pg_namespace as s on s.oid = c.relnamespace
    where a.attcollation = o.oid and not a.attisdropped
      and s.nspname not in ('pg_catalog', 'information_schema')
      and s.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  )
order by n.nspname, o.collname
