-- Roles that own something in this database, have rights on it, or are named by a policy or a user
-- mapping; not the rights of extensions.
select r.name, pg_catalog.bool_or(r.owns) as owns, pg_catalog.bool_or(r.has_rights) as has_rights,
  pg_catalog.bool_or(r.is_named) as is_named
from (
  select
    pg_catalog.pg_get_userbyid(d.refobjid)::text as name,
    d.deptype = 'o' and d.classid <> 'pg_catalog.pg_user_mapping'::regclass as owns,
    d.deptype = 'a' as has_rights,
    d.deptype = 'r' or d.classid = 'pg_catalog.pg_user_mapping'::regclass as is_named
  from pg_catalog.pg_shdepend as d
  where d.dbid = (
      select b.oid from pg_catalog.pg_database as b
      where b.datname = pg_catalog.current_database()
    )
    and d.refclassid = 'pg_catalog.pg_authid'::regclass
    and d.deptype in ('o', 'a', 'r')
    and d.classid <> 'pg_catalog.pg_extension'::regclass
    -- subscriptions are not copied, nor is what others may do by default
    and d.classid not in ('pg_catalog.pg_default_acl'::regclass, 'pg_catalog.pg_subscription'::regclass)
    and not exists (
      select from pg_catalog.pg_depend as e
      where e.classid = d.classid and e.objid = d.objid and e.deptype = 'e'
    )
  union all
  -- the cluster's first role is pinned and not in pg_shdepend
  select pg_catalog.pg_get_userbyid(c.relowner)::text, true, false, false
  from pg_catalog.pg_class as c
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'm', 'f', 'v', 'S')
    and c.relpersistence <> 't'
    and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
    and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
    and not exists (
      select from pg_catalog.pg_depend as e
      where e.classid = 'pg_catalog.pg_class'::regclass and e.objid = c.oid and e.deptype = 'e'
    )
  union all
  select pg_catalog.pg_get_userbyid(p.proowner)::text, true, false, false
  from pg_catalog.pg_proc as p
  join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
  where n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
    and not exists (
      select from pg_catalog.pg_depend as e
      where e.classid = 'pg_catalog.pg_proc'::regclass and e.objid = p.oid and e.deptype = 'e'
    )
  union all
  select pg_catalog.pg_get_userbyid(n.nspowner)::text, true, false, false
  from pg_catalog.pg_namespace as n
  where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'public', 'pgcopydb')
    and not exists (
      select from pg_catalog.pg_depend as e
      where e.classid = 'pg_catalog.pg_namespace'::regclass and e.objid = n.oid
        and e.deptype = 'e'
    )
  union all
  select pg_catalog.pg_get_userbyid(m.lomowner)::text, true, false, false
  from pg_catalog.pg_largeobject_metadata as m
) as r
where r.name !~ '^pg_'
group by r.name
order by r.name
