-- What only some builds of a server can hold: collations of ICU, columns compressed with LZ4, and XML.
-- attcompression is there from 14 on.
with ours as materialized (
  select n.oid, n.nspname::text as schema
  from pg_catalog.pg_namespace as n
  where n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
    and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
),
relation as materialized (
  select c.oid, s.schema, c.relname::text as name
  from pg_catalog.pg_class as c join ours as s on s.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'm') and c.relpersistence <> 't'
    and not exists (
      select from pg_catalog.pg_depend as e
      where e.classid = 'pg_catalog.pg_class'::regclass and e.objid = c.oid and e.deptype = 'e'
    )
)
select 'ICU' as option, s.schema, o.collname::text as name, null::text as "column"
from pg_catalog.pg_collation as o join ours as s on s.oid = o.collnamespace
where o.collprovider = 'i'
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_collation'::regclass and e.objid = o.oid and e.deptype = 'e'
  )
union all
select case when a.atttypid in (142, 143) then 'libxml' else 'LZ4' end, r.schema, r.name, a.attname::text
from pg_catalog.pg_attribute as a join relation as r on r.oid = a.attrelid
where a.attnum > 0 and not a.attisdropped
  and (a.atttypid in (142, 143)  -- xml and xml[]
    or (a.attlen = -1 and pg_catalog.to_jsonb(a) ->> 'attcompression' = 'l'))
order by 1, 2, 3, 4
