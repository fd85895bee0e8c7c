-- How many sessions the server takes and has, and how many locks each may hold.
select
  pg_catalog.current_setting('max_connections')::int as max_connections,
  pg_catalog.current_setting('superuser_reserved_connections')::int as reserved_connections,
  (select coalesce(pg_catalog.sum(s.numbackends), 0)::int from pg_catalog.pg_stat_database as s)
    as used_connections,
  r.rolconnlimit as role_connections,
  pg_catalog.current_setting('max_locks_per_transaction')::int as max_locks_per_transaction
from pg_catalog.pg_roles as r
where r.rolname = current_user
