-- Every extension of the database, with the tables whose rows it leaves to its users.
select
  e.oid,
  e.extname::text as name,
  e.extversion as version,
  n.nspname::text as schema,
  pg_catalog.pg_get_userbyid(e.extowner)::text as owner,
  e.extrelocatable as is_relocatable,
  pg_catalog.obj_description(e.oid, 'pg_extension') as comment,
  coalesce((
    select pg_catalog.jsonb_agg(
      pg_catalog.jsonb_build_object(
        'schema', tn.nspname, 'name', c.relname, 'condition', e.extcondition[u.number]
      ) order by tn.nspname, c.relname
    )
    from pg_catalog.unnest(e.extconfig) with ordinality as u (oid, number)
    join pg_catalog.pg_class as c on c.oid = u.oid
    join pg_catalog.pg_namespace as tn on tn.oid = c.relnamespace
    where c.relkind in ('r', 'p')
  ), '[]'::jsonb) as configuration_tables
from pg_catalog.pg_extension as e
join pg_catalog.pg_namespace as n on n.oid = e.extnamespace
order by e.extname
