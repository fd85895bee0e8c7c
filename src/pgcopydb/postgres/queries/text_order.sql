-- What text is sorted by in this database where nothing else is said; the version is NULL for none.
select
  d.datlocprovider::text as provider,
  coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', d.datcollate) as locale,
  coalesce(to_jsonb(d) ->> 'daticurules', '') as rules,
  pg_catalog.pg_database_collation_actual_version(d.oid) as version
from pg_catalog.pg_database as d
where d.datname = pg_catalog.current_database()
