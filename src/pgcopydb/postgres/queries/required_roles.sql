-- Roles that own something in this database, have rights on it, or are named by a policy or a user
-- mapping, by the schemas that hold what they own, and by object where that is asked for. What an
-- extension brings is its own, but a dump has the rights that others were given on it. Nor is here
-- what a type makes for itself: the functions that make ranges of one keep the owner that it had
-- first, and no dump names them.
with owned as (
  select 'pg_catalog.pg_class'::regclass as catalog, c.oid, c.relnamespace as namespace,
    c.relowner as owner, c.relacl as rights
  from pg_catalog.pg_class as c
  where c.relkind in ('r', 'p', 'm', 'f', 'v', 'S') and c.relpersistence <> 't'
  union all
  select 'pg_catalog.pg_class'::regclass, c.oid, c.relnamespace, c.relowner, a.attacl
  from pg_catalog.pg_attribute as a join pg_catalog.pg_class as c on c.oid = a.attrelid
  where a.attacl is not null and c.relpersistence <> 't'
  union all
  select 'pg_catalog.pg_proc'::regclass, p.oid, p.pronamespace, p.proowner, p.proacl
  from pg_catalog.pg_proc as p
  union all
  select 'pg_catalog.pg_type'::regclass, t.oid, t.typnamespace, t.typowner, t.typacl
  from pg_catalog.pg_type as t
  -- row types go with their relation, as arrays with their element
  where t.typrelid = 0 or exists (
    select from pg_catalog.pg_class as c where c.oid = t.typrelid and c.relkind = 'c'
  )
  union all
  select 'pg_catalog.pg_operator'::regclass, o.oid, o.oprnamespace, o.oprowner, null
  from pg_catalog.pg_operator as o
  union all
  select 'pg_catalog.pg_opclass'::regclass, o.oid, o.opcnamespace, o.opcowner, null
  from pg_catalog.pg_opclass as o
  union all
  select 'pg_catalog.pg_opfamily'::regclass, o.oid, o.opfnamespace, o.opfowner, null
  from pg_catalog.pg_opfamily as o
  union all
  select 'pg_catalog.pg_collation'::regclass, c.oid, c.collnamespace, c.collowner, null
  from pg_catalog.pg_collation as c
  union all
  select 'pg_catalog.pg_conversion'::regclass, c.oid, c.connamespace, c.conowner, null
  from pg_catalog.pg_conversion as c
  union all
  select 'pg_catalog.pg_ts_config'::regclass, c.oid, c.cfgnamespace, c.cfgowner, null
  from pg_catalog.pg_ts_config as c
  union all
  select 'pg_catalog.pg_ts_dict'::regclass, d.oid, d.dictnamespace, d.dictowner, null
  from pg_catalog.pg_ts_dict as d
  union all
  select 'pg_catalog.pg_statistic_ext'::regclass, s.oid, s.stxnamespace, s.stxowner, null
  from pg_catalog.pg_statistic_ext as s
  union all
  select 'pg_catalog.pg_namespace'::regclass, n.oid, null, n.nspowner, n.nspacl
  from pg_catalog.pg_namespace as n
  where n.nspname not in ('information_schema', 'pgcopydb') and n.nspname !~ '^pg_'
    and not (n.nspname = 'public' and n.nspowner = 10)  -- as it is before 15
  union all
  select 'pg_catalog.pg_foreign_data_wrapper'::regclass, w.oid, null, w.fdwowner, w.fdwacl
  from pg_catalog.pg_foreign_data_wrapper as w where w.oid >= 16384
  union all
  select 'pg_catalog.pg_foreign_server'::regclass, s.oid, null, s.srvowner, s.srvacl
  from pg_catalog.pg_foreign_server as s
  union all
  select 'pg_catalog.pg_language'::regclass, l.oid, null, l.lanowner, l.lanacl
  from pg_catalog.pg_language as l where l.oid >= 16384
  union all
  select 'pg_catalog.pg_event_trigger'::regclass, t.oid, null, t.evtowner, null
  from pg_catalog.pg_event_trigger as t
  union all
  select 'pg_catalog.pg_publication'::regclass, p.oid, null, p.pubowner, null
  from pg_catalog.pg_publication as p
  union all
  select 'pg_catalog.pg_largeobject'::regclass, m.oid, null, m.lomowner, m.lomacl
  from pg_catalog.pg_largeobject_metadata as m
), own as (
  select o.*, n.nspname as schema, n.nspowner as schema_owner
  from owned as o left join pg_catalog.pg_namespace as n on n.oid = o.namespace
  where n.oid is null or (
    n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
    and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  )
), required as (
  select o.catalog, o.oid, o.schema, o.schema_owner, o.owner as role, true as owns,
    false as has_rights, false as is_named
  from own as o
  union all
  select d.classid, d.objid, null, null, d.refobjid, false, d.deptype = 'a',
    d.deptype = 'r' or d.classid = 'pg_catalog.pg_user_mapping'::regclass
  from pg_catalog.pg_shdepend as d
  where d.dbid = (
      select b.oid from pg_catalog.pg_database as b
      where b.datname = pg_catalog.current_database()
    )
    and d.refclassid = 'pg_catalog.pg_authid'::regclass
    and (d.deptype in ('a', 'r') or d.classid = 'pg_catalog.pg_user_mapping'::regclass)
    and d.classid <> 'pg_catalog.pg_extension'::regclass
    -- what others may do by default is asked for elsewhere
    and d.classid <> 'pg_catalog.pg_default_acl'::regclass
  union all
  -- the cluster's first role is pinned and not in pg_shdepend
  select o.catalog, o.oid, null, null, a.grantee, false, true, false
  from own as o cross join lateral pg_catalog.aclexplode(o.rights) as a
  where a.grantee = 10 and o.owner <> 10
  union all
  select 'pg_catalog.pg_policy'::regclass, p.oid, null, null, 10, false, false, true
  from pg_catalog.pg_policy as p where 10 = any (p.polroles)
  union all
  select 'pg_catalog.pg_user_mapping'::regclass, u.umid, null, null, 10, false, false, true
  from pg_catalog.pg_user_mappings as u where u.umuser = 10
)
select
  case when %(each)s then r.catalog::oid::bigint end as catalog,
  case when %(each)s then r.oid::bigint end as oid,
  r.schema::text as schema,
  pg_catalog.pg_get_userbyid(r.schema_owner)::text as schema_owner,
  pg_catalog.pg_get_userbyid(r.role)::text as name,
  pg_catalog.bool_or(r.owns) as owns,
  pg_catalog.bool_or(r.has_rights) as has_rights,
  pg_catalog.bool_or(r.is_named) as is_named
from required as r
where pg_catalog.pg_get_userbyid(r.role) !~ '^pg_'
  and r.catalog <> all (%(without)s::regclass[])
  and not exists (
    select from pg_catalog.pg_publication as p
    where r.catalog = 'pg_catalog.pg_publication'::regclass and p.oid = r.oid
      and p.pubname = any (%(publications)s::text[])
  )
  and not exists (
    select from pg_catalog.pg_class as c
    where r.catalog = 'pg_catalog.pg_class'::regclass and c.oid = r.oid
      and (c.relpersistence = 't' or c.relnamespace = pg_catalog.to_regnamespace('pgcopydb'))
  )
  and not exists (
    select from pg_catalog.pg_depend as d
    where d.classid = r.catalog and d.objid = r.oid and d.objsubid = 0
      and ((d.deptype = 'e' and not r.has_rights) or (d.deptype = 'i' and r.catalog in
        ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_type'::regclass)))
  )
group by 1, 2, 3, 4, 5
order by 5, 3, 1, 2
