-- Functions, types, views, sequences and what else lives in no table, with the names that
-- CREATE would find taken; schemas too, but for those that every database has.
select
  case when o.catalog = 'pg_catalog.pg_namespace'::regclass then (
    select n.nspname::text from pg_catalog.pg_namespace as n where n.oid = o.oid
  ) else i.schema::text end as schema,
  i.type || ' ' || i.identity as text
from (
  select 'pg_catalog.pg_namespace'::regclass as catalog, n.oid
  from pg_catalog.pg_namespace as n
  where n.nspname not in ('public', 'pgcopydb') and n.nspname !~ '^pg_'
  union all
  select 'pg_catalog.pg_class'::regclass, c.oid
  from pg_catalog.pg_class as c
  where c.relkind in ('v', 'S', 'c') and c.relpersistence <> 't'
  union all
  select 'pg_catalog.pg_proc'::regclass, p.oid from pg_catalog.pg_proc as p
  union all
  select 'pg_catalog.pg_type'::regclass, t.oid
  from pg_catalog.pg_type as t
  where t.typtype in ('b', 'd', 'e', 'r') and t.typcategory <> 'A'
  union all
  select 'pg_catalog.pg_operator'::regclass, o.oid from pg_catalog.pg_operator as o
  union all
  select 'pg_catalog.pg_collation'::regclass, c.oid from pg_catalog.pg_collation as c
  union all
  select 'pg_catalog.pg_conversion'::regclass, c.oid from pg_catalog.pg_conversion as c
  union all
  select 'pg_catalog.pg_ts_config'::regclass, t.oid from pg_catalog.pg_ts_config as t
  union all
  select 'pg_catalog.pg_ts_dict'::regclass, t.oid from pg_catalog.pg_ts_dict as t
  union all
  select 'pg_catalog.pg_foreign_data_wrapper'::regclass, f.oid
  from pg_catalog.pg_foreign_data_wrapper as f
  union all
  select 'pg_catalog.pg_foreign_server'::regclass, s.oid from pg_catalog.pg_foreign_server as s
  union all
  select 'pg_catalog.pg_event_trigger'::regclass, e.oid from pg_catalog.pg_event_trigger as e
  union all
  select 'pg_catalog.pg_publication'::regclass, p.oid from pg_catalog.pg_publication as p
) as o,
pg_catalog.pg_identify_object(o.catalog, o.oid, 0) as i
where o.oid >= 16384  -- FirstNormalObjectId: initdb made the others
  and i.schema is distinct from 'pgcopydb'
  and not exists (
    select from pg_catalog.pg_depend as d
    where d.classid = o.catalog and d.objid = o.oid and d.objsubid = 0 and d.deptype in ('e', 'i')
  )
order by 2
