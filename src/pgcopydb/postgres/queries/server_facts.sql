-- What this server and the connected database are, for the run's header and the pre-flight checks.
select
  pg_catalog.current_setting('server_version_num')::int as version_num,
  pg_catalog.current_setting('server_version') as version,
  d.oid as database_oid,
  d.datname::text as database,
  pg_catalog.pg_encoding_to_char(d.encoding)::text as encoding,
  d.datcollate::text as collation,
  d.datctype::text as ctype,
  -- what sorts text, where that is not libc by the two before; under other names in other versions
  case when j.row ->> 'datlocprovider' in ('b', 'i') then j.row ->> 'datlocprovider' else 'c' end as provider,
  coalesce(j.row ->> 'datlocale', j.row ->> 'daticulocale') as locale,
  pg_catalog.pg_is_in_recovery() as in_recovery,
  pg_catalog.pg_postmaster_start_time()::text as started_at,
  pg_catalog.current_setting('wal_level') as wal_level,
  r.rolname::text as role,
  r.rolsuper as is_superuser,
  r.rolsuper or r.rolreplication as may_replicate,
  coalesce((
    select pg_catalog.array_agg(e.extname::text order by e.extname) from pg_catalog.pg_extension as e
  ), array[]::text[]) as extensions,
  pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'execute')
    and pg_catalog.has_function_privilege('pg_catalog.pg_control_checkpoint()', 'execute')
    as control_readable
from pg_catalog.pg_database as d
join pg_catalog.pg_roles as r on r.rolname = current_user
cross join lateral (select pg_catalog.to_jsonb(d) as row) as j
where d.datname = pg_catalog.current_database()
