-- Schemas with the owners of what is in them, where it is not theirs: each new owner needs the right to
-- create there, and has it when the schema's owner has given it, which comes last in a restore.
select n.nspname::text as schema, pg_catalog.pg_get_userbyid(n.nspowner)::text as owner,
  pg_catalog.pg_get_userbyid(o.owner)::text as other
from (
  select 'pg_catalog.pg_class'::regclass as catalog, c.oid, c.relnamespace as namespace,
    c.relowner as owner
  from pg_catalog.pg_class as c
  where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and c.relpersistence <> 't'
  union all
  select 'pg_catalog.pg_proc'::regclass, p.oid, p.pronamespace, p.proowner
  from pg_catalog.pg_proc as p
  union all
  select 'pg_catalog.pg_type'::regclass, t.oid, t.typnamespace, t.typowner
  from pg_catalog.pg_type as t
  where t.typrelid = 0 and t.typcategory <> 'A'
) as o
join pg_catalog.pg_namespace as n on n.oid = o.namespace
where n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb', 'public')
  and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  and n.nspowner <> o.owner
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = o.catalog and e.objid = o.oid and e.deptype = 'e'
  )
group by 1, 2, 3
order by 1, 3
