-- Roles that own large objects or have, or gave, privileges on them.
select pg_catalog.pg_get_userbyid(o.role)::text as name
from (
  select m.lomowner as role, false as privileged from pg_catalog.pg_largeobject_metadata as m
  union
  select u.role, true
  from pg_catalog.pg_largeobject_metadata as m,
    pg_catalog.aclexplode(m.lomacl) as a,
    pg_catalog.unnest(array[a.grantor, a.grantee]) as u (role)
  where u.role <> 0
) as o
where (o.privileged and %(privileges)s) or (not o.privileged and %(owners)s)
group by 1
order by 1
