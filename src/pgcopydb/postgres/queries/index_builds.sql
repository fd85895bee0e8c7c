-- The indexes that this program's sessions are building in this database, and how far each is.
select
  n.nspname::text as schema,
  c.relname::text as name,
  p.phase::text as phase,
  case
    when p.tuples_total > 0 then p.tuples_done::double precision / p.tuples_total
    when p.blocks_total > 0 then p.blocks_done::double precision / p.blocks_total
  end as fraction
from pg_catalog.pg_stat_progress_create_index as p
join pg_catalog.pg_stat_activity as a on a.pid = p.pid
join pg_catalog.pg_class as c on c.oid = p.relid
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where p.datname = pg_catalog.current_database()
  and a.application_name ~ '^pgcopydb'
order by n.nspname, c.relname, a.query_start
