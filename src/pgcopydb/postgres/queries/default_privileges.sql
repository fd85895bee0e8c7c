-- Rights that are given on what a role creates in future: whose objects, and the roles that get them.
select
  'pg_catalog.pg_default_acl'::regclass::oid::bigint as catalog, d.oid::bigint as oid,
  pg_catalog.pg_get_userbyid(d.defaclrole)::text as role,
  array(
    select distinct r.rolname::text
    from pg_catalog.aclexplode(d.defaclacl) as a
    join pg_catalog.pg_roles as r on r.oid = a.grantee
    order by 1
  ) as grantees
from pg_catalog.pg_default_acl as d
left join pg_catalog.pg_namespace as n on n.oid = d.defaclnamespace
where n.nspname is distinct from 'pgcopydb'
order by d.oid
