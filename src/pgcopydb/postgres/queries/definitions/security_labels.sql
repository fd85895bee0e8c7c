-- Security labels of objects in this database.
select
  'security label' as kind,
  pg_catalog.format('%s %s by %I', l.objtype, l.objname, l.provider) as identity,
  null::text as schema_name,
  null::text as table_name,
  l.classoid::bigint as catalog,
  l.objoid::bigint as object,
  l.label
from pg_catalog.pg_seclabels as l
where l.objtype not in ('database', 'role', 'tablespace')
