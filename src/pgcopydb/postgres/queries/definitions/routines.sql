-- Functions, procedures, window functions and aggregates.
select
  case p.prokind when 'a' then 'aggregate' when 'p' then 'procedure' else 'function' end as kind,
  pg_catalog.format(
    '%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)
  ) as identity,
  n.nspname::text as schema_name,
  null::text as table_name,
  'pg_catalog.pg_proc'::regclass::oid::bigint as catalog,
  p.oid::bigint as object,
  pg_catalog.pg_get_userbyid(p.proowner)::text as owner,
  p.proacl::text[] as acl,
  case when p.proacl is not null then pg_catalog.acldefault('f', p.proowner) end::text[] as default_acl,
  case when p.prokind <> 'a' then pg_catalog.pg_get_functiondef(p.oid)
    else (
      select pg_catalog.concat_ws(
        ' ', pg_catalog.pg_get_function_result(p.oid), p.proparallel, a.aggkind, a.aggnumdirectargs,
        a.aggtransfn, 'final ' || nullif(a.aggfinalfn, 0)::regproc,
        'combine ' || nullif(a.aggcombinefn, 0)::regproc,
        'serial ' || nullif(a.aggserialfn, 0)::regproc,
        'deserial ' || nullif(a.aggdeserialfn, 0)::regproc,
        'moving ' || nullif(a.aggmtransfn, 0)::regproc,
        'inverse ' || nullif(a.aggminvtransfn, 0)::regproc,
        'moving final ' || nullif(a.aggmfinalfn, 0)::regproc, a.aggfinalextra, a.aggmfinalextra, a.aggfinalmodify,
        a.aggmfinalmodify, nullif(a.aggsortop, 0)::regoperator,
        pg_catalog.format_type(a.aggtranstype, null), a.aggtransspace,
        pg_catalog.format_type(nullif(a.aggmtranstype, 0), null), a.aggmtransspace,
        'initially ' || a.agginitval, 'moving initially ' || a.aggminitval
      )
      from pg_catalog.pg_aggregate as a where a.aggfnoid = p.oid
    )
  end as definition,
  pg_catalog.obj_description(p.oid, 'pg_proc') as comment
from pg_catalog.pg_proc as p
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
where n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_proc'::regclass and e.objid = p.oid and e.deptype in ('e', 'i')
  )
