-- Who is a member of which role, and by whom. Columns that not every version has are read by name.
select
  g.rolname::text as role,
  u.rolname::text as member,
  m.admin_option as may_admin,
  (j.row ->> 'inherit_option')::boolean as inherits,
  (j.row ->> 'set_option')::boolean as may_set,
  case when j.row ? 'set_option' and b.oid <> 10 then b.rolname::text end as grantor
from pg_catalog.pg_auth_members as m
join pg_catalog.pg_roles as g on g.oid = m.roleid
join pg_catalog.pg_roles as u on u.oid = m.member
left join pg_catalog.pg_roles as b on b.oid = m.grantor
cross join lateral (select pg_catalog.to_jsonb(m) as row) as j
where u.rolname !~ '^pg_'
order by u.rolname, g.rolname, b.rolname
