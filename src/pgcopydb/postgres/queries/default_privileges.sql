-- Rights that are given on what a role creates in future: whose objects, and who gets them.
select
  'pg_catalog.pg_default_acl'::regclass::oid::bigint as catalog, d.oid::bigint as oid,
  pg_catalog.pg_get_userbyid(d.defaclrole)::text as role,
  n.nspname::text as schema,
  case d.defaclobjtype
    when 'r' then 'TABLES' when 'S' then 'SEQUENCES' when 'f' then 'FUNCTIONS' when 'T' then 'TYPES'
    when 'n' then 'SCHEMAS' when 'L' then 'LARGE OBJECTS' else d.defaclobjtype::text
  end as kind,
  array(
    select distinct r.rolname::text
    from pg_catalog.aclexplode(d.defaclacl) as a
    join pg_catalog.pg_roles as r on r.oid = a.grantee
    order by 1
  ) as grantees,
  exists (
    select from pg_catalog.aclexplode(d.defaclacl) as a where a.grantee = 0
  ) as to_public
from pg_catalog.pg_default_acl as d
left join pg_catalog.pg_namespace as n on n.oid = d.defaclnamespace
where n.nspname is distinct from 'pgcopydb'
order by d.oid
