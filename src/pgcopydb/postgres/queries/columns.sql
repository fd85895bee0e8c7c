-- The columns of the same relations, in the order of their numbers.
with recursive domain (oid, base) as (
  select t.oid, t.typbasetype from pg_catalog.pg_type as t where t.typtype = 'd'
  union all
  select d.oid, t.typbasetype
  from domain as d join pg_catalog.pg_type as t on t.oid = d.base
  where t.typtype = 'd'
)
select
  c.oid as table_oid,
  a.attnum::int as number,
  a.attname::text as name,
  pg_catalog.format_type(a.atttypid, a.atttypmod) as type,
  a.atttypid as type_oid,
  a.atttypmod as type_modifier,
  coalesce((
    select pg_catalog.array_agg(names.name)
    from pg_catalog.pg_type as b
    join pg_catalog.pg_namespace as bn on bn.oid = b.typnamespace,
      pg_catalog.unnest(array[
        pg_catalog.format_type(b.oid, null), bn.nspname || '.' || b.typname
      ]) as names (name)
    where b.oid = a.atttypid
      or b.oid in (select d.base from domain as d where d.oid = a.atttypid)
  ), array[]::text[]) as type_names,
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
