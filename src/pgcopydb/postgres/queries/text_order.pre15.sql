-- The same of servers before 15, where a database has no version of its own: that of a collation of
-- the same name.
select
  'c' as provider,
  d.datcollate::text as locale,
  '' as rules,
  (
    select max(pg_catalog.pg_collation_actual_version(o.oid))
    from pg_catalog.pg_collation as o
    where o.collprovider = 'c'
      and lower(replace(o.collcollate, '-', '')) = lower(replace(d.datcollate, '-', ''))
  ) as version
from pg_catalog.pg_database as d
where d.datname = pg_catalog.current_database()
