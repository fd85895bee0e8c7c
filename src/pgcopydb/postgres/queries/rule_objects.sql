-- The objects to which rules belong: a view has one, and those of tables are objects themselves.
-- Not what an extension brings, nor what is not copied.
select r.oid::bigint as rule, o.catalog::oid::bigint as catalog, o.oid::bigint as oid,
  i.type as kind, i.identity as name
from pg_catalog.pg_rewrite as r
join pg_catalog.pg_class as c on c.oid = r.ev_class
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace,
lateral (
  select 'pg_catalog.pg_class'::regclass as catalog, c.oid
  where r.rulename = '_RETURN'
  union all
  select 'pg_catalog.pg_rewrite'::regclass, r.oid
  where r.rulename <> '_RETURN'
) as o,
pg_catalog.pg_identify_object(o.catalog, o.oid, 0) as i
where r.oid = any (%(rules)s::oid[])
  and c.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and not exists (
    select from pg_catalog.pg_depend as d
    where d.deptype = 'e'
      and (d.classid, d.objid) in (
        ('pg_catalog.pg_class'::regclass, c.oid), ('pg_catalog.pg_rewrite'::regclass, r.oid))
  )
order by 4, 5
