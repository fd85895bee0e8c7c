-- Extended statistics. The target is there from 13 on.
select
  'statistics' as kind,
  pg_catalog.format('%I.%I', n.nspname, s.stxname) as identity,
  tn.nspname::text as schema_name,
  c.relname::text as table_name,
  'pg_catalog.pg_statistic_ext'::regclass::oid::bigint as catalog,
  s.oid::bigint as object,
  pg_catalog.pg_get_userbyid(s.stxowner)::text as owner,
  pg_catalog.pg_get_statisticsobjdef(s.oid) as definition,
  nullif(pg_catalog.to_jsonb(s) ->> 'stxstattarget', '-1') as "statistics target",
  pg_catalog.obj_description(s.oid, 'pg_statistic_ext') as comment
from pg_catalog.pg_statistic_ext as s
join pg_catalog.pg_namespace as n on n.oid = s.stxnamespace
join pg_catalog.pg_class as c on c.oid = s.stxrelid
join pg_catalog.pg_namespace as tn on tn.oid = c.relnamespace
where n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
