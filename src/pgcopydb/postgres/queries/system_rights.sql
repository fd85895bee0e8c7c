-- Functions and relations of pg_catalog and of extensions on which the rights are not those that
-- initdb or the extension gave, which pg_dump writes down, and those on which this role has no right
-- at all.
with brought as (
  select d.classid, d.objid, x.extname
  from pg_catalog.pg_depend as d join pg_catalog.pg_extension as x on x.oid = d.refobjid
  where d.deptype = 'e' and d.refclassid = 'pg_catalog.pg_extension'::regclass
), own as (
  select 'pg_catalog.pg_proc'::regclass as catalog, p.oid, p.proacl as rights,
    pg_catalog.acldefault('f', p.proowner) as usual,
    pg_catalog.has_function_privilege(p.oid, 'execute') as is_open, b.extname as extension
  from pg_catalog.pg_proc as p
  left join brought as b on b.classid = 'pg_catalog.pg_proc'::regclass and b.objid = p.oid
  where b.objid is not null or (p.oid < 16384 and p.pronamespace = 'pg_catalog'::regnamespace)
  union all
  select 'pg_catalog.pg_class'::regclass, c.oid, c.relacl,
    pg_catalog.acldefault('r', c.relowner),
    pg_catalog.has_table_privilege(
      c.oid, 'select, insert, update, delete, truncate, references, trigger'), b.extname
  from pg_catalog.pg_class as c
  left join brought as b on b.classid = 'pg_catalog.pg_class'::regclass and b.objid = c.oid
  where c.relkind in ('r', 'v') and (
    b.objid is not null or (c.oid < 16384 and c.relnamespace = 'pg_catalog'::regnamespace)
  )
)
select
  i.type || ' ' || i.identity as name,
  o.extension::text as extension,
  o.is_open,
  not (
    coalesce(o.rights, o.usual) @> coalesce(n.initprivs, o.usual)
    and coalesce(n.initprivs, o.usual) @> coalesce(o.rights, o.usual)
  ) as is_changed
from own as o
left join pg_catalog.pg_init_privs as n
  on n.classoid = o.catalog and n.objoid = o.oid and n.objsubid = 0,
pg_catalog.pg_identify_object(o.catalog, o.oid, 0) as i
where not o.is_open or o.rights is distinct from n.initprivs
order by 1
