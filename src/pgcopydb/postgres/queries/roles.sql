-- Every role of the server: whether the current one has its rights and may become it, and whether
-- it may create roles, and something in the database and in its schema public.
select
  r.rolname::text as name,
  r.rolsuper as superuser,
  r.rolsuper or r.rolcreaterole as creates_roles,
  r.rolinherit as inherits,
  pg_catalog.pg_has_role(r.oid, 'usage') as usable,
  -- who is a member may become the role; from 16 on only where that was granted too
  pg_catalog.pg_has_role(r.oid, case
    when pg_catalog.current_setting('server_version_num')::integer < 160000 then 'member' else 'set'
  end) as assumable,
  pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'create')
    as creates_in_database,
  coalesce((
    select pg_catalog.has_schema_privilege(r.oid, n.oid, 'create')
    from pg_catalog.pg_namespace as n where n.nspname = 'public'
  ), true) as creates_in_public
from pg_catalog.pg_roles as r
order by r.rolname
