-- What the queries and expressions of users' objects use of the server's own: relations, columns,
-- functions and operators, with the objects that use each where they are asked for. What is
-- temporary or an extension's is not copied.
--
-- The trees say it, as pg_depend does not know what is pinned; texts in them have no plain spaces.
-- selectedCols counts from -7 (FirstLowInvalidHeapAttributeNumber); until 15 it is in the RTE of
-- the relation, since 16 in its RTEPERMISSIONINFO, and next after the relid in both. Functions of
-- another format than 0, the ninth word, are casts, or have a syntax of their own. Of those in FROM
-- each column is named when they are printed. To split is ten times as fast as an expression. A row
-- as JSON has what this server's version has of a catalog.
with trees as (
  select
    case r.rulename when '_RETURN' then 'pg_catalog.pg_class' else 'pg_catalog.pg_rewrite'
    end::regclass as catalog,
    case r.rulename when '_RETURN' then r.ev_class else r.oid end as oid,
    'pg_catalog.pg_class'::regclass as carrier_catalog, r.ev_class as carrier,
    r.ev_qual::text || ' ' || r.ev_action::text as tree
  from pg_catalog.pg_rewrite as r
  union all
  select 'pg_catalog.pg_attrdef'::regclass, d.oid, 'pg_catalog.pg_class'::regclass, d.adrelid,
    d.adbin::text
  from pg_catalog.pg_attrdef as d
  union all
  select 'pg_catalog.pg_constraint'::regclass, k.oid,
    case k.conrelid when 0 then 'pg_catalog.pg_type' else 'pg_catalog.pg_class' end::regclass,
    case k.conrelid when 0 then k.contypid else k.conrelid end,
    k.conbin::text
  from pg_catalog.pg_constraint as k
  union all
  select 'pg_catalog.pg_class'::regclass, x.indexrelid, 'pg_catalog.pg_class'::regclass, x.indrelid,
    pg_catalog.concat_ws(' ', x.indexprs::text, x.indpred::text)
  from pg_catalog.pg_index as x
  where x.indexprs is not null or x.indpred is not null
  union all
  select 'pg_catalog.pg_class'::regclass, t.partrelid, 'pg_catalog.pg_class'::regclass, t.partrelid,
    t.partexprs::text
  from pg_catalog.pg_partitioned_table as t
  union all
  select 'pg_catalog.pg_policy'::regclass, p.oid, 'pg_catalog.pg_class'::regclass, p.polrelid,
    pg_catalog.concat_ws(' ', p.polqual::text, p.polwithcheck::text)
  from pg_catalog.pg_policy as p
  union all
  select 'pg_catalog.pg_trigger'::regclass, t.oid, 'pg_catalog.pg_class'::regclass, t.tgrelid,
    t.tgqual::text
  from pg_catalog.pg_trigger as t
  union all
  select 'pg_catalog.pg_publication_rel'::regclass, p.oid, 'pg_catalog.pg_class'::regclass,
    p.prrelid, pg_catalog.to_jsonb(p) ->> 'prqual'
  from pg_catalog.pg_publication_rel as p
  union all
  select 'pg_catalog.pg_statistic_ext'::regclass, s.oid, 'pg_catalog.pg_class'::regclass,
    s.stxrelid, pg_catalog.to_jsonb(s) ->> 'stxexprs'
  from pg_catalog.pg_statistic_ext as s
  union all
  select 'pg_catalog.pg_type'::regclass, t.oid, 'pg_catalog.pg_type'::regclass, t.oid,
    t.typdefaultbin::text
  from pg_catalog.pg_type as t
  union all
  select 'pg_catalog.pg_proc'::regclass, p.oid, 'pg_catalog.pg_proc'::regclass, p.oid,
    pg_catalog.concat_ws(
      ' ', p.proargdefaults::text, pg_catalog.to_jsonb(p) ->> 'prosqlbody')
  from pg_catalog.pg_proc as p
),
copied as (
  select t.catalog, t.oid, t.tree
  from trees as t
  where t.carrier >= 16384  -- FirstNormalObjectId: initdb made the others
    and t.tree <> ''
    and not exists (
      select from pg_catalog.pg_class as c
      where t.carrier_catalog = 'pg_catalog.pg_class'::regclass
        and c.oid = t.carrier
        and (c.relpersistence = 't' or c.relnamespace = pg_catalog.to_regnamespace('pgcopydb'))
    )
    and not exists (
      select from pg_catalog.pg_depend as d
      where d.deptype = 'e'
        and (d.classid, d.objid) in ((t.catalog, t.oid), (t.carrier_catalog, t.carrier))
    )
  offset 0
),
matches as materialized (
  select r.catalog, r.oid, m.relation::oid as relation, m.columns,
    m.function::oid as function, m.in_from, m.operator::oid as operator
  from copied as r,
  lateral (
    select pg_catalog.split_part(s.part, ' ', 1) as relation,
      pg_catalog.split_part(
        pg_catalog.split_part(s.part, ':selectedCols (b', 2), ')', 1) as columns,
      null as function, false as in_from, null as operator
    from pg_catalog.unnest(pg_catalog.string_to_array(r.tree, ':relid '))
      with ordinality as s (part, place)
    where s.place > 1 and pg_catalog.strpos(s.part, ':selectedCols (b') > 0
    union all
    select null, null, pg_catalog.split_part(s.part, ' ', 1), false, null
    from pg_catalog.unnest(pg_catalog.string_to_array(r.tree, ':funcid '))
      with ordinality as s (part, place)
    where s.place > 1 and pg_catalog.split_part(pg_catalog.left(s.part, 200), ' ', 9) = '0'
    union all
    select null, null, pg_catalog.split_part(s.part, ' ', 1), true, null
    from pg_catalog.unnest(
      pg_catalog.string_to_array(r.tree, '{RANGETBLFUNCTION :funcexpr {FUNCEXPR :funcid '))
      with ordinality as s (part, place)
    where s.place > 1
    union all
    select null, null, pg_catalog.split_part(s.part, ' ', 1), false, null
    from pg_catalog.unnest(
      pg_catalog.string_to_array(r.tree, ':aggfnoid ')
      || pg_catalog.string_to_array(r.tree, ':winfnoid ')
    ) with ordinality as s (part, place)
    where s.part ~ '^\d'
    union all
    select null, null, null, false, pg_catalog.split_part(s.part, ' ', 1)
    from pg_catalog.unnest(pg_catalog.string_to_array(r.tree, ':opno '))
      with ordinality as s (part, place)
    where s.place > 1
  ) as m
),
used as (
  select distinct relation, columns, function, in_from, operator,
    array[catalog::oid, oid]::bigint[] as object
  from matches
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
  case when %(with_users)s then pg_catalog.array_agg(distinct u.object) end as users
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
  case when %(with_users)s then pg_catalog.array_agg(distinct u.object) end
from used as u
join pg_catalog.pg_proc as p on p.oid = u.function
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
where not u.in_from
group by p.oid, n.nspname, p.proname, p.pronargs, p.pronargdefaults, p.provariadic
union all
select
  'operator', n.nspname, o.oprname,
  pg_catalog.format_type(o.oprleft, null) || ',' || pg_catalog.format_type(o.oprright, null),
  0, 0,
  o.oid::regoperator::text,
  case when %(with_users)s then pg_catalog.array_agg(distinct u.object) end
from used as u
join pg_catalog.pg_operator as o on o.oid = u.operator
join pg_catalog.pg_namespace as n on n.oid = o.oprnamespace
group by o.oid, n.nspname, o.oprname, o.oprleft, o.oprright
union all
select
  'columns of function', n.nspname, p.proname, columns.names,
  p.pronargs - p.pronargdefaults,
  case when p.provariadic = 0 then p.pronargs else 100 end,
  p.oid::regprocedure::text,
  case when %(with_users)s then pg_catalog.array_agg(distinct u.object) end
from used as u
join pg_catalog.pg_proc as p on p.oid = u.function
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace,
lateral (
  select pg_catalog.string_agg(a.name, ',' order by a.place) as names
  from rows from (
    pg_catalog.unnest(p.proargnames), pg_catalog.unnest(p.proargmodes)
  ) with ordinality as a (name, mode, place)
  where a.mode in ('o', 'b', 't')
) as columns
where u.in_from and columns.names is not null
group by p.oid, n.nspname, p.proname, p.pronargs, p.pronargdefaults, p.provariadic, columns.names
