-- The columns of the same relations, in the order of their numbers.
-- What a type may be called is found once for each type in use: looking for it from every column
-- took minutes where there are a hundred thousand columns.
with recursive used_type (oid) as (
  select distinct a.atttypid
  from pg_catalog.pg_attribute as a
  join pg_catalog.pg_class as c on c.oid = a.attrelid
  where c.relkind in ('r', 'p', 'm', 'f') and a.attnum > 0 and not a.attisdropped
), made_of (oid, base) as (
  select u.oid, u.oid from used_type as u
  union all
  select m.oid, t.typbasetype
  from made_of as m join pg_catalog.pg_type as t on t.oid = m.base
  where t.typtype = 'd'
), type_name (oid, names, enumerated, composite) as materialized (
  select m.oid, pg_catalog.array_agg(called.name), pg_catalog.bool_or(b.typtype = 'e'),
    pg_catalog.min(pg_catalog.format_type(b.oid, null)) filter (where b.typtype = 'c')
  from made_of as m
  join pg_catalog.pg_type as b on b.oid = m.base
  join pg_catalog.pg_namespace as bn on bn.oid = b.typnamespace,
    pg_catalog.unnest(array[
      pg_catalog.format_type(b.oid, null), bn.nspname || '.' || b.typname
    ]) as called (name)
  group by m.oid
)
select
  c.oid as table_oid,
  a.attnum::int as number,
  a.attname::text as name,
  pg_catalog.format_type(a.atttypid, a.atttypmod) as type,
  a.atttypid as type_oid,
  a.atttypmod as type_modifier,
  coalesce(y.names, array[]::text[]) as type_names,
  coalesce(y.enumerated, false) as enumerated,
  y.composite,
  a.attnotnull as not_null,
  a.attgenerated::text as generated,
  a.attidentity::text as identity,
  pg_catalog.pg_get_expr(d.adbin, d.adrelid) as default,
  case when a.attcollation <> t.typcollation
    then pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(co.collname)
  end as collation,
  a.xmin::text as version
from pg_catalog.pg_attribute as a
join pg_catalog.pg_class as c on c.oid = a.attrelid
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
left join pg_catalog.pg_type as t on t.oid = a.atttypid
left join type_name as y on y.oid = a.atttypid
left join pg_catalog.pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
left join pg_catalog.pg_collation as co on co.oid = a.attcollation
left join pg_catalog.pg_namespace as cn on cn.oid = co.collnamespace
where c.relkind in ('r', 'p', 'm', 'f')
  and c.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  and a.attnum > 0
  and not a.attisdropped
order by a.attrelid, a.attnum
