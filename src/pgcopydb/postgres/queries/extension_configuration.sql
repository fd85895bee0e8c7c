-- Tables of extensions whose rows are their users', with the condition that tells which ones; and
-- sequences of extensions whose place is.
select
  e.extname::text as extension,
  n.nspname::text as schema,
  c.relname::text as name,
  c.relkind = 'S' as is_sequence,
  e.extcondition[u.number] as condition,
  coalesce((
    select pg_catalog.array_agg(a.attname::text order by a.attnum)
    from pg_catalog.pg_attribute as a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
  ), array[]::text[]) as columns
from pg_catalog.pg_extension as e
cross join lateral pg_catalog.unnest(e.extconfig) with ordinality as u (oid, number)
join pg_catalog.pg_class as c on c.oid = u.oid
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where c.relkind in ('r', 'S')
order by e.extname, u.number
