-- What the rules of users' relations (a view is one) use of the server's own: relations, columns,
-- functions and operators, each with the rules that use it. The trees say it, as pg_depend does
-- not know what is pinned; texts in them have no plain spaces. selectedCols counts from -7
-- (FirstLowInvalidHeapAttributeNumber); until 15 it is in the RTE of the relation, since 16 in its
-- RTEPERMISSIONINFO, and next after the relid in both. Functions of another format than 0, the
-- ninth word, are casts, or have a syntax of their own. To split is ten times as fast as an
-- expression.
with matches as materialized (
  select r.oid as rule, m.relation::oid as relation, m.columns, m.function::oid as function,
    m.operator::oid as operator
  from pg_catalog.pg_rewrite as r,
  lateral (select r.ev_qual::text || ' ' || r.ev_action::text as text offset 0) as tree,
  lateral (
    select pg_catalog.split_part(s.part, ' ', 1) as relation,
      pg_catalog.split_part(
        pg_catalog.split_part(s.part, ':selectedCols (b', 2), ')', 1) as columns,
      null as function, null as operator
    from pg_catalog.unnest(pg_catalog.string_to_array(tree.text, ':relid '))
      with ordinality as s (part, place)
    where s.place > 1 and s.part like '%:selectedCols (b%'
    union all
    select null, null, pg_catalog.split_part(s.part, ' ', 1), null
    from pg_catalog.unnest(pg_catalog.string_to_array(tree.text, ':funcid '))
      with ordinality as s (part, place)
    where s.place > 1 and pg_catalog.split_part(pg_catalog.left(s.part, 200), ' ', 9) = '0'
    union all
    select null, null, pg_catalog.split_part(s.part, ' ', 1), null
    from pg_catalog.unnest(
      pg_catalog.string_to_array(tree.text, ':aggfnoid ')
      || pg_catalog.string_to_array(tree.text, ':winfnoid ')
    ) with ordinality as s (part, place)
    where s.part ~ '^\d'
    union all
    select null, null, null, pg_catalog.split_part(s.part, ' ', 1)
    from pg_catalog.unnest(pg_catalog.string_to_array(tree.text, ':opno '))
      with ordinality as s (part, place)
    where s.place > 1
  ) as m
  where r.ev_class >= 16384  -- FirstNormalObjectId: initdb made the others
),
used as (
  select distinct * from matches
  where relation < 16384 or function < 16384 or operator < 16384
)
select
  case when a.attname is null then 'relation' else 'column' end as kind,
  n.nspname::text as schema,
  c.relname::text as name,
  coalesce(a.attname::text, '') as detail,
  0 as least,
  0 as most,
  pg_catalog.concat_ws(
    '.', c.oid::regclass::text, pg_catalog.quote_ident(a.attname::text)
  ) as text,
  pg_catalog.array_agg(distinct u.rule::bigint) as rules
from used as u
join pg_catalog.pg_class as c on c.oid = u.relation
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
left join lateral pg_catalog.unnest(
  pg_catalog.string_to_array(pg_catalog.btrim(u.columns), ' ')::integer[]) as s (place) on true
left join pg_catalog.pg_attribute as a
  on a.attrelid = c.oid and a.attnum = s.place - 7 and a.attnum > 0
group by c.oid, n.nspname, c.relname, a.attname
union all
select
  'function', n.nspname, p.proname, '',
  p.pronargs - p.pronargdefaults,
  case when p.provariadic = 0 then p.pronargs else 100 end,  -- FUNC_MAX_ARGS
  p.oid::regprocedure::text,
  pg_catalog.array_agg(distinct u.rule::bigint)
from used as u
join pg_catalog.pg_proc as p on p.oid = u.function
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
group by p.oid, n.nspname, p.proname, p.pronargs, p.pronargdefaults, p.provariadic
union all
select
  'operator', n.nspname, o.oprname,
  pg_catalog.format_type(o.oprleft, null) || ',' || pg_catalog.format_type(o.oprright, null),
  0, 0,
  o.oid::regoperator::text,
  pg_catalog.array_agg(distinct u.rule::bigint)
from used as u
join pg_catalog.pg_operator as o on o.oid = u.operator
join pg_catalog.pg_namespace as n on n.oid = o.oprnamespace
group by o.oid, n.nspname, o.oprname, o.oprleft, o.oprright
