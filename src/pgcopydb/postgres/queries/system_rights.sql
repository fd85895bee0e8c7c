-- Functions and relations of pg_catalog on which the rights are not those that initdb gave, which
-- pg_dump writes down, and those on which this role has no right at all.
with own as (
  select 'pg_catalog.pg_proc'::regclass as catalog, p.oid, p.proacl as rights,
    pg_catalog.acldefault('f', p.proowner) as usual,
    pg_catalog.has_function_privilege(p.oid, 'execute') as is_open
  from pg_catalog.pg_proc as p
  where p.oid < 16384 and p.pronamespace = 'pg_catalog'::regnamespace
  union all
  select 'pg_catalog.pg_class'::regclass, c.oid, c.relacl,
    pg_catalog.acldefault('r', c.relowner),
    pg_catalog.has_table_privilege(
      c.oid, 'select, insert, update, delete, truncate, references, trigger')
  from pg_catalog.pg_class as c
  where c.oid < 16384 and c.relkind in ('r', 'v') and c.relnamespace = 'pg_catalog'::regnamespace
)
select
  i.type || ' ' || i.identity as name,
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
