-- Extensions. Their members are made by them and not compared.
select
  'extension' as kind,
  pg_catalog.quote_ident(x.extname) as identity,
  null::text as schema_name,
  null::text as table_name,
  'pg_catalog.pg_extension'::regclass::oid::bigint as catalog,
  x.oid::bigint as object,
  x.extname::text as extension_name,
  pg_catalog.quote_ident(n.nspname) as schema,
  x.extversion as version,
  pg_catalog.obj_description(x.oid, 'pg_extension') as comment
from pg_catalog.pg_extension as x
join pg_catalog.pg_namespace as n on n.oid = x.extnamespace
where x.oid >= 16384
