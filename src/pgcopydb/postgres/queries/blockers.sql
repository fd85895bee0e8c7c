-- Transactions for which the creation of a slot would wait, the oldest first.
select
  'session' as kind, a.pid::text as name, a.usename::text as role,
  extract(epoch from pg_catalog.clock_timestamp() - a.xact_start)::float8 as seconds
from pg_catalog.pg_stat_activity as a
where a.backend_xid is not null and a.pid <> pg_catalog.pg_backend_pid()
union all
select
  'prepared', p.gid, p.owner::text,
  extract(epoch from pg_catalog.clock_timestamp() - p.prepared)::float8
from pg_catalog.pg_prepared_xacts as p
order by seconds desc
