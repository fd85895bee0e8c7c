-- Policies of row security.
select
  'policy' as kind,
  pg_catalog.format('%I.%I.%I', n.nspname, c.relname, p.polname) as identity,
  n.nspname::text as schema_name,
  c.relname::text as table_name,
  'pg_catalog.pg_policy'::regclass::oid::bigint as catalog,
  p.oid::bigint as object,
  case when p.polpermissive then 'permissive' else 'restrictive' end as mode,
  case p.polcmd when '*' then 'all' when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' else 'delete' end
    as command,
  (
    select pg_catalog.string_agg(
      case when r = 0 then 'PUBLIC' else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(r)) end, ', '
      order by case when r = 0 then '' else pg_catalog.pg_get_userbyid(r)::text collate "C" end
    )
    from pg_catalog.unnest(p.polroles) as r
  ) as roles,
  pg_catalog.pg_get_expr(p.polqual, p.polrelid) as using,
  pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) as "with check",
  pg_catalog.obj_description(p.oid, 'pg_policy') as comment
from pg_catalog.pg_policy as p
join pg_catalog.pg_class as c on c.oid = p.polrelid
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
