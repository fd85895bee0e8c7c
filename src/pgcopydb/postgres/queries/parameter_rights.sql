-- What roles that users created may set although only superusers may, on servers from 15 on.
select
  r.rolname::text as role,
  p.parname as parameter,
  a.privilege_type as privilege,
  pg_catalog.bool_or(a.is_grantable) as may_grant
from pg_catalog.pg_parameter_acl as p
cross join lateral pg_catalog.aclexplode(p.paracl) as a
join pg_catalog.pg_roles as r on r.oid = a.grantee
where r.oid <> 10 and r.rolname !~ '^pg_'
group by 1, 2, 3
order by 1, 2, 3
