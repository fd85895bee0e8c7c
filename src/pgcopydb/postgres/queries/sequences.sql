-- Every sequence of users, with the column that owns it (serial or identity).
select
  c.oid,
  n.nspname::text as schema,
  c.relname::text as name,
  pg_catalog.pg_get_userbyid(c.relowner)::text as owner,
  pg_catalog.format_type(s.seqtypid, null) as type,
  s.seqstart as start,
  s.seqincrement as increment,
  s.seqmin as minimum,
  s.seqmax as maximum,
  s.seqcache as cache,
  s.seqcycle as cycles,
  c.relpersistence::text as persistence,
  t.oid as table_oid,
  tn.nspname::text as table_schema,
  t.relname::text as table_name,
  a.attname::text as column_name,
  d.deptype::text as dependency,
  pg_catalog.has_schema_privilege(n.oid, 'usage')
    and pg_catalog.has_sequence_privilege(c.oid, 'select') as readable
from pg_catalog.pg_sequence as s
join pg_catalog.pg_class as c on c.oid = s.seqrelid
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
left join pg_catalog.pg_depend as d
  on d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.objsubid = 0
  and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjsubid > 0
  and d.deptype in ('a', 'i')
left join pg_catalog.pg_class as t on t.oid = d.refobjid
left join pg_catalog.pg_namespace as tn on tn.oid = t.relnamespace
left join pg_catalog.pg_attribute as a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
where c.relpersistence <> 't'
  -- A standby has nothing of what is unlogged.
  and not (c.relpersistence = 'u' and pg_catalog.pg_is_in_recovery())
  and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_class'::regclass and e.objid = c.oid and e.deptype = 'e'
  )
order by n.nspname, c.relname
