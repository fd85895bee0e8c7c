-- Rights that somebody else than an object's owner has given: a dump gives them as that role, also
-- on what an extension brings, as the language PL/pgSQL.
select o.catalog::oid::bigint as catalog, o.oid::bigint as oid, i.type || ' ' || i.identity as name,
  o.grantors
from (
  select r.catalog, r.oid, pg_catalog.array_agg(distinct g.rolname::text order by g.rolname::text)
    as grantors
  from (
    select 'pg_catalog.pg_class'::regclass as catalog, c.oid, c.relowner as owner, c.relacl as rights
    from pg_catalog.pg_class as c where c.relacl is not null
    union all
    select 'pg_catalog.pg_class'::regclass, c.oid, c.relowner, a.attacl
    from pg_catalog.pg_attribute as a join pg_catalog.pg_class as c on c.oid = a.attrelid
    where a.attacl is not null
    union all
    select 'pg_catalog.pg_namespace'::regclass, n.oid, n.nspowner, n.nspacl
    from pg_catalog.pg_namespace as n where n.nspacl is not null
    union all
    select 'pg_catalog.pg_proc'::regclass, p.oid, p.proowner, p.proacl
    from pg_catalog.pg_proc as p where p.proacl is not null
    union all
    select 'pg_catalog.pg_type'::regclass, t.oid, t.typowner, t.typacl
    from pg_catalog.pg_type as t where t.typacl is not null
    union all
    select 'pg_catalog.pg_foreign_server'::regclass, s.oid, s.srvowner, s.srvacl
    from pg_catalog.pg_foreign_server as s where s.srvacl is not null
    union all
    select 'pg_catalog.pg_foreign_data_wrapper'::regclass, w.oid, w.fdwowner, w.fdwacl
    from pg_catalog.pg_foreign_data_wrapper as w where w.fdwacl is not null
    union all
    select 'pg_catalog.pg_language'::regclass, l.oid, l.lanowner, l.lanacl
    from pg_catalog.pg_language as l where l.lanacl is not null
  ) as r
  cross join lateral pg_catalog.aclexplode(r.rights) as a
  join pg_catalog.pg_roles as g on g.oid = a.grantor
  where a.grantor <> r.owner
  group by r.catalog, r.oid
) as o,
pg_catalog.pg_identify_object(o.catalog, o.oid, 0) as i
where (
    o.oid >= 16384  -- FirstNormalObjectId: initdb made the others
    or i.identity = 'public' or o.catalog = 'pg_catalog.pg_language'::regclass
  )
  and (i.schema is null or (
    i.schema not in ('pg_catalog', 'information_schema', 'pgcopydb')
    and i.schema !~ '^pg_(toast|temp_|toast_temp_)'
  ))
  and i.identity <> 'pgcopydb'
  and not exists (
    select from pg_catalog.pg_depend as d
    where d.classid = o.catalog and d.objid = o.oid and d.objsubid = 0 and d.deptype = 'i'
  )
order by 3
