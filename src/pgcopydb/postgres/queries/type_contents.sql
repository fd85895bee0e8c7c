-- What values of the types that users made consist of: the labels of enumerated types and the
-- attributes of composite ones, at any depth, of each type that a column of a table has.
with recursive used_type (oid) as (
  select distinct a.atttypid
  from pg_catalog.pg_attribute as a
  join pg_catalog.pg_class as c on c.oid = a.attrelid
  where c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
    and a.atttypid >= 16384
), made_of (oid, part) as (
  select u.oid, u.oid from used_type as u
  union
  select m.oid, inner_type.oid
  from made_of as m
  join pg_catalog.pg_type as t on t.oid = m.part
  cross join lateral (
    select t.typbasetype where t.typtype = 'd'
    union all
    select t.typelem where t.typelem <> 0 and t.typlen = -1
    union all
    select r.rngsubtype from pg_catalog.pg_range as r where r.rngtypid = t.oid
    union all -- a column that servers before 14 lack
    select r.rngtypid from pg_catalog.pg_range as r
    where pg_catalog.to_jsonb(r) ->> 'rngmultitypid' = t.oid::text
    union all
    select a.atttypid from pg_catalog.pg_attribute as a
    where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
  ) as inner_type (oid)
)
select
  m.oid as type_oid,
  pg_catalog.array_agg(
    pg_catalog.format('%I.%I %s', n.nspname, t.typname, content.text)
    order by n.nspname, t.typname, content.text
  ) as contents
from made_of as m
join pg_catalog.pg_type as t on t.oid = m.part
join pg_catalog.pg_namespace as n on n.oid = t.typnamespace
cross join lateral (
  select pg_catalog.quote_literal(e.enumlabel)
  from pg_catalog.pg_enum as e where e.enumtypid = t.oid
  union all
  select pg_catalog.format('(%s)', pg_catalog.string_agg(
    pg_catalog.format(
      '%I %s', a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)
    ), ', ' order by a.attnum
  ))
  from pg_catalog.pg_attribute as a
  where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
  having pg_catalog.count(*) > 0
) as content (text)
group by m.oid
