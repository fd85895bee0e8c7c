-- The foreign data wrappers of this database, each with the roles that may make servers of it.
select
  w.fdwname::text as name,
  array(
    select r.rolname::text from pg_catalog.pg_roles as r
    where pg_catalog.has_foreign_data_wrapper_privilege(r.oid, w.oid, 'usage')
    order by 1
  ) as users
from pg_catalog.pg_foreign_data_wrapper as w
order by w.fdwname
