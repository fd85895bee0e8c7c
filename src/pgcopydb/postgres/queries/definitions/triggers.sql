-- Triggers. Those that a partition has from its parent are told only where they are enabled in
-- another way, as pg_dump does: versions disagree about what they are otherwise.
select
  'trigger' as kind,
  pg_catalog.format('%I.%I.%I', n.nspname, c.relname, t.tgname) as identity,
  n.nspname::text as schema_name,
  c.relname::text as table_name,
  'pg_catalog.pg_trigger'::regclass::oid::bigint as catalog,
  t.oid::bigint as object,
  case when parent.oid is null then pg_catalog.pg_get_triggerdef(t.oid) end as definition,
  case t.tgenabled when 'D' then 'no' when 'R' then 'on replicas' when 'A' then 'always' else 'yes' end as enabled,
  pg_catalog.obj_description(t.oid, 'pg_trigger') as comment
from pg_catalog.pg_trigger as t
join pg_catalog.pg_class as c on c.oid = t.tgrelid
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
left join pg_catalog.pg_trigger as parent
  on parent.oid = nullif(pg_catalog.to_jsonb(t) ->> 'tgparentid', '0')::oid
where (parent.oid is null and not t.tgisinternal or parent.tgenabled <> t.tgenabled and not parent.tgisinternal)
  and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.deptype = 'e' and (
      (e.classid = 'pg_catalog.pg_class'::regclass and e.objid = c.oid)
      or (e.classid = 'pg_catalog.pg_trigger'::regclass and e.objid = t.oid)
    )
  )
