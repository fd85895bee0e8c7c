-- Operators, operator classes and operator families. An operator without a function is only a name
-- that another one mentions: no dump has it.
select
  'operator' as kind,
  pg_catalog.format('operator %s', o.oid::regoperator) as identity,
  n.nspname::text as schema_name,
  null::text as table_name,
  pg_catalog.pg_get_userbyid(o.oprowner)::text as owner,
  pg_catalog.concat_ws(
    ' ', o.oprcode, pg_catalog.format_type(o.oprresult, null),
    'commutator ' || nullif(o.oprcom, 0)::regoperator, 'negator ' || nullif(o.oprnegate, 0)::regoperator,
    'restrict ' || nullif(o.oprrest, 0)::regproc, 'join ' || nullif(o.oprjoin, 0)::regproc,
    case when o.oprcanmerge then 'merges' end, case when o.oprcanhash then 'hashes' end
  ) as definition,
  pg_catalog.obj_description(o.oid, 'pg_operator') as comment,
  'pg_catalog.pg_operator'::regclass::oid::bigint as catalog,
  o.oid::bigint as object
from pg_catalog.pg_operator as o
join pg_catalog.pg_namespace as n on n.oid = o.oprnamespace
where o.oid >= 16384 and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and o.oprcode <> 0
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_operator'::regclass and e.objid = o.oid and e.deptype = 'e'
  )
union all
select
  'operator class',
  pg_catalog.format('operator class %I.%I using %I', n.nspname, o.opcname, m.amname),
  n.nspname::text,
  null,
  pg_catalog.pg_get_userbyid(o.opcowner)::text,
  pg_catalog.concat_ws(
    ' ', case when o.opcdefault then 'default' end, pg_catalog.format_type(o.opcintype, null),
    'family ' || pg_catalog.quote_ident(f.opfname),
    'storage ' || pg_catalog.format_type(nullif(o.opckeytype, 0), null)
  ),
  pg_catalog.obj_description(o.oid, 'pg_opclass'),
  'pg_catalog.pg_opclass'::regclass::oid::bigint,
  o.oid::bigint
from pg_catalog.pg_opclass as o
join pg_catalog.pg_namespace as n on n.oid = o.opcnamespace
join pg_catalog.pg_am as m on m.oid = o.opcmethod
join pg_catalog.pg_opfamily as f on f.oid = o.opcfamily
where o.oid >= 16384 and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_opclass'::regclass and e.objid = o.oid and e.deptype = 'e'
  )
union all
select
  'operator family',
  pg_catalog.format('operator family %I.%I using %I', n.nspname, f.opfname, m.amname),
  n.nspname::text,
  null,
  pg_catalog.pg_get_userbyid(f.opfowner)::text,
  pg_catalog.concat_ws(
    '; ',
    (
      select pg_catalog.string_agg(
        pg_catalog.concat_ws(' ', a.amopstrategy, a.amopopr::regoperator, a.amoppurpose),
        ', ' order by a.amopstrategy, a.amopopr::regoperator::text
      )
      from pg_catalog.pg_amop as a where a.amopfamily = f.oid
    ),
    (
      select pg_catalog.string_agg(
        pg_catalog.concat_ws(' ', a.amprocnum, a.amproc::oid::regprocedure),
        ', ' order by a.amprocnum, a.amproc::oid::regprocedure::text
      )
      from pg_catalog.pg_amproc as a where a.amprocfamily = f.oid
    )
  ),
  pg_catalog.obj_description(f.oid, 'pg_opfamily'),
  'pg_catalog.pg_opfamily'::regclass::oid::bigint,
  f.oid::bigint
from pg_catalog.pg_opfamily as f
join pg_catalog.pg_namespace as n on n.oid = f.opfnamespace
join pg_catalog.pg_am as m on m.oid = f.opfmethod
where f.oid >= 16384 and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_opfamily'::regclass and e.objid = f.oid and e.deptype = 'e'
  )
