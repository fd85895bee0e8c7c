-- How many sessions the server takes and has, how many locks each may hold, and how many workers.
-- reserved_connections is there from 16 on, and kept from all but members of a role that is too.
select
  pg_catalog.current_setting('max_connections')::int as max_connections,
  pg_catalog.current_setting('superuser_reserved_connections')::int
    + case when exists (
        select from pg_catalog.pg_roles as u
        where u.rolname = 'pg_use_reserved_connections'
          and pg_catalog.pg_has_role(current_user, u.oid, 'usage'))
      then 0
      else coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0)
    end as reserved_connections,
  (select coalesce(pg_catalog.sum(s.numbackends), 0)::int from pg_catalog.pg_stat_database as s)
    as used_connections,
  r.rolconnlimit as role_connections,
  d.datconnlimit as database_connections,
  (select s.numbackends from pg_catalog.pg_stat_database as s where s.datid = d.oid)
    as used_in_database,
  pg_catalog.current_setting('max_locks_per_transaction')::int as max_locks_per_transaction,
  pg_catalog.current_setting('max_parallel_maintenance_workers')::int
    as max_parallel_maintenance_workers,
  pg_catalog.current_setting('max_parallel_workers')::int as max_parallel_workers,
  pg_catalog.current_setting('max_worker_processes')::int as max_worker_processes
from pg_catalog.pg_roles as r
cross join pg_catalog.pg_database as d
where r.rolname = current_user
  and d.datname = pg_catalog.current_database()
