-- Foreign data wrappers, servers and user mappings, whose options may hold passwords: their hash.
select
  'foreign data wrapper' as kind,
  pg_catalog.format('foreign data wrapper %I', w.fdwname) as identity,
  null::text as schema_name,
  null::text as table_name,
  pg_catalog.pg_get_userbyid(w.fdwowner)::text as owner,
  w.fdwacl::text[] as acl,
  pg_catalog.acldefault('F', w.fdwowner)::text[] as default_acl,
  pg_catalog.concat_ws(
    ' ', 'handler ' || nullif(w.fdwhandler, 0)::regprocedure,
    'validator ' || nullif(w.fdwvalidator, 0)::regprocedure
  ) as definition,
  (select pg_catalog.string_agg(o, ', ' order by o collate "C") from pg_catalog.unnest(w.fdwoptions) as o)
    as options,
  pg_catalog.obj_description(w.oid, 'pg_foreign_data_wrapper') as comment,
  'pg_catalog.pg_foreign_data_wrapper'::regclass::oid::bigint as catalog,
  w.oid::bigint as object
from pg_catalog.pg_foreign_data_wrapper as w
where not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_foreign_data_wrapper'::regclass and e.objid = w.oid and e.deptype = 'e'
  )
union all
select
  'foreign server', pg_catalog.format('foreign server %I', s.srvname), null, null,
  pg_catalog.pg_get_userbyid(s.srvowner)::text, s.srvacl::text[],
  pg_catalog.acldefault('S', s.srvowner)::text[],
  pg_catalog.concat_ws(' ', pg_catalog.quote_ident(w.fdwname), 'type ' || s.srvtype, 'version ' || s.srvversion),
  (select pg_catalog.string_agg(o, ', ' order by o collate "C") from pg_catalog.unnest(s.srvoptions) as o),
  pg_catalog.obj_description(s.oid, 'pg_foreign_server'),
  'pg_catalog.pg_foreign_server'::regclass::oid::bigint,
  s.oid::bigint
from pg_catalog.pg_foreign_server as s
join pg_catalog.pg_foreign_data_wrapper as w on w.oid = s.srvfdw
where not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_foreign_server'::regclass and e.objid = s.oid and e.deptype = 'e'
  )
union all
select
  'user mapping', pg_catalog.format('user mapping for %I on %I', u.usename, u.srvname), null, null, null,
  null, null, null,
  'digest ' || pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to((
    select pg_catalog.string_agg(o, ', ' order by o collate "C") from pg_catalog.unnest(u.umoptions) as o
  ), 'UTF8')), 'hex'), 12),
  null,
  'pg_catalog.pg_user_mapping'::regclass::oid::bigint,
  u.umid::bigint
from pg_catalog.pg_user_mappings as u
