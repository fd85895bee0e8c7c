-- What a dump holds and the server lets only a superuser create. Not what an extension brings, and
-- not what another object makes by itself. A cast belongs to the owner of one of its types, which
-- for two of the server's own nobody else is.
select
  o.catalog::oid::bigint as catalog, o.oid::bigint as oid, i.type as kind, i.identity as name
from (
  select 'pg_catalog.pg_event_trigger'::regclass as catalog, e.oid
  from pg_catalog.pg_event_trigger as e
  union all
  select 'pg_catalog.pg_foreign_data_wrapper'::regclass, f.oid
  from pg_catalog.pg_foreign_data_wrapper as f
  union all
  select 'pg_catalog.pg_am'::regclass, a.oid from pg_catalog.pg_am as a
  union all
  select 'pg_catalog.pg_language'::regclass, l.oid from pg_catalog.pg_language as l
  union all
  select 'pg_catalog.pg_type'::regclass, t.oid
  from pg_catalog.pg_type as t
  where (t.typtype = 'b' and t.typcategory <> 'A') or not t.typisdefined
  union all
  select 'pg_catalog.pg_proc'::regclass, p.oid
  from pg_catalog.pg_proc as p
  join pg_catalog.pg_language as l on l.oid = p.prolang
  where p.oid >= 16384 and p.prokind <> 'a'
    and (not l.lanpltrusted or p.proleakproof or p.prosupport <> 0)
  union all
  select 'pg_catalog.pg_proc'::regclass, g.aggfnoid
  from pg_catalog.pg_aggregate as g
  where 'pg_catalog.internal'::regtype in (g.aggtranstype, g.aggmtranstype)
  union all
  select 'pg_catalog.pg_cast'::regclass, c.oid
  from pg_catalog.pg_cast as c
  where c.castmethod = 'b' or (c.castsource < 16384 and c.casttarget < 16384)
  union all
  select 'pg_catalog.pg_opclass'::regclass, o.oid from pg_catalog.pg_opclass as o
  union all
  select 'pg_catalog.pg_opfamily'::regclass, o.oid from pg_catalog.pg_opfamily as o
  union all
  select 'pg_catalog.pg_ts_parser'::regclass, s.oid from pg_catalog.pg_ts_parser as s
  union all
  select 'pg_catalog.pg_ts_template'::regclass, s.oid from pg_catalog.pg_ts_template as s
  union all
  select 'pg_catalog.pg_publication'::regclass, p.oid
  from pg_catalog.pg_publication as p
  where p.puballtables
  union all
  -- the schemas of publications, whose catalog is there from 15 on
  select d.classid, d.objid
  from pg_catalog.pg_depend as d
  where d.refclassid = 'pg_catalog.pg_publication'::regclass
    and d.classid = pg_catalog.to_regclass('pg_catalog.pg_publication_namespace')
) as o,
pg_catalog.pg_identify_object(o.catalog, o.oid, 0) as i
where o.oid >= 16384  -- FirstNormalObjectId: initdb made the others
  and (i.schema is null or (
    i.schema not in ('pg_catalog', 'information_schema', 'pgcopydb')
    and i.schema !~ '^pg_(toast|temp_|toast_temp_)'
  ))
  and not exists (
    select from pg_catalog.pg_depend as d
    where d.classid = o.catalog and d.objid = o.oid and d.objsubid = 0 and d.deptype in ('e', 'i')
  )
order by 3, 4
