-- The roles that users created, with their settings in every database. Passwords are not here.
select
  r.rolname::text as name,
  r.rolsuper as is_superuser,
  r.rolinherit as inherits,
  r.rolcreaterole as creates_roles,
  r.rolcreatedb as creates_databases,
  r.rolcanlogin as logs_in,
  r.rolreplication as replicates,
  r.rolbypassrls as bypasses_row_security,
  r.rolconnlimit as connection_limit,
  r.rolvaliduntil::text as valid_until,
  coalesce(s.setconfig, array[]::text[]) as settings,
  pg_catalog.shobj_description(r.oid, 'pg_authid') as comment
from pg_catalog.pg_roles as r
left join pg_catalog.pg_db_role_setting as s on s.setrole = r.oid and s.setdatabase = 0
where r.rolname !~ '^pg_'
order by r.rolname
