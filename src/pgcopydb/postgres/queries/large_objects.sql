-- The large objects of a range of oids, without what is in them. A grantee is NULL for PUBLIC.
select
  m.oid::bigint as oid,
  pg_catalog.pg_get_userbyid(m.lomowner)::text as owner,
  d.description as comment,
  case when m.lomacl is not null then array(
    select pg_catalog.json_build_array(
      pg_catalog.pg_get_userbyid(a.grantor),
      case when a.grantee <> 0 then pg_catalog.pg_get_userbyid(a.grantee) end,
      a.privilege_type,
      a.is_grantable
    )
    from pg_catalog.aclexplode(m.lomacl) with ordinality
      as a (grantor, grantee, privilege_type, is_grantable, place)
    order by a.place
  ) end as grants
from pg_catalog.pg_largeobject_metadata as m
left join pg_catalog.pg_description as d
  on d.classoid = 'pg_catalog.pg_largeobject'::regclass and d.objoid = m.oid and d.objsubid = 0
where m.oid between %(first)s and %(last)s
order by m.oid
