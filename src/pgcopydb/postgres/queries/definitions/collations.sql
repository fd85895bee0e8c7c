-- Collations that users made. Columns of pg_collation were renamed in 17: read by either name.
select
  'collation' as kind,
  pg_catalog.format('%I.%I', n.nspname, c.collname) as identity,
  n.nspname::text as schema_name,
  null::text as table_name,
  'pg_catalog.pg_collation'::regclass::oid::bigint as catalog,
  c.oid::bigint as object,
  pg_catalog.pg_get_userbyid(c.collowner)::text as owner,
  case c.collprovider when 'c' then 'libc' when 'i' then 'icu' when 'b' then 'builtin' else 'default' end
    as provider,
  case when not c.collisdeterministic then 'no' end as deterministic,
  coalesce(
    pg_catalog.to_jsonb(c) ->> 'colllocale', pg_catalog.to_jsonb(c) ->> 'colliculocale', c.collcollate
  ) as locale,
  case when c.collprovider = 'c' and c.collctype <> c.collcollate then c.collctype end as "character type",
  pg_catalog.to_jsonb(c) ->> 'collicurules' as rules,
  pg_catalog.obj_description(c.oid, 'pg_collation') as comment
from pg_catalog.pg_collation as c
join pg_catalog.pg_namespace as n on n.oid = c.collnamespace
where n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_collation'::regclass and e.objid = c.oid and e.deptype = 'e'
  )
