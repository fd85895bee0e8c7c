-- Collations that users created, and those that are not the default of what they are used for.
with used (collation_oid, catalog_oid, object_oid, column_number) as (
  select a.attcollation, 'pg_catalog.pg_class'::regclass::oid, c.oid, a.attnum::int
  from pg_catalog.pg_attribute as a
  join pg_catalog.pg_class as c on c.oid = a.attrelid
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
  join pg_catalog.pg_type as t on t.oid = a.atttypid
  where c.relkind in ('r', 'p', 'm', 'f', 'v', 'c')
    and c.relpersistence <> 't'
    and a.attnum > 0 and not a.attisdropped
    and a.attcollation not in (0, t.typcollation)
    and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
    and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  union
  select u.oid, 'pg_catalog.pg_class'::regclass::oid, i.indexrelid, 0
  from pg_catalog.pg_index as i
  join pg_catalog.pg_class as x on x.oid = i.indexrelid
  join pg_catalog.pg_namespace as n on n.oid = x.relnamespace
  cross join lateral pg_catalog.unnest(i.indcollation::oid[]) as u (oid)
  where x.relpersistence <> 't'
    and u.oid not in (0, 100)  -- 100 is the default collation on every version
    and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
    and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  union
  select o.oid, 'pg_catalog.pg_database'::regclass::oid, d.oid, 0
  from pg_catalog.pg_database as d
  join pg_catalog.pg_collation as o
    on o.collname = d.datcollate and o.collnamespace = 'pg_catalog'::regnamespace
    and o.collencoding in (-1, d.encoding)
  where d.datname = pg_catalog.current_database()
)
select
  o.oid,
  n.nspname::text as schema,
  o.collname::text as name,
  o.collprovider::text as provider,
  o.collcollate::text as collation,
  o.collctype::text as ctype,
  coalesce(j.row ->> 'colllocale', j.row ->> 'colliculocale') as locale,
  o.collisdeterministic as is_deterministic,
  o.collversion as version,
  pg_catalog.pg_collation_actual_version(o.oid) as actual_version,
  coalesce((
    select pg_catalog.array_agg(described.name order by described.name)
    from used as u
    cross join lateral (
      select pg_catalog.pg_describe_object(u.catalog_oid, u.object_oid, u.column_number)
    ) as described (name)
    where u.collation_oid = o.oid
  ), array[]::text[]) as used_by
from pg_catalog.pg_collation as o
join pg_catalog.pg_namespace as n on n.oid = o.collnamespace
cross join lateral (select pg_catalog.to_jsonb(o) as row) as j
where (
    n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
    and not exists (
      select from pg_catalog.pg_depend as e
      where e.classid = 'pg_catalog.pg_collation'::regclass
        and e.objid = o.oid and e.deptype = 'e'
    )
  )
  or o.oid in (select u.collation_oid from used as u)
order by n.nspname, o.collname
