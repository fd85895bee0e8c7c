-- Casts, languages, transforms, conversions and access methods.
select
  'cast' as kind,
  pg_catalog.format(
    'cast (%s as %s)', pg_catalog.format_type(c.castsource, null), pg_catalog.format_type(c.casttarget, null)
  ) as identity,
  null::text as schema_name,
  null::text as table_name,
  null::text as owner,
  null::text[] as acl,
  null::text[] as default_acl,
  pg_catalog.concat_ws(
    ' ', c.castcontext, c.castmethod, nullif(c.castfunc, 0)::regprocedure
  ) as definition,
  pg_catalog.obj_description(c.oid, 'pg_cast') as comment,
  'pg_catalog.pg_cast'::regclass::oid::bigint as catalog,
  c.oid::bigint as object
from pg_catalog.pg_cast as c
where c.oid >= 16384 and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_cast'::regclass and e.objid = c.oid and e.deptype in ('e', 'i')
  )
union all
select
  'language', pg_catalog.format('language %I', l.lanname), null, null,
  pg_catalog.pg_get_userbyid(l.lanowner)::text, l.lanacl::text[],
  pg_catalog.acldefault('l', l.lanowner)::text[],
  pg_catalog.concat_ws(
    ' ', case when l.lanpltrusted then 'trusted' end, nullif(l.lanplcallfoid, 0)::regprocedure,
    'inline ' || nullif(l.laninline, 0)::regprocedure,
    'validator ' || nullif(l.lanvalidator, 0)::regprocedure
  ),
  pg_catalog.obj_description(l.oid, 'pg_language'),
  'pg_catalog.pg_language'::regclass::oid::bigint,
  l.oid::bigint
from pg_catalog.pg_language as l
where l.oid >= 16384 and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_language'::regclass and e.objid = l.oid and e.deptype = 'e'
  )
union all
select
  'transform', pg_catalog.format('transform %s for %I', pg_catalog.format_type(t.trftype, null), l.lanname),
  null, null, null, null, null,
  pg_catalog.concat_ws(
    ' ', 'from ' || nullif(t.trffromsql, 0)::oid::regprocedure, 'to ' || nullif(t.trftosql, 0)::oid::regprocedure
  ),
  pg_catalog.obj_description(t.oid, 'pg_transform'),
  'pg_catalog.pg_transform'::regclass::oid::bigint,
  t.oid::bigint
from pg_catalog.pg_transform as t join pg_catalog.pg_language as l on l.oid = t.trflang
where not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_transform'::regclass and e.objid = t.oid and e.deptype = 'e'
  )
union all
select
  'conversion', pg_catalog.format('conversion %I.%I', n.nspname, c.conname), n.nspname::text, null,
  pg_catalog.pg_get_userbyid(c.conowner)::text, null, null,
  pg_catalog.concat_ws(
    ' ', pg_catalog.pg_encoding_to_char(c.conforencoding), pg_catalog.pg_encoding_to_char(c.contoencoding),
    c.conproc, case when c.condefault then 'default' end
  ),
  pg_catalog.obj_description(c.oid, 'pg_conversion'),
  'pg_catalog.pg_conversion'::regclass::oid::bigint,
  c.oid::bigint
from pg_catalog.pg_conversion as c join pg_catalog.pg_namespace as n on n.oid = c.connamespace
where c.oid >= 16384 and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_conversion'::regclass and e.objid = c.oid and e.deptype = 'e'
  )
union all
select
  'access method', pg_catalog.format('access method %I', a.amname), null, null, null, null, null,
  pg_catalog.concat_ws(' ', a.amtype, a.amhandler),
  pg_catalog.obj_description(a.oid, 'pg_am'),
  'pg_catalog.pg_am'::regclass::oid::bigint,
  a.oid::bigint
from pg_catalog.pg_am as a
where a.oid >= 16384 and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_am'::regclass and e.objid = a.oid and e.deptype = 'e'
  )
