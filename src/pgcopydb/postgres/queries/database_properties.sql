-- What is set for the connected database itself: owner, limit, comment, rights, and settings of
-- all or of one role.
select
  d.datname::text as name,
  pg_catalog.pg_get_userbyid(d.datdba)::text as owner,
  d.datconnlimit as connection_limit,
  pg_catalog.shobj_description(d.oid, 'pg_database') as comment,
  coalesce((
    select pg_catalog.array_agg(array[r.rolname::text, c.setting] order by r.rolname, c.ordinality)
    from pg_catalog.pg_db_role_setting as s
    left join pg_catalog.pg_roles as r on r.oid = s.setrole
    cross join lateral pg_catalog.unnest(s.setconfig) with ordinality as c (setting, ordinality)
    where s.setdatabase = d.oid and (s.setrole = 0 or r.oid is not null)
  ), array[]::text[]) as settings,
  coalesce((
    select pg_catalog.array_agg(
      array[r.rolname::text, a.privilege_type, a.is_grantable::text]
      order by r.rolname, a.privilege_type
    )
    from pg_catalog.aclexplode(
      coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))
    ) as a
    left join pg_catalog.pg_roles as r on r.oid = a.grantee
    where a.grantee <> d.datdba and (a.grantee = 0 or r.oid is not null)
  ), array[]::text[]) as grants
from pg_catalog.pg_database as d
where d.datname = pg_catalog.current_database()
