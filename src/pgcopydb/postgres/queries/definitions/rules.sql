-- Rewrite rules other than those that make a view.
select
  'rule' as kind,
  pg_catalog.format('%I.%I.%I', n.nspname, c.relname, r.rulename) as identity,
  n.nspname::text as schema_name,
  c.relname::text as table_name,
  'pg_catalog.pg_rewrite'::regclass::oid::bigint as catalog,
  r.oid::bigint as object,
  pg_catalog.pg_get_ruledef(r.oid) as definition,
  case r.ev_enabled when 'D' then 'no' when 'R' then 'on replicas' when 'A' then 'always' else 'yes' end as enabled,
  pg_catalog.obj_description(r.oid, 'pg_rewrite') as comment
from pg_catalog.pg_rewrite as r
join pg_catalog.pg_class as c on c.oid = r.ev_class
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where r.rulename <> '_RETURN'
  and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_class'::regclass and e.objid = c.oid and e.deptype = 'e'
  )
