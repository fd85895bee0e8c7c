-- Schemas. What initdb grants on public differs by version, so all lists of public are measured by
-- one: what pg_dump measures them by, which since 15 carries those of older servers over.
select
  'schema' as kind,
  pg_catalog.quote_ident(n.nspname) as identity,
  n.nspname::text as schema_name,
  null::text as table_name,
  'pg_catalog.pg_namespace'::regclass::oid::bigint as catalog,
  n.oid::bigint as object,
  -- From 15 on public belongs to a role that stands for the database's owner.
  case when n.nspname <> 'public' or n.nspowner <> 10
    then nullif(pg_catalog.pg_get_userbyid(n.nspowner)::text, 'pg_database_owner')
  end as owner,
  n.nspacl::text[] as acl,
  pg_catalog.acldefault('n', n.nspowner)::text[] as default_acl,
  pg_catalog.pg_get_userbyid(n.nspowner)::text as acl_owner,
  case when n.nspname <> 'public' or pg_catalog.obj_description(n.oid, 'pg_namespace') <> 'standard public schema'
    then pg_catalog.obj_description(n.oid, 'pg_namespace')
  end as comment
from pg_catalog.pg_namespace as n
where n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_namespace'::regclass and e.objid = n.oid and e.deptype = 'e'
  )
