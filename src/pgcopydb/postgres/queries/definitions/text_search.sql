-- What full text search is made of.
select
  'text search configuration' as kind,
  pg_catalog.format('text search configuration %I.%I', n.nspname, c.cfgname) as identity,
  n.nspname::text as schema_name,
  null::text as table_name,
  pg_catalog.pg_get_userbyid(c.cfgowner)::text as owner,
  pg_catalog.format('parser %I.%I: ', pn.nspname, p.prsname) || coalesce((
    select pg_catalog.string_agg(t.alias || ' ' || m.mapdict::regdictionary, ', ' order by t.alias, m.mapseqno)
    from pg_catalog.pg_ts_config_map as m
    join pg_catalog.ts_token_type(c.cfgparser) as t on t.tokid = m.maptokentype
    where m.mapcfg = c.oid
  ), '') as definition,
  pg_catalog.obj_description(c.oid, 'pg_ts_config') as comment,
  'pg_catalog.pg_ts_config'::regclass::oid::bigint as catalog,
  c.oid::bigint as object
from pg_catalog.pg_ts_config as c
join pg_catalog.pg_namespace as n on n.oid = c.cfgnamespace
join pg_catalog.pg_ts_parser as p on p.oid = c.cfgparser
join pg_catalog.pg_namespace as pn on pn.oid = p.prsnamespace
where c.oid >= 16384 and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_ts_config'::regclass and e.objid = c.oid and e.deptype = 'e'
  )
union all
select
  'text search dictionary', pg_catalog.format('text search dictionary %I.%I', n.nspname, d.dictname),
  n.nspname::text, null, pg_catalog.pg_get_userbyid(d.dictowner)::text,
  pg_catalog.format('template %I.%I ', tn.nspname, t.tmplname) || coalesce(d.dictinitoption, ''),
  pg_catalog.obj_description(d.oid, 'pg_ts_dict'),
  'pg_catalog.pg_ts_dict'::regclass::oid::bigint,
  d.oid::bigint
from pg_catalog.pg_ts_dict as d
join pg_catalog.pg_namespace as n on n.oid = d.dictnamespace
join pg_catalog.pg_ts_template as t on t.oid = d.dicttemplate
join pg_catalog.pg_namespace as tn on tn.oid = t.tmplnamespace
where d.oid >= 16384 and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_ts_dict'::regclass and e.objid = d.oid and e.deptype = 'e'
  )
union all
select
  'text search parser', pg_catalog.format('text search parser %I.%I', n.nspname, p.prsname),
  n.nspname::text, null, null,
  pg_catalog.concat_ws(' ', p.prsstart, p.prstoken, p.prsend, p.prsheadline, p.prslextype),
  pg_catalog.obj_description(p.oid, 'pg_ts_parser'),
  'pg_catalog.pg_ts_parser'::regclass::oid::bigint,
  p.oid::bigint
from pg_catalog.pg_ts_parser as p
join pg_catalog.pg_namespace as n on n.oid = p.prsnamespace
where p.oid >= 16384 and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_ts_parser'::regclass and e.objid = p.oid and e.deptype = 'e'
  )
union all
select
  'text search template', pg_catalog.format('text search template %I.%I', n.nspname, t.tmplname),
  n.nspname::text, null, null, pg_catalog.concat_ws(' ', t.tmplinit, t.tmpllexize),
  pg_catalog.obj_description(t.oid, 'pg_ts_template'),
  'pg_catalog.pg_ts_template'::regclass::oid::bigint,
  t.oid::bigint
from pg_catalog.pg_ts_template as t
join pg_catalog.pg_namespace as n on n.oid = t.tmplnamespace
where t.oid >= 16384 and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_ts_template'::regclass and e.objid = t.oid and e.deptype = 'e'
  )
