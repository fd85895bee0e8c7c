-- Large objects, without their contents.
select
  'large object' as kind,
  m.oid::text as identity,
  null::text as schema_name,
  null::text as table_name,
  pg_catalog.pg_get_userbyid(m.lomowner)::text as owner,
  m.lomacl::text[] as acl,
  case when m.lomacl is not null then pg_catalog.acldefault('L', m.lomowner) end::text[] as default_acl,
  pg_catalog.obj_description(m.oid, 'pg_largeobject') as comment
from pg_catalog.pg_largeobject_metadata as m
