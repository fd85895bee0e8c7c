-- Everything that filters can name, and all else that lives in a schema of users.
with of_extension as (
  select e.classid, e.objid from pg_catalog.pg_depend as e where e.deptype = 'e'
), found as (
  select 'pg_catalog.pg_class'::regclass as catalog, c.oid, c.relkind::text as kind,
    c.relnamespace as namespace, c.relname as name, c.relispartition as is_partition,
    coalesce(i.indisprimary or i.indisreplident, false) as is_key
  from pg_catalog.pg_class as c
  left join pg_catalog.pg_index as i on i.indexrelid = c.oid
  where c.relkind in ('r', 'p', 'f', 'm', 'v', 'S', 'i', 'I') and c.relpersistence <> 't'
  union all
  select 'pg_catalog.pg_type'::regclass, t.oid, 'other', t.typnamespace, t.typname, false, false
  from pg_catalog.pg_type as t
  -- row types and arrays go with what they are made of
  where (t.typrelid = 0 or exists (
      select from pg_catalog.pg_class as c where c.oid = t.typrelid and c.relkind = 'c'))
    and not exists (select from pg_catalog.pg_type as e where e.typarray = t.oid)
  union all
  select 'pg_catalog.pg_proc'::regclass, oid, 'other', pronamespace, proname, false, false
  from pg_catalog.pg_proc
  union all
  select 'pg_catalog.pg_operator'::regclass, oid, 'other', oprnamespace, oprname, false, false
  from pg_catalog.pg_operator
  union all
  select 'pg_catalog.pg_opclass'::regclass, oid, 'other', opcnamespace, opcname, false, false
  from pg_catalog.pg_opclass
  union all
  select 'pg_catalog.pg_opfamily'::regclass, oid, 'other', opfnamespace, opfname, false, false
  from pg_catalog.pg_opfamily
  union all
  select 'pg_catalog.pg_collation'::regclass, oid, 'other', collnamespace, collname, false, false
  from pg_catalog.pg_collation
  union all
  select 'pg_catalog.pg_conversion'::regclass, oid, 'other', connamespace, conname, false, false
  from pg_catalog.pg_conversion
  union all
  select 'pg_catalog.pg_ts_config'::regclass, oid, 'other', cfgnamespace, cfgname, false, false
  from pg_catalog.pg_ts_config
  union all
  select 'pg_catalog.pg_ts_dict'::regclass, oid, 'other', dictnamespace, dictname, false, false
  from pg_catalog.pg_ts_dict
  union all
  select 'pg_catalog.pg_ts_parser'::regclass, oid, 'other', prsnamespace, prsname, false, false
  from pg_catalog.pg_ts_parser
  union all
  select 'pg_catalog.pg_ts_template'::regclass, oid, 'other', tmplnamespace, tmplname, false, false
  from pg_catalog.pg_ts_template
  union all
  select 'pg_catalog.pg_statistic_ext'::regclass, oid, 'other', stxnamespace, stxname, false, false
  from pg_catalog.pg_statistic_ext
)
select
  f.catalog::oid::bigint as catalog, f.oid::bigint as oid, f.kind, n.nspname::text as schema,
  f.name::text as name, f.is_partition, f.is_key
from found as f
join pg_catalog.pg_namespace as n on n.oid = f.namespace
where n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  and (f.catalog::oid, f.oid) not in (select x.classid, x.objid from of_extension as x)
union all
select 'pg_catalog.pg_namespace'::regclass::oid::bigint, n.oid::bigint, 'schema', null,
  n.nspname::text, false, false
from pg_catalog.pg_namespace as n
where n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
union all
select 'pg_catalog.pg_extension'::regclass::oid::bigint, x.oid::bigint, 'extension',
  n.nspname::text, x.extname::text, false, false
from pg_catalog.pg_extension as x
join pg_catalog.pg_namespace as n on n.oid = x.extnamespace
union all
select 'pg_catalog.pg_event_trigger'::regclass::oid::bigint, t.oid::bigint, 'event trigger', null,
  t.evtname::text, false, false
from pg_catalog.pg_event_trigger as t
where ('pg_catalog.pg_event_trigger'::regclass::oid, t.oid)
  not in (select x.classid, x.objid from of_extension as x)
order by 4, 5
