-- Types that users made: those of tables and the arrays come with what they belong to.
-- There is no regcollation before 13.
with collation_name (oid, name) as not materialized (
  select k.oid, pg_catalog.concat(nullif(pg_catalog.quote_ident(z.nspname), 'pg_catalog') || '.', pg_catalog.quote_ident(k.collname))
  from pg_catalog.pg_collation as k join pg_catalog.pg_namespace as z on z.oid = k.collnamespace
)
select
  case t.typtype
    when 'e' then 'enumerated type' when 'd' then 'domain' when 'r' then 'range type'
    when 'c' then 'composite type' else 'type'
  end as kind,
  pg_catalog.format('%I.%I', n.nspname, t.typname) as identity,
  n.nspname::text as schema_name,
  null::text as table_name,
  'pg_catalog.pg_type'::regclass::oid::bigint as catalog,
  t.oid::bigint as object,
  pg_catalog.pg_get_userbyid(t.typowner)::text as owner,
  t.typacl::text[] as acl,
  case when t.typacl is not null then pg_catalog.acldefault('T', t.typowner) end::text[] as default_acl,
  case when t.typtype = 'e' then (
    select pg_catalog.string_agg(pg_catalog.quote_literal(e.enumlabel), ', ' order by e.enumsortorder)
    from pg_catalog.pg_enum as e where e.enumtypid = t.oid
  ) end as labels,
  case when t.typtype = 'c' then (
    select pg_catalog.string_agg(
      pg_catalog.quote_ident(a.attname) || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod)
        || case when a.attcollation not in (0, b.typcollation)
          then ' collate ' || (select k.name from collation_name as k where k.oid = a.attcollation) else ''
        end,
      ', ' order by a.attnum
    )
    from pg_catalog.pg_attribute as a join pg_catalog.pg_type as b on b.oid = a.atttypid
    where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
  ) end as attributes,
  case when t.typtype = 'd' then pg_catalog.format_type(t.typbasetype, t.typtypmod) end as "base type",
  case when t.typtype = 'd' then case when t.typnotnull then 'yes' else 'no' end end as "not null",
  case when t.typtype = 'd' then t.typdefault end as "default",
  case when t.typtype = 'd' and t.typcollation not in (0, base.typcollation)
    then (select k.name from collation_name as k where k.oid = t.typcollation)
  end as collation,
  case when t.typtype = 'r' then (
    select pg_catalog.concat_ws(
      ' ', pg_catalog.format_type(r.rngsubtype, null), o.opcname,
      'collation ' || (select k.name from collation_name as k where k.oid = r.rngcollation),
      'canonical ' || nullif(r.rngcanonical, 0)::regproc,
      'difference ' || nullif(r.rngsubdiff, 0)::regproc
    )
    from pg_catalog.pg_range as r join pg_catalog.pg_opclass as o on o.oid = r.rngsubopc
    where r.rngtypid = t.oid
  ) end as range,
  case when t.typtype = 'b' then pg_catalog.concat_ws(
    ' ', t.typlen, t.typbyval, t.typalign, t.typstorage, t.typcategory, t.typispreferred, t.typdelim,
    t.typinput, t.typoutput, 'receive ' || nullif(t.typreceive, 0)::regproc,
    'send ' || nullif(t.typsend, 0)::regproc, 'modifiers in ' || nullif(t.typmodin, 0)::regproc,
    'modifiers out ' || nullif(t.typmodout, 0)::regproc,
    'analyze ' || nullif(t.typanalyze, 0)::regproc, 'default ' || t.typdefault
  ) end as definition,
  pg_catalog.obj_description(t.oid, 'pg_type') as comment
from pg_catalog.pg_type as t
join pg_catalog.pg_namespace as n on n.oid = t.typnamespace
left join pg_catalog.pg_class as c on c.oid = t.typrelid
left join pg_catalog.pg_type as base on base.oid = t.typbasetype
where (t.typtype in ('e', 'd', 'r') or (t.typtype = 'c' and c.relkind = 'c') or (
    t.typtype = 'b' and not exists (
      select from pg_catalog.pg_type as m where m.oid = t.typelem and m.typarray = t.oid
    )
  ))
  and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_type'::regclass and e.objid = t.oid and e.deptype = 'e'
  )
