-- Large objects in ranges of oids, each with as many as ``together`` says at most.
select
  pg_catalog.min(n.oid)::bigint as first,
  pg_catalog.max(n.oid)::bigint as last,
  pg_catalog.count(*) as count
from (
  select m.oid::bigint as oid,
    (pg_catalog.row_number() over (order by m.oid) - 1) / %(together)s as number
  from pg_catalog.pg_largeobject_metadata as m
) as n
group by n.number
order by n.number
