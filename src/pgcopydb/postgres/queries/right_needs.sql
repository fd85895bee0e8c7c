-- Objects that are created, and given to their owner, with a right on something else: foreign
-- servers with USAGE of their wrapper, publications with CREATE on the database.
select
  o.catalog::oid::bigint as catalog, o.oid::bigint as oid, o.name::text as name,
  pg_catalog.pg_get_userbyid(o.owner)::text as owner, o.wrapper::text as wrapper
from (
  select 'pg_catalog.pg_foreign_server'::regclass as catalog, s.oid, s.srvname as name,
    s.srvowner as owner, w.fdwname as wrapper
  from pg_catalog.pg_foreign_server as s
  join pg_catalog.pg_foreign_data_wrapper as w on w.oid = s.srvfdw
  union all
  select 'pg_catalog.pg_publication'::regclass, p.oid, p.pubname, p.pubowner, null
  from pg_catalog.pg_publication as p
) as o
where not exists (
  select from pg_catalog.pg_depend as d
  where d.classid = o.catalog and d.objid = o.oid and d.objsubid = 0 and d.deptype = 'e'
)
order by o.name
