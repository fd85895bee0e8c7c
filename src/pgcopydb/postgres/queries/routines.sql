-- Functions and procedures with their language and the parameters that they set. Aggregates have none
-- of their own.
select
  'pg_catalog.pg_proc'::regclass::oid::bigint as catalog, p.oid::bigint as oid,
  n.nspname::text as schema, p.proname::text as name, l.lanname::text as language,
  coalesce(p.proconfig, array[]::text[]) as settings
from pg_catalog.pg_proc as p
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
join pg_catalog.pg_language as l on l.oid = p.prolang
where p.prokind <> 'a'
  and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  and not exists (
    select from pg_catalog.pg_depend as d
    where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype in ('e', 'i')
  )
order by n.nspname, p.proname, p.oid
