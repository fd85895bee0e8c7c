-- How many large objects there are, and the first of those that the role may not read.
select
  pg_catalog.count(*)::int as total,
  coalesce(
    (pg_catalog.array_agg(l.oid::bigint order by l.oid) filter (where not l.readable))[1:1000],
    array[]::bigint[]
  ) as unreadable
from (
  select m.oid, pg_catalog.pg_has_role(m.lomowner, 'usage')
    or pg_catalog.current_setting('lo_compat_privileges')::boolean
    or exists (
      select from pg_catalog.aclexplode(m.lomacl) as a
      where a.privilege_type = 'SELECT'
        and (a.grantee = 0 or pg_catalog.pg_has_role(a.grantee, 'usage'))
    ) as readable
  from pg_catalog.pg_largeobject_metadata as m
) as l
