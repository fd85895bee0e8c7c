-- Which of the named tables this role may not write as changes are applied: UPDATE and DELETE read
-- the row that they look for. Tables that are not there are not looked at.
select
  n.nspname::text as schema,
  c.relname::text as name,
  pg_catalog.has_schema_privilege(n.oid, 'usage') as may_use_schema,
  pg_catalog.array_remove(array[
    case when not pg_catalog.has_table_privilege(c.oid, 'select') then 'SELECT' end,
    case when not pg_catalog.has_table_privilege(c.oid, 'insert') then 'INSERT' end,
    case when not pg_catalog.has_table_privilege(c.oid, 'update') then 'UPDATE' end,
    case when not pg_catalog.has_table_privilege(c.oid, 'delete') then 'DELETE' end
  ], null) as lacking
from rows from (
  pg_catalog.unnest(%(schemas)s::text[]), pg_catalog.unnest(%(names)s::text[])
) as wanted (schema, name)
join pg_catalog.pg_namespace as n on n.nspname = wanted.schema
join pg_catalog.pg_class as c on c.relnamespace = n.oid and c.relname = wanted.name
where c.relkind in ('r', 'p')
  and not (
    pg_catalog.has_schema_privilege(n.oid, 'usage')
    and pg_catalog.has_table_privilege(c.oid, 'select')
    and pg_catalog.has_table_privilege(c.oid, 'insert')
    and pg_catalog.has_table_privilege(c.oid, 'update')
    and pg_catalog.has_table_privilege(c.oid, 'delete')
  )
order by 1, 2
