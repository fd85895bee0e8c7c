-- Event triggers.
select
  'event trigger' as kind,
  pg_catalog.quote_ident(t.evtname) as identity,
  null::text as schema_name,
  null::text as table_name,
  t.evtname::text as event_trigger_name,
  'pg_catalog.pg_event_trigger'::regclass::oid::bigint as catalog,
  t.oid::bigint as object,
  pg_catalog.pg_get_userbyid(t.evtowner)::text as owner,
  t.evtevent::text as event,
  t.evtfoid::regprocedure::text as function,
  pg_catalog.array_to_string(t.evttags, ', ') as tags,
  case t.evtenabled when 'D' then 'no' when 'R' then 'on replicas' when 'A' then 'always' else 'yes' end as enabled,
  pg_catalog.obj_description(t.oid, 'pg_event_trigger') as comment
from pg_catalog.pg_event_trigger as t
where not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_event_trigger'::regclass and e.objid = t.oid and e.deptype = 'e'
  )
