-- How these objects are called.
select u.catalog::bigint as catalog, u.oid::bigint as oid, i.type as kind, i.identity as name
from rows from (
  pg_catalog.unnest(%(catalogs)s::oid[]), pg_catalog.unnest(%(oids)s::oid[])
) as u (catalog, oid),
pg_catalog.pg_identify_object(u.catalog, u.oid, 0) as i
order by 3, 4
