-- The columns of tables and partitioned tables, a row for each table; arrays go together.
-- Reading no defaults it waits for no lock that an ALTER TABLE holds.
select
  n.nspname::text as schema,
  c.relname::text as name,
  c.relfilenode::bigint as filenode,
  pg_catalog.array_agg(a.attname::text order by a.attnum) as columns,
  pg_catalog.array_agg(
    pg_catalog.format_type(a.atttypid, a.atttypmod) order by a.attnum
  ) as types,
  pg_catalog.array_agg(a.attnum::int order by a.attnum) as numbers,
  pg_catalog.array_agg(a.xmin::text order by a.attnum) as versions
from pg_catalog.pg_class as c
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
join pg_catalog.pg_attribute as a on a.attrelid = c.oid
where c.relkind in ('r', 'p')
  and c.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  and a.attnum > 0
  and not a.attisdropped
group by n.nspname, c.oid, c.relname, c.relfilenode
order by n.nspname, c.relname
