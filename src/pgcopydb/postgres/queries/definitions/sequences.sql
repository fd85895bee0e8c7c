-- Sequences, without where they stand.
select
  'sequence' as kind,
  pg_catalog.format('%I.%I', n.nspname, c.relname) as identity,
  n.nspname::text as schema_name,
  c.relname::text as table_name,
  'pg_catalog.pg_class'::regclass::oid::bigint as catalog,
  c.oid::bigint as object,
  pg_catalog.pg_get_userbyid(c.relowner)::text as owner,
  c.relacl::text[] as acl,
  case when c.relacl is not null then pg_catalog.acldefault('s', c.relowner) end::text[] as default_acl,
  pg_catalog.format_type(s.seqtypid, null) as type,
  s.seqstart::text as start,
  s.seqincrement::text as increment,
  s.seqmin::text as minimum,
  s.seqmax::text as maximum,
  s.seqcache::text as cache,
  case when s.seqcycle then 'yes' else 'no' end as cycles,
  case c.relpersistence when 'u' then 'unlogged' else 'logged' end as persistence,
  (
    select pg_catalog.format('%s.%I', d.refobjid::regclass, a.attname)
    from pg_catalog.pg_depend as d
    join pg_catalog.pg_attribute as a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
    where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.objsubid = 0
      and d.refclassid = 'pg_catalog.pg_class'::regclass and d.deptype in ('a', 'i')
  ) as "owned by",
  pg_catalog.obj_description(c.oid, 'pg_class') as comment
from pg_catalog.pg_sequence as s
join pg_catalog.pg_class as c on c.oid = s.seqrelid
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where c.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_class'::regclass and e.objid = c.oid and e.deptype = 'e'
  )
