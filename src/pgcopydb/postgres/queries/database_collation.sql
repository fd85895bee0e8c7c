-- The collation of the database itself, which has a version on servers from 15 on.
select
  '' as schema,
  '' as name,
  d.datcollversion as recorded_version,
  pg_catalog.pg_database_collation_actual_version(d.oid) as actual_version
from pg_catalog.pg_database as d
where d.datname = pg_catalog.current_database()
